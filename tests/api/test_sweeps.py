"""Sweeps over HTTP: handed in whole, looked at child by child, with results while they run."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from tests.api.world import NODE, RESULTS
from tests.workers.test_models import model
from workers.ledger import leases, nodes, sweeps
from workers.ledger.leases import Ending
from workers.ledger.tables import Job

PRESET = {"kind": "sweep", "name": "held-out", "preset": "cluster-sweep", "scale": "tiny"}


def worked(sessions: sessionmaker[Session], times: int) -> None:
    """A worker's rounds: models are made, and everything is measured alike."""
    for _ in range(times):
        sweeps.advance_all(sessions)
        with sessions.begin() as session:
            lease = leases.claim(session, NODE, "owner", lease_s=30)
            assert lease is not None
            job = session.get_one(Job, lease.job_id)
            made = [model(job.name, "a")] if job.kind == "tune" else []
            made += [made[0]._replace(role="base", name=f"{job.name}-base")] if made else []
            results = RESULTS if job.kind == "evaluate" else None
            leases.end(session, lease, Ending("done", results=results, models=made), retry_base_s=1)
    sweeps.advance_all(sessions)


def test_a_preset_is_one_request_and_tells_its_results_as_they_come(
    client: TestClient, sessions: sessionmaker[Session]
) -> None:
    """Everything is pinned at acceptance; children say what they wait for; results are partial until all are there."""
    with sessions.begin() as session:
        nodes.report(session, NODE, cpu_slots=4, gpus=[])
    asked = client.post("/jobs", json=PRESET)
    assert asked.status_code == 202, asked.text
    sweep = asked.json()
    children = client.get(f"/jobs/{sweep['id']}/children").json()["data"]

    assert (sweep["kind"], sweep["state"], sweep["queue"]) == ("sweep", "queued", None)
    assert len(children) == 8
    for child in children:
        job = client.get(f"/jobs/{child['job_id']}").json()
        assert job["sweep"] == sweep["id"]
        assert job["spec"]["pins"]["tasks"]
        assert (job["queue"]["reason"] is None) == (job["needs"] is None)
        if job["needs"]:
            assert job["needs"] in job["queue"]["reason"]
    assert client.get(f"/jobs/{sweep['id']}/results").json()["partial"]

    worked(sessions, 8)
    found = client.get(f"/jobs/{sweep['id']}/results").json()
    assert client.get(f"/jobs/{sweep['id']}").json()["state"] == "succeeded"
    assert not found["partial"]
    assert found["results"]["experiment"] == "cluster-sweep"
    assert [line["cell"] for line in found["results"]["lines"]] == [
        {"held_out": cluster} for cluster in ("entailment", "sentiment", "reading_comprehension")
    ]
    assert all(set(line["figures"]) == {"base", "tuned"} for line in found["results"]["lines"])


def test_a_dry_run_plans_every_child_and_records_nothing(
    client: TestClient, sessions: sessionmaker[Session]
) -> None:
    """Sums, what each needs, and what is done already by another job."""
    first = client.post("/jobs?dry_run=true", json=PRESET).json()
    with sessions.begin() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 0
    sweep = client.post("/jobs", json=PRESET).json()
    again = client.post("/jobs?dry_run=true", json=PRESET).json()

    assert first["spec_digest"] == sweep["spec_digest"]
    plan = first["plan"]
    assert (plan["num_cells"], len(plan["children"]), plan["steps"]) == (3, 8, 1 + 3 * 8)
    assert all(child["memory_bytes"] and child["cpu_s"] for child in plan["children"])
    assert [child["reuses"] for child in plan["children"]] == [None] * 8
    listed = client.get(f"/jobs/{sweep['id']}/children").json()["data"]
    assert [child["reuses"] for child in again["plan"]["children"]] == [each["job_id"] for each in listed]


def test_a_second_request_hands_nothing_in_twice(client: TestClient) -> None:
    """The same sweep has the same jobs, and says that they are another's."""
    ids = [client.post("/jobs", json=PRESET).json()["id"] for _ in range(2)]
    one, two = (client.get(f"/jobs/{job_id}/children").json()["data"] for job_id in ids)

    assert [each["job_id"] for each in one] == [each["job_id"] for each in two]
    assert not any(each["is_reused"] for each in one)
    assert all(each["is_reused"] for each in two)


def test_a_sweep_that_cannot_be_is_refused_whole(client: TestClient, sessions: sessionmaker[Session]) -> None:
    """By the place of what is wrong; nothing of it is recorded."""
    tune = {"kind": "tune", "base": "preset:nano", "mixture": {"collection": "synthetic"}}
    measure = {"kind": "evaluate", "model": "job:model", "collection": "synthetic", "tasks": ["nonesuch"]}
    unknown = client.post(
        "/jobs", json={"kind": "sweep", "name": "s", "jobs": {"model": tune, "tuned": measure}}
    )
    full = client.post("/jobs", json=PRESET | {"scale": "full"})
    lonely = client.post("/jobs", json={**measure, "name": "alone", "tasks": ["rule_pairs"]})

    assert [answer.status_code for answer in (unknown, full, lonely)] == [422, 422, 422]
    assert unknown.json()["errors"][0]["pointer"].startswith("/jobs/tuned/tasks")
    assert full.json()["errors"][0]["pointer"] == "/bases"
    with sessions.begin() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 0


@pytest.mark.parametrize("verb", ["cancel", "pause"])
def test_verbs_reach_the_children(client: TestClient, verb: str) -> None:
    """A sweep is one thing to whoever asked for it."""
    sweep: dict[str, Any] = client.post("/jobs", json=PRESET).json()
    answer = client.post(f"/jobs/{sweep['id']}/{verb}")

    assert answer.status_code == 200, answer.text
    states = {each["state"] for each in client.get(f"/jobs/{sweep['id']}/children").json()["data"]}
    assert states == {"cancelled" if verb == "cancel" else "paused"}
    assert client.get("/jobs?kind=sweep").json()["data"][0]["id"] == sweep["id"]
