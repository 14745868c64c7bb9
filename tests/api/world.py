"""A small platform on which things have happened: what the examples of the reference speak of.

Everything goes through the ledger and the catalog, as workers and requests would do it; the served model is
a real one behind a real server.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from api.auth import digest_of
from api.catalog import keys
from api.examples import KEY_ID, SHOWN_SECRET
from flan.card import ModelCard
from flan.evaluate.samples import SamplesWriter
from flan.model.export import export
from flan.rundir import Event
from flan.spec import EvaluateSpec, JobSpec, ServeSpec, TuneSpec, parse
from flan.store import Store
from tests.serve.lively import TOKEN, lively_model, server_of
from workers.ledger import checkpoints, jobs, journal, leases, models, nodes
from workers.ledger.leases import Ending, Failure, Lease
from workers.ledger.models import NewModel

NODE = "node-a"
DIGEST = "5f2c" * 16
RESULTS = {
    "format": 1, "model": "movies", "model_digest": "3" * 64, "verdicts": {"rule_pairs": "proven"},
    "why": {"rule_pairs": "nothing akin was trained on"},
    "lineage": {"base": "preset:nano", "tasks_seen": ["shop_reviews"], "clusters_seen": ["sentiment"]},
    "tasks": [
        {
            "task": "rule_pairs", "cluster": "entailment", "metric": "accuracy", "scoring": "rank",
            "split": "validation", "n": 200, "asked": "4" * 64, "num_rows": 200, "chance": 0.5, "majority": 0.52,
            "templates": [{"index": 0, "metric_value": 0.61, "n": 200, "metrics": {"accuracy": 0.61}}],
            "mean": 0.61, "spread": 0.0, "interval": [0.54, 0.68],
        }
    ],
    "spec_digest": "5" * 64, "contract_digest": "6" * 64, "seed": 0, "options": "flan2021",
}  # fmt: skip
SAMPLE = {
    "task": "rule_pairs", "split": "validation", "template": 0, "was_cut": False, "num_exemplars": 0,
    "prompt": "The gate opens at six. Does it follow that it is shut at five?\nOPTIONS:\n- yes\n- no",
    "references": ["yes"], "options": ["yes", "no"], "logprobs": [-0.7, -1.2], "cue_logprobs": [-0.9, -0.8],
    "num_tokens": [2, 2], "num_bytes": [3, 2], "option_mass": 0.8, "is_tied": False,
    "choice": "yes", "metrics": {"accuracy": 1.0}, "is_right": True, "reply": {"text": "yes"},
}  # fmt: skip
SHOP_MOOD = {
    "name": "shop-mood",
    "extends": "shop_reviews",
    "templates": [{"input": "{review}\nGood or bad?\n{options_}"}],
}
SHOP_MOOD_CHANGED = {
    **SHOP_MOOD,
    "templates": [{"input": "{review}\nGood, or bad?\n{options_}"}, {"input": "Judge: {review}\n{options_}"}],
}
SWEEP = {
    "kind": "sweep",
    "name": "clusters",
    "jobs": {
        "model": {"kind": "tune", "base": "preset:nano", "mixture": {"collection": "synthetic"}},
        "tuned": {
            "kind": "evaluate",
            "model": "job:model",
            "collection": "synthetic",
            "tasks": ["cluster:sentiment"],
        },
    },
    "axes": [
        {
            "name": "held_out",
            "settings": [
                {"label": "sentiment", "set": {"/model/mixture/hold_out/clusters": ["sentiment"]}},
                {"label": "nothing", "set": {}},
            ],
        }
    ],
}


class World(NamedTuple):
    """Ids of jobs by what has become of them, and the digest of the model that answers."""

    queued: str
    running: str
    paused: str
    failed: str
    evaluated: str
    tuned: str
    model: str
    sweep: str


def tune(name: str = "movies") -> TuneSpec:
    """A small tune job."""
    return parse(TuneSpec, {"kind": "tune", "name": name, "base": "preset:nano"})


@contextmanager
def settled(client: TestClient, sessions: sessionmaker[Session], folder: Path) -> Iterator[World]:
    """The world; its model answers while the context is open."""
    uploaded = client.post("/template-sets", json=SHOP_MOOD)
    assert uploaded.status_code == 201, uploaded.text
    uploaded = client.post("/template-sets", json=SHOP_MOOD_CHANGED)
    assert uploaded.status_code == 201, uploaded.text
    rows = '{"text": "A warm film.", "label": "good"}\n{"text": "Too long.", "label": "bad"}\n'
    uploaded = client.post("/datasets?name=reviews&split=train&format=jsonl", content=rows)
    assert uploaded.status_code == 201, uploaded.text
    with sessions.begin() as session:
        nodes.report(session, NODE, cpu_slots=8, gpus=[])
        keys.add(
            session, key_id=KEY_ID, secret_sha256=digest_of(SHOWN_SECRET), name="old", scopes=["generate"]
        )
    model = stored_model(client, folder)
    with serving(sessions, folder, digest=model):
        tuned = _tuned(sessions, folder)
        evaluated = _evaluated(sessions, folder, _store(client))
        failed = _failed(sessions, folder)
        paused = submit(sessions, tune("resting"))
        with sessions.begin() as session:
            jobs.pause(session, paused)
        running = submit(sessions, tune("busy"))
        claim(sessions, folder)
        queued = submit(sessions, tune("waiting"))
        sweep = client.post("/jobs", json=SWEEP)
        assert sweep.status_code == 202, sweep.text
        # Nothing of it may be claimed instead of what a test means.
        assert client.post(f"/jobs/{sweep.json()['id']}/cancel").status_code == 200
        yield World(queued, running, paused, failed, evaluated, tuned, model, sweep.json()["id"])


def stored_model(client: TestClient, folder: Path) -> str:
    """Digest of the model that answers, in the platform's store."""
    export(*lively_model(context=512), folder / "movies")
    return _store(client).put_tree(folder / "movies")


