"""A served model as a process: from its run directory to its end, and on the command line."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from flan import rundir
from flan.cli import app
from flan.errors import StoreCorrupt
from flan.model.export import export
from flan.model.load import Model, load_model
from flan.rundir import EXIT_STOPPED, RunSettings
from flan.serve.lifetime import (
    PortUnusable,
    Server,
    ServingFailed,
    TokenNeeded,
    face_of,
    serve,
    serve_model,
)
from flan.spec import Pins, Sampling, ServeSpec
from flan.store import Store
from tests.serve.lively import endless_model, lively_model, server_of, wait_until

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lively model as a directory."""
    directory = tmp_path_factory.mktemp("exported") / "lively"
    model = lively_model()
    export(model.network, model.tokenizer, model.card, directory)
    return directory


def _prepared(folder: Path, exported: Path) -> Path:
    store = Store(folder / "store")
    pins = Pins(tasks={}, model=store.put_tree(exported))
    spec = ServeSpec(name="answers", model="lively", sampling=Sampling(max_new_tokens=8), pins=pins)
    settings = RunSettings(attempt=1, store=str(store.root), checkpoints=str(folder / "checkpoints"))
    rundir.prepare(folder / "run", spec, settings)
    return folder / "run"


def _said(run: Path, type_: str) -> list[dict[str, Any]]:
    return [event.data for event in rundir.read_events(run / rundir.EVENTS, after=0) if event.type == type_]


@contextmanager
def _rank(run: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "flan", "run", str(run)], env=ENVIRONMENT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _client(run: Path) -> httpx.Client:
    token = (run / rundir.TOKEN).read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=_said(run, "serve.ready")[0]["url"], headers=headers, timeout=60)


def test_a_rank_serves_until_it_is_told_to_stop(tmp_path: Path, exported: Path) -> None:
    """It answers once it says so, to its token only; told to stop, it finishes what runs and exits 75."""
    run = _prepared(tmp_path, exported)
    with _rank(run) as process:
        wait_until(lambda: bool(_said(run, "serve.ready")) or process.poll() is not None, 120)
        assert stat.S_IMODE((run / rundir.TOKEN).stat().st_mode) == 0o600
        with _client(run) as client:
            answer = client.post("/generate", json={"prompt": "hi", "seed": 1}).raise_for_status().json()
            body = {"prompt": "hi", "seed": 1, "max_new_tokens": 500, "stream": True}
            with client.stream("POST", "/generate", json=body) as response:
                lines = response.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                assert "event: done" in list(lines)
        assert process.wait(timeout=30) == EXIT_STOPPED

    assert answer["parameters"]["max_new_tokens"] == {"value": 8, "source": "default"}
    assert [event["stage"] for event in _said(run, "stage.changed")] == ["prepare", "serve"]
    assert _said(run, "run.stopped") == [{"wish": "pause", "step": 0}]
    outcome = rundir.read_outcome(run)
    assert outcome is not None and outcome.status == "stopped"


@contextmanager
def _serving(run: Path) -> Iterator[Future[str]]:
    """The rank's own function in a thread of this process: seconds faster than a process."""
    spec = rundir.read_spec(run)
    assert isinstance(spec, ServeSpec)
    events = rundir.EventWriter(run)
    with ThreadPoolExecutor(1) as pool:
        ending: Future[str] = pool.submit(serve, spec, run, events)
        try:
            wait_until(lambda: bool(_said(run, "serve.ready")) or ending.done(), 120)
            yield ending
        finally:
            rundir.write_wish(run, "cancel")
    events.close()


