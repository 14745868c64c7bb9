"""Several replicas of a model: questions are spread, a dead one costs nobody an answer, aliases move unnoticed."""

import copy
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from sqlalchemy.orm import Session, sessionmaker

from api.app import create_app
from api.replicas import Replicas
from api.settings import Settings
from flan import rundir
from flan.model.export import export
from flan.model.load import Model
from flan.rundir import RunSettings
from flan.spec import Pins, ServeSpec
from flan.store import Store
from tests.api.conftest import make_key
from tests.api.live import listening
from tests.api.world import claim, register_replica, run_directory, say, serving, submit
from tests.serve.lively import end_id, gate, lively_model, wait_until
from workers.ledger import models
from workers.ledger.models import Served


@pytest.fixture
def asking(settings: Settings, sessions: sessionmaker[Session]) -> Iterator[httpx.Client]:
    """A client of a platform behind a real port."""
    here = settings.model_copy(update={"allowed_hosts": ("127.0.0.1",)})
    headers = {"Authorization": f"Bearer {make_key(sessions, ['generate'])}"}
    limits = httpx.Limits(max_connections=64)
    with (
        listening(create_app(here)) as url,
        httpx.Client(base_url=url, headers=headers, timeout=120, limits=limits) as client,
    ):
        yield client


def _replica(url: str) -> Served:
    return Served("job_1", "movies", "0" * 64, url, Path("/nowhere"))


def test_the_replica_with_the_fewest_questions_in_hand_is_next() -> None:
    """Of equals the one whose turn is longest ago; what has ended no longer counts."""
    replicas, two = Replicas(), [_replica("http://a"), _replica("http://b")]
    with ExitStack() as first:
        turns = []
        for _ in range(4):
            chosen = replicas.choose(two)
            turns.append(chosen.url[-1])
            first.enter_context(replicas.asking(chosen))
        assert turns == ["a", "b", "a", "b"]
        with replicas.asking(two[0]):
            assert replicas.choose(two).url == "http://b"
        assert replicas.in_hand("http://a") == 2
    assert replicas.in_hand("http://a") == 0
    assert replicas.choose(two).url == "http://b"