def _store(client: TestClient) -> Store:
    assert isinstance(client.app, FastAPI)
    store: Store = client.app.state.platform.store
    return store


@contextmanager
def serving(
    sessions: sessionmaker[Session], folder: Path, name: str = "movies", digest: str = DIGEST
) -> Iterator[httpx.Client]:
    """A real model, answering as the deployment `name` of the registered model `movies`."""
    model = lively_model(context=512)
    with server_of(model) as (rank, _engine):
        register_replica(sessions, model.card, digest)
        spec = parse(ServeSpec, {"kind": "serve", "name": name, "model": "movies"})
        pinned = spec.model_dump(mode="json") | {"pins": {"tasks": {}, "model": digest}}
        submit(sessions, parse(ServeSpec, pinned))
        lease = claim(sessions, folder)
        (run_directory(folder, lease) / "token").write_text(TOKEN)
        say(
            sessions,
            lease,
            ("stage.changed", {"stage": "serve"}),
            ("serve.ready", {"url": str(rank.base_url)}),
        )
        yield rank


def register_replica(sessions: sessionmaker[Session], card: ModelCard, digest: str = DIGEST) -> None:
    """A version of the model `movies`, the default one, and a node that may serve it."""
    with sessions.begin() as session:
        nodes.report(session, NODE, cpu_slots=8, gpus=[])
        version = models.register(session, NewModel("movies", "tuned", digest, card))
        models.put_alias(session, "movies", "default", version.version)


def run_directory(folder: Path, lease: Lease) -> Path:
    """The run directory of an attempt."""
    return folder / f"{lease.job_id}-{lease.attempt}"


def claim(sessions: sessionmaker[Session], folder: Path) -> Lease:
    """The oldest job that waits, begun."""
    with sessions.begin() as session:
        lease = leases.claim(session, NODE, "owner", lease_s=3600)
    assert lease is not None
    directory = run_directory(folder, lease)
    (directory / "logs").mkdir(parents=True)
    (directory / "logs" / "rank-0.log").write_text("rank 0 of 1 on cpu\nstep 10 loss 3.41\n")
    with sessions.begin() as session:
        leases.set_out(session, lease, run_directory=str(directory), resumed_from=None)
    return lease


def say(sessions: sessionmaker[Session], lease: Lease, *events: tuple[str, dict[str, Any]]) -> None:
    """Enter what rank 0 said; the lines of an attempt are numbered from 1."""
    lines = [Event(line=i, at=1.0, type=type_, data=data) for i, (type_, data) in enumerate(events, start=1)]
    with sessions.begin() as session:
        journal.append(session, lease, lines, lease_s=3600)


def finish(sessions: sessionmaker[Session], lease: Lease, ending: Ending) -> None:
    """Give a lease back."""
    with sessions.begin() as session:
        leases.end(session, lease, ending, retry_base_s=1)


def submit(sessions: sessionmaker[Session], spec: JobSpec) -> str:
    """A job in the queue; its id."""
    with sessions.begin() as session:
        return jobs.submit(session, spec).id  # type: ignore[arg-type]


def _tuned(sessions: sessionmaker[Session], folder: Path) -> str:
    job_id = submit(sessions, tune())
    lease = claim(sessions, folder)
    checkpoint = {
        "step": 20, "path": "step-00000020-a1", "manifest_sha256": DIGEST, "size_bytes": 1_048_576,
    }  # fmt: skip
    say(
        sessions,
        lease,
        ("run.started", {"kind": "tune", "ranks": 1, "device": "cpu", "resumed_from": 0}),
        ("metrics", {"step": 10, "values": {"train/loss": 3.41, "train/learning_rate": 0.001}}),
        ("metrics", {"step": 20, "values": {"train/loss": 2.88, "train/learning_rate": 0.001}}),
        ("progress", {"step": 20, "total_steps": 20, "eta_s": 0.0, "loss": 2.88}),
        ("checkpoint.written", checkpoint),
    )
    with sessions.begin() as session:
        checkpoints.publish(session, lease, "step-00000020-a1")
    finish(sessions, lease, Ending("done"))
    return job_id


def _evaluated(sessions: sessionmaker[Session], folder: Path, store: Store) -> str:
    spec = {"kind": "evaluate", "name": "movies-eval", "model": "movies", "tasks": ["rule_pairs"]}
    job_id = submit(sessions, parse(EvaluateSpec, spec | {"collection": "synthetic"}))
    lease = claim(sessions, folder)
    say(sessions, lease, ("progress", {"done": 1, "total": 1, "what": "rule_pairs"}))
    with SamplesWriter(folder / "samples") as samples:
        samples.write(SAMPLE | {"row": row} for row in range(3))
    finish(sessions, lease, Ending("done", results=RESULTS | {"samples": store.put_tree(folder / "samples")}))
    return job_id


def _failed(sessions: sessionmaker[Session], folder: Path) -> str:
    job_id = submit(sessions, tune("broken"))
    lease = claim(sessions, folder)
    failure = Failure(
        code="loss_not_finite", blame="user", message="the loss of step 12 is not finite",
        hint="lower optimizer.learning_rate", values={"step": 12}, rank=0, log=("step 12 loss nan",),
    )  # fmt: skip
    finish(sessions, lease, Ending("fault", failure))
    return job_id