def test_a_wish_ends_it_and_its_endless_answers(
    tmp_path: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that would go on for minutes is cut off after the grace time; no thread is left."""
    monkeypatch.setattr("flan.serve.lifetime.load_model", lambda *_, **__: endless_model())
    monkeypatch.setattr("flan.serve.lifetime.DRAIN_S", 1)
    run = _prepared(tmp_path, exported)
    (run / rundir.TOKEN).write_text("given\n")
    with _serving(run) as ending, _client(run) as client:
        body = {"prompt": "hi", "seed": 1, "n": 16, "max_new_tokens": 8_000, "stream": True}
        with client.stream("POST", "/generate", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            rundir.write_wish(run, "cancel")
            with pytest.raises(httpx.RemoteProtocolError):
                assert "event: done" not in list(lines)
            assert ending.result(timeout=40) == "stopped"

    assert _said(run, "run.stopped") == [{"wish": "cancel", "step": 0}]
    assert not {"engine", "http"} & {thread.name for thread in threading.enumerate()}


def test_a_model_that_was_changed_is_not_served(tmp_path: Path, exported: Path) -> None:
    """Its digest is checked before it answers anyone."""
    run = _prepared(tmp_path, exported)
    (weights,) = Path(rundir.read_settings(run).store).glob("*/*/model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.unlink()
    weights.write_bytes(data)
    with _serving(run) as ending:
        assert isinstance(ending.exception(timeout=60), StoreCorrupt)


def test_an_engine_that_dies_ends_the_rank(tmp_path: Path, exported: Path) -> None:
    """With what it died of, as a fault of the machine: the rank is started anew."""
    run = _prepared(tmp_path, exported)
    loaded: list[Model] = []

    def load(*arguments: Any, **options: Any) -> Model:
        loaded.append(load_model(*arguments, **options))
        return loaded[0]

    def fail(*_: object) -> None:
        raise RuntimeError("the device is gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flan.serve.lifetime.load_model", load)
        with _serving(run) as ending, _client(run) as client:
            loaded[0].network.get_input_embeddings().register_forward_pre_hook(fail)
            assert client.post("/generate", json={"prompt": "hi"}).status_code == 503
            error = ending.exception(timeout=60)

    assert isinstance(error, ServingFailed) and error.blame == "infra"
    assert "the device is gone" in error.message


def test_progress_is_told_when_something_happened(
    tmp_path: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests and speed, as an event and as metrics; nothing is told of an idle server."""
    monkeypatch.setattr("flan.serve.lifetime.PROGRESS_EVERY_S", 0.0)
    run = _prepared(tmp_path, exported)
    with _serving(run), _client(run) as client:
        assert not _said(run, "progress")
        assert client.post("/generate", json={"prompt": "hi", "seed": 1}).is_success
        wait_until(lambda: bool(_said(run, "metrics")))
        wait_until(lambda: _said(run, "progress")[-1]["done"] == 1)

    assert _said(run, "progress")[-1]["what"] == "requests"
    assert _said(run, "metrics")[-1]["values"]["serve/requests"] == 1


def test_a_taken_port_is_a_plain_error() -> None:
    """Not a stack trace: whoever starts it by hand chooses another."""
    model = lively_model()
    with server_of(model) as (client, _), pytest.raises(PortUnusable):
        Server(
            face_of(model, ServeSpec(name="a", model="a"), token=None), "127.0.0.1", client.base_url.port or 0
        )


def test_no_model_is_open_to_the_network(exported: Path) -> None:
    """Without a token only this machine may ask."""
    with pytest.raises(TokenNeeded):
        serve_model(str(exported), host="0.0.0.0", port=0, token=None)


@pytest.mark.slow
def test_a_model_is_served_by_hand_until_interrupted(exported: Path) -> None:
    """`flan serve DIR`: it answers to its name only, and Ctrl-C ends it cleanly."""
    command = [sys.executable, "-m", "flan", "serve", str(exported), "--port", "0"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = next(word.rstrip(";") for word in line.split() if word.startswith("http"))
        named = {"prompt": "hi", "model": "lively-decoder", "max_new_tokens": 2}
        assert httpx.post(f"{url}/generate", json=named, timeout=60).is_success
        assert httpx.post(f"{url}/generate", json=named | {"model": "other"}).status_code == 404
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


AS_JSON = ("-o", "json")


def test_the_command_line_answers_as_the_server_does(exported: Path) -> None:
    """The same request, the same seed: the same answer, without any server."""
    request = {"seed": 4, "n": 2, "max_new_tokens": 9}
    settings = [part for name, value in request.items() for part in ("--set", f"{name}={value}")]
    printed = CliRunner().invoke(app, ["generate", str(exported), "hi", *settings, *AS_JSON])
    chosen = CliRunner().invoke(
        app, ["classify", str(exported), "hi", "--option", "a", "--option", "b", *AS_JSON]
    )
    with server_of(lively_model()) as (client, _):
        answer = client.post("/generate", json={"prompt": "hi"} | request).json()
        classified = client.post("/classify", json={"prompt": "hi", "options": ["a", "b"]}).json()

    assert json.loads(printed.output)["choices"] == answer["choices"]
    assert [score["logprob"] for score in json.loads(chosen.output)["scores"]] == pytest.approx(
        [score["logprob"] for score in classified["scores"]]
    )
