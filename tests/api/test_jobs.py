"""Jobs over HTTP: handed in resolved, found again, moved along."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from api.app import create_app
from api.settings import Settings
from flan.store import Store
from tests.api.conftest import make_key
from tests.api.world import NODE, World, claim, finish, settled
from tests.kit.models import tiny_model
from workers.ledger import leases, nodes
from workers.ledger.leases import Ending, Failure
from workers.ledger.tables import Event, Job, Metric

SPEC = {
    "kind": "tune", "name": "tiny", "base": "preset:nano", "steps": 10,
    "mixture": {"collection": "synthetic", "tasks": ["shop_reviews"]},
}  # fmt: skip


@pytest.fixture
def world(client: TestClient, sessions: sessionmaker[Session], tmp_path: Path) -> Iterator[World]:
    """Jobs in every state."""
    with settled(client, sessions, tmp_path) as made:
        yield made


def test_a_job_is_recorded_with_what_its_names_meant(client: TestClient, settings: Settings) -> None:
    """The stored spec pins each task's document and rows, and the documents are in the store."""
    answer = client.post("/jobs", json=SPEC)

    pins = answer.json()["spec"]["pins"]
    assert (answer.status_code, answer.headers["location"]) == (202, f"/jobs/{answer.json()['id']}")
    assert pins["train"] == ["shop_reviews"]
    assert Store(settings.store_folder).read_bytes(pins["tasks"]["shop_reviews"]["document"])


def test_a_dry_run_plans_and_records_nothing(client: TestClient, sessions: sessionmaker[Session]) -> None:
    """The same resolved spec as the job would have, and figures."""
    plan = client.post("/jobs?dry_run=true", json=SPEC)
    with sessions.begin() as session:
        counts = [session.scalar(select(func.count()).select_from(table)) for table in (Job, Event)]

    assert (plan.status_code, counts) == (200, [0, 0])
    assert plan.json()["plan"]["steps"] == 10
    assert client.post("/jobs", json=SPEC).json()["spec_digest"] == plan.json()["spec_digest"]


def test_a_plan_says_how_long_it_would_take_by_the_newest_job_like_it(
    client: TestClient, sessions: sessionmaker[Session]
) -> None:
    """Another base, precision or number of ranks says nothing; neither does a job that has trained no step."""

    def handed_in(seconds_per_step: float | None, **changes: Any) -> str:
        job_id: str = client.post("/jobs", json=SPEC | changes).json()["id"]
        with sessions.begin() as session:
            for step, value in enumerate([] if seconds_per_step is None else [seconds_per_step] * 3):
                name = "train/seconds_per_step"
                session.add(Metric(job_id=job_id, step=step, name=name, value=value, attempt=1))
        return job_id

    def estimate(**changes: Any) -> Any:
        return client.post("/jobs?dry_run=true", json=SPEC | changes).json()["estimate"]

    assert estimate() is None
    handed_in(7.0)
    newest = handed_in(0.5, tokens_per_step=2 * 8_192)
    handed_in(None)
    handed_in(9.0, resources={"ranks": 2})
    handed_in(9.0, precision="fp32")
    handed_in(9.0, base="preset:mini")

    assert estimate(steps=40) == {"seconds": 10.0, "job_id": newest}


def test_a_plan_warns_of_what_the_platform_lacks(client: TestClient, sessions: sessionmaker[Session]) -> None:
    """More ranks than any node has, a GPU where there is none, nobody at all; and a step of another size."""

    def warnings(**resources: Any) -> list[str]:
        answer = client.post("/jobs?dry_run=true", json={**SPEC, "resources": resources})
        assert answer.status_code == 200, answer.text
        return answer.json()["plan"]["warnings"]

    assert "no node is here: the job would wait for one" in warnings()
    with sessions.begin() as session:
        nodes.report(session, NODE, cpu_slots=4, gpus=[])
        nodes.report(session, "node-b", cpu_slots=2, gpus=[])
    rounded = "a step has 7,680 token slots, not 8,192: 6 packs of 1,280"
    assert warnings() == warnings(ranks=3) == [rounded]
    assert warnings(ranks=6) == [
        rounded,
        "6 ranks are more than any node here has (4): the job would wait for a larger one",
    ]
    assert "no node here has a GPU: the job would wait for one" in warnings(device="cuda")
    gpu = {"uuid": "GPU-1", "name": "a GPU", "memory_bytes": 1 << 34}
    with sessions.begin() as session:
        nodes.report(session, NODE, cpu_slots=8, gpus=[gpu])
    assert warnings(device="cuda") == warnings(ranks=6, device="cpu") == [rounded]
    assert "6 ranks are more than any node here has (2)" in warnings(ranks=6)[-1]


