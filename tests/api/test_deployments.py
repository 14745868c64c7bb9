"""What is served, by whom, and how busy."""

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from flan.spec import ServeSpec, parse
from tests.api.world import claim, say, serving, submit
from workers.ledger import jobs


def _listed(client: TestClient) -> dict[str, dict[str, Any]]:
    found = client.get("/deployments").raise_for_status().json()
    return {deployment["id"]: deployment for deployment in found["data"]}


def test_each_name_has_its_replicas_and_what_they_say(
    client: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """A replica that answers says how busy it is; one that does not, or cannot, is shown by its state."""
    assert _listed(client) == {}
    with serving(sessions, tmp_path / "a") as rank, serving(sessions, tmp_path / "b"):
        rank.post("/generate", json={"prompt": "hi", "max_new_tokens": 3, "seed": 1}).raise_for_status()
        spec = parse(ServeSpec, {"kind": "serve", "name": "other", "model": "movies"})
        dead, starting, queued = (submit(sessions, spec) for _ in range(3))
        (tmp_path / "c").mkdir()
        say(sessions, claim(sessions, tmp_path / "c"), ("serve.ready", {"url": "http://127.0.0.1:9"}))
        claim(sessions, tmp_path / "c")
        found = _listed(client)

    assert set(found) == {"movies", "other"}
    assert found["movies"]["num_answering"] == 2
    first, second = found["movies"]["replicas"]
    assert [each["state"] for each in (first, second)] == ["answering"] * 2
    busy = first["load"]
    assert (busy["requests"], busy["inside"], busy["active"]) == (1, 0, 0)
    assert 1 <= busy["tokens"] <= 3 and busy["read_tokens"] >= 1
    assert busy["cache_places"] > 0
    assert second["load"]["requests"] == 0
    others = found["other"]["replicas"]
    assert [(each["job_id"], each["state"], each["load"]) for each in others] == [
        (dead, "answering", None),
        (starting, "starting", None),
        (queued, "queued", None),
    ]
    assert found["other"]["num_answering"] == 1


def test_what_is_undeployed_is_shown_until_it_has_ended(
    client: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """It is asked nothing any more, and finishes what it has."""
    with serving(sessions, tmp_path):
        [replica] = _listed(client)["movies"]["replicas"]
        with sessions.begin() as session:
            jobs.cancel(session, replica["job_id"])
        found = _listed(client)["movies"]

    assert (found["num_answering"], found["replicas"][0]["state"]) == (0, "cancelling")
