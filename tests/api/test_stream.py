"""Event streams: nothing missed, nothing twice, an end that is said."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy.orm import Session, sessionmaker

from api.app import create_app
from api.client import Client, Event
from api.settings import Settings
from tests.api.conftest import make_key
from tests.api.live import listening
from tests.api.world import NODE, claim, finish, say, tune
from tests.kit.servers import Servers
from workers.ledger import jobs, nodes
from workers.ledger.leases import Ending
from workers.ledger.session import engine_of, open_ledger


@pytest.fixture
def live(settings: Settings, sessions: sessionmaker[Session]) -> Iterator[Client]:
    """A client of a platform that really listens; its streams say something every 0.2 s."""
    quick = settings.model_copy(update={"allowed_hosts": ("127.0.0.1",), "stream_heartbeat_s": 0.2})
    with listening(create_app(quick)) as url:
        client = Client(url, make_key(sessions, ["jobs:read"]))
        yield client
        client.close()


def submit(sessions: sessionmaker[Session]) -> str:
    """A job on a ledger with one node."""
    with sessions.begin() as session:
        nodes.report(session, NODE, cpu_slots=4, gpus=[])
        return jobs.submit(session, tune()).id


def test_a_stream_follows_a_job_to_its_end(
    live: Client, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """What happens while it is open comes through at once, in order, and the last frame says how it ended."""
    job_id = submit(sessions)
    seen: list[Event] = []
    submitted, progressed = threading.Event(), threading.Event()

    def follow() -> None:
        for event in live.stream("GET", f"/jobs/{job_id}/events?stream=true"):
            seen.append(event)
            {"job.submitted": submitted, "progress": progressed}.get(event.type, threading.Event()).set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert submitted.wait(20)
    lease = claim(sessions, tmp_path)
    say(sessions, lease, ("progress", {"step": 1, "total_steps": 2}))
    assert progressed.wait(20)
    finish(sessions, lease, Ending("done"))
    thread.join(20)

    assert [int(event.id or 0) for event in seen[:-1]] == list(range(1, len(seen)))
    assert (seen[-1].type, seen[-1].data) == ("stream.end", {"state": "succeeded"})


def test_a_long_history_comes_whole_before_the_end_is_said(
    live: Client, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """An ended job's stream is read in pieces; the end is that of the last one."""
    job_id = submit(sessions)
    lease = claim(sessions, tmp_path)
    say(sessions, lease, *[("progress", {"step": i}) for i in range(1_200)])
    finish(sessions, lease, Ending("done"))
    seen = list(live.stream("GET", f"/jobs/{job_id}/events?stream=true"))

    assert [event.id for event in seen[:-1]] == [str(i) for i in range(1, len(seen))]
    assert (len(seen) > 1_200, seen[-1].type) == (True, "stream.end")


def test_a_stream_goes_on_after_the_last_event_that_was_seen(
    live: Client, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Last-Event-ID counts over `after`; wherever it was cut, the two halves are the whole."""
    job_id = submit(sessions)
    lease = claim(sessions, tmp_path)
    say(sessions, lease, *[("progress", {"step": i}) for i in range(5)])
    finish(sessions, lease, Ending("done"))
    whole = [event.id for event in live.stream("GET", f"/jobs/{job_id}/events?stream=true") if event.id]

    for cut in range(len(whole) + 1):
        headers = {"Last-Event-ID": str(cut), "Accept": "text/event-stream"}
        with live._http.stream("GET", f"/jobs/{job_id}/events", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            rest = [line.removeprefix("id: ") for line in answer.iter_lines() if line.startswith("id: ")]
        assert whole[:cut] + rest == whole


def test_a_silent_stream_says_that_it_is_alive(live: Client, sessions: sessionmaker[Session]) -> None:
    """Comments, which clients pass over and proxies count."""
    job_id = submit(sessions)
    with live._http.stream("GET", f"/jobs/{job_id}/events?stream=true&after=99") as answer:
        lines = answer.iter_lines()
        first = [next(lines) for _ in range(4)]

    assert first == ["retry: 2000", "", ": ping", ""]


def test_a_stream_outlives_a_restart_of_the_database(
    own_servers: Servers, tmp_path: Path, settings: Settings
) -> None:
    """The connection stays; what happened afterwards comes through it."""
    with own_servers.fresh_database() as url:
        sessions = open_ledger(url)
        job_id = submit(sessions)
        here = settings.model_copy(update={"database_url": url, "allowed_hosts": ("127.0.0.1",)})
        with listening(create_app(here)) as address:
            client = Client(address, make_key(sessions, ["jobs:read"]))
            stream = client.stream("GET", f"/jobs/{job_id}/events?stream=true")
            assert next(stream).type == "job.submitted"
            own_servers.kill("postgres")
            own_servers.start("postgres")
            engine_of(sessions).dispose()
            with sessions.begin() as session:
                jobs.cancel(session, job_id)
            rest = [event.type for event in stream]
            client.close()
        engine_of(sessions).dispose()

    assert rest == ["job.cancelled", "stream.end"]


def test_a_stream_of_no_job_is_refused_with_a_status(live: Client) -> None:
    """Not with a 200 that then fails; and a strange Last-Event-ID is named."""
    unknown = live._http.get("/jobs/none/events?stream=true")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "job_not_found")


def test_a_strange_last_event_id_is_refused(live: Client, sessions: sessionmaker[Session]) -> None:
    """It is the number of an event."""
    path = f"/jobs/{submit(sessions)}/events?stream=true"
    for given in ("x", "-1", "1.5", "9" * 30, "²"):
        answer = live._http.get(path, headers=httpx.Headers([(b"Last-Event-ID", given.encode())]))
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter"), given


def test_types_that_are_left_out_do_not_come_and_do_not_keep_a_stream_open(
    live: Client, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Who draws no curves need not read them; the end is said all the same, though the last event was left out."""
    job_id = submit(sessions)
    lease = claim(sessions, tmp_path)
    say(sessions, lease, ("warning", {"code": "a"}), ("metrics", {"step": 1, "values": {"train/loss": 1.0}}))
    finish(sessions, lease, Ending("done"))
    types = [event["type"] for event in live.get(f"/jobs/{job_id}/events")["data"]]
    left_out = ["metrics", types[-1]]
    query = "&".join(f"without={type_}" for type_ in left_out)

    listed = [event["type"] for event in live.get(f"/jobs/{job_id}/events", without=left_out)["data"]]
    streamed = [event.type for event in live.stream("GET", f"/jobs/{job_id}/events?stream=true&{query}")]

    assert listed == [type_ for type_ in types if type_ not in left_out]
    assert streamed == [*listed, "stream.end"]