def test_an_uploaded_template_set_and_dataset_are_trained_on_by_version(client: TestClient) -> None:
    """`mine@1` means the first for ever; the rows are pinned by the digest of the upload."""
    for word in ("fine", "dull"):
        rows = f'{{"text": "{word}", "label": "good"}}\n'
        assert client.post("/datasets?name=rows&split=train&format=jsonl", content=rows).status_code == 201
    task: dict[str, Any] = {
        "name": "mine", "cluster": "sentiment", "source": {"kind": "dataset", "name": "rows@1"},
        "fields": {"text": "text"}, "answer": {"column": "label", "choices": ["bad", "good"]},
        "metrics": ["accuracy"], "templates": [{"input": "{text}\n{options_}"}],
    }  # fmt: skip
    client.post("/template-sets", json=task)
    client.post("/template-sets", json={**task, "templates": [{"input": "{text}?"}]})
    first = client.get("/datasets/rows@1").json()["splits"]["train"]["sha256"]

    pins = {}
    for reference in ("mine@1", "mine@2", "mine"):
        spec = {**SPEC, "mixture": {"collection": "synthetic", "tasks": [reference]}}
        answer = client.post("/jobs", json=spec)
        assert answer.status_code == 202, answer.text
        pins[reference] = answer.json()["spec"]["pins"]["tasks"]["mine"]

    assert pins["mine"] == pins["mine@2"] != pins["mine@1"]
    assert pins["mine"]["rows"] == pins["mine@1"]["rows"] == {"train": first}


def test_a_queued_job_says_what_it_waits_for(client: TestClient, sessions: sessionmaker[Session]) -> None:
    """How many slots it needs, how many the best node has free, and how many jobs were there before it."""
    nobody = client.post("/jobs", json=SPEC).json()["queue"]
    with sessions.begin() as session:
        nodes.report(session, NODE, cpu_slots=3, gpus=[])
    job = client.post("/jobs", json={**SPEC, "resources": {"ranks": 2}}).json()

    assert nobody == {"needs": 1, "free": 0, "reason": None, "ahead": 0}
    assert job["queue"] == {"needs": 2, "free": 3, "reason": None, "ahead": 1}
    with sessions.begin() as session:
        leases.claim(session, NODE, "owner", lease_s=60)
    found = client.get("/jobs").json()["data"]
    assert [each["queue"] and each["queue"]["ahead"] for each in found] == [0, None]
    assert [each["heard_at"] is None for each in found] == [True, False]


def test_pages_hold_every_job_once_newest_first(client: TestClient) -> None:
    """Whatever the size of the page, and while new jobs arrive between two."""
    ids = [client.post("/jobs", json=SPEC).json()["id"] for _ in range(5)][::-1]
    for limit in (1, 2, 5, 6):
        seen: list[str] = []
        after = None
        while True:
            page = client.get("/jobs", params={"limit": limit, **({"after": after} if after else {})}).json()
            seen += [job["id"] for job in page["data"]]
            after = page["last_id"]
            assert page["first_id"] == page["data"][0]["id"]
            if not page["has_more"]:
                break
        assert seen == ids


def test_filters_choose_by_what_is_shown(client: TestClient, world: World) -> None:
    """`cancelling` is a state like the others; kinds and names combine with it."""
    client.post(f"/jobs/{world.running}/cancel")

    def ids(**parameters: str) -> list[str]:
        return [job["id"] for job in client.get("/jobs", params=parameters).json()["data"]]

    assert ids(state="cancelling") == [world.running]
    assert ids(state="queued") == [world.queued]
    assert ids(state="succeeded", kind="evaluate") == [world.evaluated]
    assert ids(name="broken") == [world.failed]
    assert ids(name="broken", state="queued") == []
    assert ids(find="roke") == [world.failed]
    assert ids(find="_roken") == []
    children = ids(sweep=world.sweep)
    assert len(children) > 0
    assert world.sweep in ids(sweep="none", limit="100")
    assert not {*children} & {*ids(sweep="none", limit="100")}


def test_jobs_are_found_by_the_model_they_are_about(client: TestClient, world: World) -> None:
    """By its weights, whichever name a spec gave them; a model that is not there is an error."""

    def kinds(model: str) -> set[str]:
        return {job["kind"] for job in client.get("/jobs", params={"model": model}).json()["data"]}

    assert kinds("movies@1") == kinds("movies@default") == {"serve"}
    assert client.get("/jobs", params={"model": "nobody"}).status_code == 404


MOVES = [
    ("queued", "cancel", 200, "cancelled"), ("queued", "pause", 200, "paused"), ("queued", "resume", 200, "queued"),
    ("queued", "retry", 409, None), ("running", "cancel", 200, "cancelling"), ("running", "pause", 200, "pausing"),
    ("running", "resume", 200, "running"), ("running", "retry", 409, None), ("paused", "cancel", 200, "cancelled"),
    ("paused", "pause", 200, "paused"), ("paused", "resume", 200, "queued"), ("paused", "retry", 409, None),
    ("failed", "cancel", 409, None), ("failed", "pause", 409, None), ("failed", "resume", 409, None),
    ("failed", "retry", 200, "queued"), ("tuned", "cancel", 409, None), ("tuned", "retry", 409, None),
]  # fmt: skip


