"""Every error has one shape, a request id, and says nothing about the machine."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

import api.app
from api.app import create_app
from api.auth import PUBLIC
from api.deps import Here
from api.schemas import ProblemShape
from api.settings import Settings
from flan.errors import DiskFull, FlanError, StoreCorrupt
from tests.api.conftest import AsCaller, make_key
from tests.kit.servers import Servers
from workers.ledger.session import engine_of, open_ledger

CODES = [
    ("GET", "/nothing/here", None, 404, "not_found"),
    ("GET", "/jobs/job_none", None, 404, "job_not_found"),
    ("GET", "/models/none", None, 404, "model_not_found"),
    ("GET", "/template-sets/none@x", None, 404, "not_found"),
    ("DELETE", "/jobs", None, 405, "method_not_allowed"),
    ("GET", "/jobs?limit=101", None, 422, "invalid_parameter"),
    ("GET", "/jobs?limt=5", None, 422, "invalid_parameter"),
    ("GET", "/jobs?state=sleeping", None, 422, "invalid_parameter"),
    ("POST", "/jobs", {"kind": "tune"}, 422, "invalid_document"),
    ("POST", "/keys", {"name": "a", "scopes": ["everything"]}, 422, "invalid_document"),
    ("POST", "/generate", {"prompt": "hi"}, 422, "model_needed"),
    ("POST", "/generate", {"prompt": "hi", "model": "none"}, 404, "model_not_found"),
    ("PUT", "/models/none/aliases/7", {"version": 1}, 422, "invalid_parameter"),
    ("PUT", "/models/none/aliases/best", {"version": 1}, 404, "model_not_found"),
]


def test_every_error_is_a_problem_document(client: TestClient) -> None:
    """RFC 9457, with the documented fields, and the request's id in header and body."""
    for method, path, body, status, code in CODES:
        answer = client.request(method, path, json=body, headers={"X-Request-Id": "my-request.1"})

        problem = ProblemShape.model_validate(answer.json())
        assert (answer.status_code, problem.code, problem.status) == (status, code, status)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"] == problem.request_id == "my-request.1"
        assert problem.instance == path.partition("?")[0]
        assert set(answer.json()) == set(ProblemShape.model_fields)


def test_a_misspelt_field_is_named_with_its_place_and_the_nearest_one(client: TestClient) -> None:
    """Unknown fields are errors, not wishes that are passed over."""
    spec = {"kind": "tune", "name": "a", "base": "preset:nano", "mixture": {"taskz": ["*"]}, "optimzer": {}}
    faults = {fault["pointer"]: fault for fault in client.post("/jobs", json=spec).json()["errors"]}

    assert set(faults) == {"/mixture/taskz", "/optimzer"}
    assert faults["/mixture/taskz"]["hint"] == "did you mean 'mixture.tasks'?"
    assert faults["/optimzer"]["hint"] == "did you mean 'optimizer'?"


def test_a_misspelt_parameter_is_named_with_the_nearest_one(client: TestClient) -> None:
    """`?dryrun=true` must not start the job."""
    answer = client.post("/jobs?dryrun=true", json={"kind": "tune", "name": "a", "base": "preset:nano"})

    assert answer.json()["hint"] == "did you mean 'dry_run'?"
    assert client.get("/jobs").json()["data"] == []


def test_a_bad_parameter_is_told_in_plain_words(client: TestClient) -> None:
    """As a fault of a body is: what is needed, what was given, what was probably meant."""
    said = {
        path: client.get(f"/jobs?{path}").json()
        for path in ("limit=101", "limit=x", "kind=tine", "state=queud")
    }

    assert {path: problem["errors"][0]["message"] for path, problem in said.items()} == {
        "limit=101": "must be at most 100, not 101",
        "limit=x": "needs a whole number, not 'x'",
        "kind=tine": "must be tune, evaluate, serve or sweep, not 'tine'",
        "state=queud": "'queud' is none of queued, running, paused, succeeded, failed, cancelled, cancelling, pausing",
    }
    assert said["state=queud"]["hint"] == "did you mean 'queued'?"


def test_allow_lists_every_method_of_the_path(client: TestClient) -> None:
    """Not only those of the first route the router met."""
    assert client.delete("/jobs").headers["allow"] == "GET, POST"
    assert client.post("/models/a/aliases/b").headers["allow"] == "DELETE, GET, PUT"