def test_questions_are_spread_over_replicas(
    asking: httpx.Client, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Six that are asked at once are three for each of two."""
    body = {"prompt": "hi", "seed": 1, "max_new_tokens": 8}
    with (
        gate(lively_model(context=512)) as let_pass,
        serving(sessions, tmp_path / "a") as one,
        serving(sessions, tmp_path / "b") as other,
        ThreadPoolExecutor(6) as pool,
    ):
        answers = [pool.submit(asking.post, "/generate", json=body) for _ in range(6)]
        wait_until(lambda: [_inside(one), _inside(other)] == [3, 3])
        let_pass(1_000_000)
        assert {answer.result().status_code for answer in answers} == {200}


def _inside(rank: httpx.Client) -> int:
    figures = rank.get("/readyz").json()
    return int(figures["inside"])


def test_a_dead_replica_costs_nobody_an_answer(
    asking: httpx.Client, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Its lease has not ended, so it still counts: what it cannot answer is put to the other one."""
    with serving(sessions, tmp_path / "a"):
        with serving(sessions, tmp_path / "b"):
            pass
        for body in ({"prompt": "hi", "max_new_tokens": 2}, {"prompt": "hi", "n": 1, "stream": True}):
            assert [asking.post("/generate", json=body).status_code for _ in range(4)] == [200] * 4
    refused = asking.post("/generate", json={"prompt": "hi"})

    assert (refused.status_code, refused.json()["code"]) == (503, "model_unreachable")
    assert (refused.headers["retry-after"], refused.json()["retryable"]) == ("5", True)


def test_an_alias_moves_under_load_without_a_dropped_request(
    asking: httpx.Client, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Every question is answered, by the old version or by the new one, and the last ones by the new one."""
    with (
        serving(sessions, tmp_path / "a", "old"),
        serving(sessions, tmp_path / "b", "new", digest="7" * 64),
        ThreadPoolExecutor(4) as pool,
    ):
        with sessions.begin() as session:
            models.put_alias(session, "movies", "live", 1)
        is_over = threading.Event()

        def ask_on() -> list[int]:
            statuses = []
            while not is_over.is_set():
                body = {"prompt": "hi", "model": "movies@live", "max_new_tokens": 2}
                statuses.append(asking.post("/generate", json=body).status_code)
            return statuses

        asked = [pool.submit(ask_on) for _ in range(4)]
        for version in (2, 1, 2, 1, 2):
            with sessions.begin() as session:
                models.put_alias(session, "movies", "live", version)
            assert asking.post("/score", json={"prompt": "a", "continuations": ["b"]}).status_code == 200
        is_over.set()
        statuses = [status for each in asked for status in each.result()]

    assert len(statuses) >= 4
    assert set(statuses) == {200}


@contextmanager
def _rank_process(
    sessions: sessionmaker[Session], folder: Path, model: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A rank as a worker starts it, known to the ledger as a replica of `movies`."""
    store = Store(folder / "store")
    spec = ServeSpec(name="movies", model="movies", pins=Pins(tasks={}, model=store.put_tree(model)))
    submit(sessions, spec)
    lease = claim(sessions, folder)
    run = run_directory(folder, lease)
    rundir.prepare(run, spec, RunSettings(attempt=1, store=str(store.root), checkpoints=str(folder / "c")))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([sys.executable, "-m", "flan", "run", str(run)], env=environment)
    try:
        found: list[dict[str, Any]] = []

        def is_ready() -> bool:
            assert process.poll() is None
            found[:] = [
                e.data for e in rundir.read_events(run / rundir.EVENTS, after=0) if e.type == "serve.ready"
            ]
            return bool(found)

        wait_until(is_ready, 280)
        say(sessions, lease, ("serve.ready", found[0]))
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_killed_replica_loses_no_more_than_what_runs_there(
    asking: httpx.Client, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """kill −9 under load: streams that had begun there end in an error that may be retried; all else is answered."""
    model = _endless()
    export(model.network, model.tokenizer, model.card, tmp_path / "model")
    register_replica(sessions, model.card)
    endless = {"prompt": "hi", "stream": True, "temperature": 0, "max_new_tokens": 4_000}
    with (
        _rank_process(sessions, tmp_path / "a", tmp_path / "model") as doomed,
        _rank_process(sessions, tmp_path / "b", tmp_path / "model"),
        ExitStack() as streams,
        ThreadPoolExecutor(8) as pool,
    ):
        begun = [streams.enter_context(asking.stream("POST", "/generate", json=endless)) for _ in range(4)]
        lines = [each.iter_lines() for each in begun]
        for each in lines:
            next(each)
        whole = {"prompt": "hi", "seed": 2, "max_new_tokens": 40}
        answers = [pool.submit(asking.post, "/generate", json=whole) for _ in range(8)]
        os.kill(doomed.pid, signal.SIGKILL)
        statuses = [answer.result().status_code for answer in answers]
        after = [asking.post("/generate", json=whole).status_code for _ in range(4)]
        # Spread evenly, the first and the third ran there.
        ends = [_end_of(lines[0]), _end_of(lines[1], 20), _end_of(lines[2]), _end_of(lines[3], 20)]

    assert statuses == [200] * 8
    assert after == [200] * 4
    assert ends == ["model_unreachable", None, "model_unreachable", None]


def _endless() -> Model:
    """A model that never ends an answer by itself: its end is never the most probable token."""
    model = lively_model()
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        network.get_output_embeddings().weight[end_id(model)] = 0
    return model._replace(network=network)


def _end_of(lines: Iterator[str], most: int = 100_000) -> str | None:
    """The code of the error that ends a stream; None where it goes on, or ended well."""
    for number, line in enumerate(lines):
        if '"code": "model_unreachable"' in line:
            assert '"retryable": true' in line
            return "model_unreachable"
        if number >= most:
            break
    return None