def test_every_verb_in_every_state_does_what_it_says_or_is_refused(client: TestClient, world: World) -> None:
    """Each on a job of its own kind of state; a refusal says the state and changes nothing."""
    wrong = []
    for state, verb, status, becomes in MOVES:
        if status == 200 and verb not in ("resume",) and state != "failed":
            continue
        before = client.get(f"/jobs/{getattr(world, state)}").json()
        answer = client.post(f"/jobs/{before['id']}/{verb}")
        if answer.status_code != status or (becomes and answer.json()["state"] != becomes):
            wrong.append((state, verb, answer.status_code, answer.text))
        if status == 409 and client.get(f"/jobs/{before['id']}").json() != before:
            wrong.append((state, verb, "changed it"))

    assert wrong == []


@pytest.mark.parametrize(
    ("state", "verb", "becomes"),
    [
        (state, verb, becomes)
        for state, verb, status, becomes in MOVES
        if status == 200 and verb in ("cancel", "pause")
    ],
)
def test_cancel_and_pause_twice_are_once(
    client: TestClient, world: World, state: str, verb: str, becomes: str
) -> None:
    """The second answers like the first and adds no event."""
    path = f"/jobs/{getattr(world, state)}/{verb}"
    first, second = client.post(path).json(), client.post(path).json()

    assert first["state"] == second["state"] == becomes
    assert first["num_events"] == second["num_events"]