def test_another_host_name_is_not_served(client: TestClient) -> None:
    """A page that rebinds its own name to this machine gets nothing, not even health."""
    for host in ("evil.example", "evil.example:8000", "testserver.evil.example", ""):
        answer = client.get("/healthz", headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (421, "misdirected")
    assert client.get("/healthz", headers={"Host": "TestServer:8000"}).status_code == 200


def test_every_answer_carries_the_security_headers_and_no_cors(client: TestClient) -> None:
    """Also a refusal, also when another origin asks."""
    origin = {"Origin": "https://evil.example"}
    for answer in (client.get("/jobs", headers=origin), client.get("/nothing", headers=origin)):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert (
        client.options("/jobs", headers=origin | {"Access-Control-Request-Method": "POST"}).status_code == 405
    )


class _Secret(FlanError):
    """An error of ours that talks too much."""

    code = "talkative"


def _raise(error: Exception) -> None:
    raise error


@pytest.fixture
def broken(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """An application whose routes break in every way."""
    router = APIRouter(dependencies=[])
    home = settings.home

    def sql(here: Here) -> None:
        with here.sessions.begin() as session:
            session.execute(text("SELECT secret_column FROM no_such_table"))

    ways = {
        "/key": lambda: _raise(KeyError(f"{home}/secret")),
        "/assert": lambda: _raise(AssertionError("SELECT 1")),
        "/system": lambda: _raise(_Secret(f"cannot read {home}/secret")),
        "/disk": lambda: _raise(DiskFull(f"no space left in {home}/secret")),
        "/corrupt": lambda: _raise(StoreCorrupt(f"artifact in {home}/secret")),
        "/sql": sql,
    }
    for path, endpoint in ways.items():
        router.add_api_route(path, endpoint, dependencies=[PUBLIC], operation_id=path)
    monkeypatch.setattr(api.app, "ROUTERS", (*api.app.ROUTERS, router))
    with TestClient(api.app.create_app(settings)) as client:
        yield client


BROKEN = [("/key", 500), ("/assert", 500), ("/system", 500), ("/disk", 507), ("/corrupt", 503), ("/sql", 500)]


def test_what_breaks_on_our_side_says_nothing_about_the_machine(
    broken: TestClient, settings: Settings
) -> None:
    """No path, no SQL, no stack: only the id under which the log has it."""
    tells = re.compile(r"secret|SELECT|Traceback|\.py|Error|" + re.escape(str(settings.home)))
    for path, status in BROKEN:
        answer = broken.get(path)
        problem = ProblemShape.model_validate(answer.json())
        assert answer.status_code == problem.status == status
        assert problem.request_id.startswith("req_")
        assert not tells.search(answer.text)


def test_folders_of_the_machine_are_called_by_their_settings(
    settings: Settings, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """A fault that concerns a file on the server says which, without saying where."""
    here = settings.model_copy(update={"data": tmp_path / "datasets"})
    spec = {"kind": "tune", "name": "a", "base": "preset:nano", "mixture": {"tasks": ["rte"]}}
    key = make_key(sessions, ["jobs:write"])
    with TestClient(create_app(here), headers={"Authorization": f"Bearer {key}"}) as client:
        answer = client.post("/jobs", json=spec)

    assert (answer.status_code, answer.json()["code"]) == (422, "missing_rows")
    assert "FLAN_DATA/hub/rte" in answer.json()["detail"]
    assert str(tmp_path) not in answer.text


def test_a_database_that_is_away_is_a_503_that_may_be_retried(own_servers: Servers, tmp_path: Path) -> None:
    """The client learns that it is not its fault; when the database is back, so are we."""
    with own_servers.fresh_database() as url:
        sessions = open_ledger(url)
        key = make_key(sessions, ["admin"])
        settings = Settings(home=tmp_path / "own", database_url=url, allowed_hosts=("testserver",))
        with TestClient(create_app(settings), headers={"Authorization": f"Bearer {key}"}) as client:
            own_servers.kill("postgres")
            away = client.get("/jobs")
            own_servers.start("postgres")
            back = client.get("/jobs")
        engine_of(sessions).dispose()

    assert (away.status_code, away.json()["code"], away.json()["retryable"]) == (
        503,
        "storage_unavailable",
        True,
    )
    assert "Retry-After" in away.headers
    assert back.status_code == 200


def test_figures_have_no_label_that_a_user_chose(caller: AsCaller) -> None:
    """A thousand made-up paths and job ids are one series each."""
    client = caller("metrics:read", "jobs:read")
    for i in range(30):
        client.get(f"/made-up/{i}")
        client.get(f"/jobs/job_{i}")
    figures = client.get("/metrics").text

    assert 'route="(none)"' in figures
    assert "made-up" not in figures
    assert "job_7" not in figures