def test_an_unchanged_object_is_not_sent_again(client: TestClient) -> None:
    """ETag and If-None-Match; a change makes another ETag."""
    job = client.post("/jobs", json=SPEC).json()["id"]
    first = client.get(f"/jobs/{job}")
    again = client.get(f"/jobs/{job}", headers={"If-None-Match": first.headers["etag"]})
    client.post(f"/jobs/{job}/pause")
    changed = client.get(f"/jobs/{job}", headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert changed.status_code == 200


def test_logs_are_read_in_pieces_and_from_the_end(
    client: TestClient, sessions: sessionmaker[Session], world: World, tmp_path: Path
) -> None:
    """Whole lines, wherever one starts; bytes that are no text do not break the answer."""
    log = tmp_path / f"{world.running}-1" / "logs" / "rank-0.log"
    log.write_bytes(b"first line\n\xff\xfe broken\nlast line\nhalf")

    whole = client.get(f"/jobs/{world.running}/logs").json()
    tail = client.get(f"/jobs/{world.running}/logs?offset=-12").json()
    rest = client.get(f"/jobs/{world.running}/logs", params={"offset": whole["next_offset"]}).json()
    assert whole["text"] == "first line\n\ufffd\ufffd broken\nlast line\n"
    assert tail["text"] == "half"
    assert (rest["text"], rest["next_offset"]) == ("half", rest["size_bytes"])
    assert client.get(f"/jobs/{world.running}/logs?rank=1").status_code == 404
    assert client.get(f"/jobs/{world.running}/logs?attempt=2").status_code == 404


def test_the_log_of_a_job_that_never_started_says_so(client: TestClient, world: World) -> None:
    """Not that an attempt 0 is missing."""
    for job, state in ((world.queued, "queued"), (world.paused, "paused")):
        answer = client.get(f"/jobs/{job}/logs")
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (404, "not_started")
        assert (problem["detail"], problem["hint"]) == (f"job {job} has not started yet", f"it is {state}")


def test_the_log_of_a_job_whose_ranks_are_being_launched_says_so(
    client: TestClient, sessions: sessionmaker[Session]
) -> None:
    """Between the claim and the run directory there is an attempt and no log; one that ended then says how."""
    job = client.post("/jobs", json=SPEC).json()["id"]
    with sessions.begin() as session:
        nodes.report(session, NODE, cpu_slots=3, gpus=[])
        lease = leases.claim(session, NODE, "owner", lease_s=60)
    launching = client.get(f"/jobs/{job}/logs").json()
    finish(sessions, lease, Ending("fault", Failure(code="rank_lost", blame="user", message="no")))
    ended = client.get(f"/jobs/{job}/logs").json()

    assert (launching["code"], launching["hint"]) == ("not_started", "its ranks are being launched")
    assert launching["detail"] == f"attempt 1 of job {job} has not started yet"
    assert (ended["code"], ended["hint"]) == ("not_started", "it ended before that: failed")


def test_metrics_come_in_pages_by_step_and_name(client: TestClient, world: World) -> None:
    """The id of the last point is where the next page starts."""
    path = f"/jobs/{world.tuned}/metrics"
    whole = [point["id"] for point in client.get(path).json()["data"]]
    seen: list[str] = []
    while len(seen) < len(whole):
        page = client.get(path, params={"limit": 3, **({"after": seen[-1]} if seen else {})}).json()
        seen += [point["id"] for point in page["data"]]

    assert seen == whole
    assert [p["value"] for p in client.get(f"{path}?name=train/loss").json()["data"]] == [3.41, 2.88]


def test_a_figure_that_is_no_number_is_null(
    client: TestClient, world: World, sessions: sessionmaker[Session]
) -> None:
    """JSON has no word for it."""
    with sessions.begin() as session:
        session.add(Metric(job_id=world.tuned, step=30, name="train/loss", value=math.inf, attempt=1))
    path = f"/jobs/{world.tuned}/metrics?name=train/loss"

    for asked in ("", "&thin_to=3", "&thin_to=3&keep=mean"):
        assert [point["value"] for point in client.get(path + asked).json()["data"]] == [3.41, 2.88, None]


def test_a_figure_comes_whole_in_few_points(client: TestClient, world: World) -> None:
    """One answer without pages; which figure must be said."""
    path = f"/jobs/{world.tuned}/metrics"
    whole = client.get(path, params={"name": "train/loss", "thin_to": 3}).json()
    mean = client.get(path, params={"name": "train/loss", "thin_to": 3, "keep": "mean"}).json()
    refused = [
        client.get(path, params={"thin_to": 3, **more}) for more in ({}, {"name": "a", "after": "1/a"})
    ]

    assert [p["value"] for p in whole["data"]] == [p["value"] for p in mean["data"]] == [3.41, 2.88]
    assert whole["has_more"] is False
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [
        (422, "invalid_parameter")
    ] * 2


@pytest.fixture
def library(settings: Settings, sessions: sessionmaker[Session], tmp_path: Path) -> Iterator[TestClient]:
    """A platform that opens a folder of models, in which one lies; another lies outside."""
    from flan.model.export import export

    for folder in (tmp_path / "models" / "tiny", tmp_path / "private"):
        model = tiny_model()
        export(model.network, model.tokenizer, model.card, folder)
    (tmp_path / "models" / "link").symlink_to(tmp_path / "private")
    here = settings.model_copy(update={"models": tmp_path / "models"})
    with TestClient(create_app(here)) as client:
        client.headers["Authorization"] = f"Bearer {make_key(sessions, ['jobs:write', 'jobs:read'])}"
        yield client


def test_only_directories_below_the_models_folder_are_opened(library: TestClient, tmp_path: Path) -> None:
    """By relative or absolute path, links followed; nothing outside is even looked at."""
    spec = {"kind": "serve", "name": "s"}
    inside = [str(tmp_path / "models" / "tiny"), "./tiny"]
    outside = [str(tmp_path / "private"), "../private", str(tmp_path / "models" / "link"), "/etc", "~/x"]

    for path in inside:
        answer = library.post("/jobs", json={**spec, "model": path})
        assert answer.status_code == 202, answer.text
        assert answer.json()["spec"]["pins"]["model"]
    for path in outside:
        answer = library.post("/jobs", json={**spec, "model": path})
        assert answer.status_code == 422, (path, answer.text)
        assert answer.json()["code"] in ("path_forbidden", "not_found")


def test_an_unknown_model_is_answered_with_what_this_server_has(
    client: TestClient, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The nearest registered name, or the versions of it; no advice that the server itself would refuse."""
    (tmp_path / "notes").mkdir()
    monkeypatch.chdir(tmp_path)

    def hint(model: str) -> str:
        answer = client.post("/jobs", json={"kind": "serve", "name": "s", "model": model})
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, "not_found"), answer.text
        assert problem["detail"] == f"there is no model {model!r} here"
        assert problem["errors"][0]["pointer"] == "/model"
        return problem["hint"]

    assert hint("movis") == "did you mean 'movies'?"
    assert hint("movies@7") == hint("movies@best") == "movies has the versions @1 to @1, @default"
    assert hint("xyz") == "registered are: movies; a tune job can start from preset:nano and its like"
    assert hint("notes") == hint("xyz")
    assert (
        hint("someone/model") == "the server's operator can fetch it from the hub: hf download someone/model"
    )


def test_a_job_that_was_claimed_shows_its_attempt(
    client: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Node and number of each try."""
    job = client.post("/jobs", json=SPEC).json()["id"]
    with sessions.begin() as session:
        nodes.report(session, NODE, cpu_slots=4, gpus=[])
    claim(sessions, tmp_path)

    (attempt,) = client.get(f"/jobs/{job}/attempts").json()["data"]
    assert (attempt["number"], attempt["node"], attempt["ended_at"]) == (1, NODE, None)
