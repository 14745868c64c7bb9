"""A POST sent twice makes one thing."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from api.app import create_app
from api.catalog import idempotency
from api.catalog.tables import IdempotencyRow
from api.settings import Settings
from tests.api.conftest import AsCaller
from workers.ledger.tables import Event, Job

JOB = {
    "kind": "tune", "name": "tiny", "base": "preset:nano", "steps": 10,
    "mixture": {"collection": "synthetic", "tasks": ["shop_reviews"]},
}  # fmt: skip


def _count(sessions: sessionmaker[Session], table: type[Job] | type[Event]) -> int:
    with sessions.begin() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_fifty_racing_requests_with_one_key_make_one_job(
    client: TestClient, sessions: sessionmaker[Session]
) -> None:
    """All get the same answer; one of them made it."""

    def post(_: int) -> tuple[int, str, bool]:
        answer = client.post("/jobs", json=JOB, headers={"Idempotency-Key": "race"})
        return answer.status_code, answer.text, "Idempotency-Replayed" in answer.headers

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(post, range(50)))

    assert {status for status, _, _ in answers} == {202}
    assert len({client_text for _, client_text, _ in answers}) == 1
    assert sum(not is_replayed for _, _, is_replayed in answers) == 1
    assert (_count(sessions, Job), _count(sessions, Event)) == (1, 1)


def test_another_body_under_the_same_key_is_refused(client: TestClient) -> None:
    """A key stands for one request: its body, its path and its parameters."""
    headers = {"Idempotency-Key": "k"}
    assert client.post("/jobs", json=JOB, headers=headers).status_code == 202

    other_body = client.post("/jobs", json={**JOB, "steps": 11}, headers=headers)
    other_path = client.post("/keys", json={"name": "a", "scopes": ["admin"]}, headers=headers)
    for answer in (other_body, other_path):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


def test_without_a_key_each_request_makes_its_own(
    client: TestClient, sessions: sessionmaker[Session]
) -> None:
    """Two jobs that look alike may both be wanted."""
    ids = {client.post("/jobs", json=JOB).json()["id"] for _ in range(2)}

    assert len(ids) == 2


def test_keys_of_different_callers_do_not_meet(client: TestClient, caller: AsCaller) -> None:
    """What one chose is nothing to another."""
    headers = {"Idempotency-Key": "k"}
    first = client.post("/jobs", json=JOB, headers=headers).json()["id"]

    assert caller("jobs:write").post("/jobs", json=JOB, headers=headers).json()["id"] != first


def test_a_refused_request_leaves_its_key_free(client: TestClient) -> None:
    """After the fault is mended, the same key may be used."""
    headers = {"Idempotency-Key": "k"}
    assert client.post("/jobs", json={**JOB, "base": "no-such-model"}, headers=headers).status_code == 422

    assert client.post("/jobs", json=JOB, headers=headers).status_code == 202


def test_who_waits_too_long_for_the_same_request_is_told_to_come_back(
    client: TestClient, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """409 with Retry-After, while the first is still being carried out."""
    monkeypatch.setattr(idempotency, "_WAIT", "100ms")
    key_id = client.get("/keys").json()["data"][0]["id"]
    with sessions.begin() as session:
        session.add(IdempotencyRow(key_id=key_id, key="k", fingerprint="unfinished"))
        session.flush()
        answer = client.post("/jobs", json=JOB, headers={"Idempotency-Key": "k"})
        session.rollback()

    assert (answer.status_code, answer.json()["code"]) == (409, "request_in_flight")
    assert answer.headers["Retry-After"] == "1"


def test_an_answer_is_kept_for_a_day(client: TestClient, sessions: sessionmaker[Session]) -> None:
    """After that the key is new, and what is old can be cleared away."""
    headers = {"Idempotency-Key": "k"}
    first = client.post("/jobs", json=JOB, headers=headers).json()["id"]
    with sessions.begin() as session:
        session.execute(update(IdempotencyRow).values(created_at=func.now() - timedelta(hours=24, minutes=1)))

    assert client.post("/jobs", json=JOB, headers=headers).json()["id"] != first


def test_old_answers_are_cleared_away_at_the_start(
    settings: Settings, sessions: sessionmaker[Session]
) -> None:
    """What is older than a day goes, what is younger stays."""
    with sessions.begin() as session:
        for hours in (23, 25):
            at = func.now() - timedelta(hours=hours)
            session.add(IdempotencyRow(key_id="k", key=str(hours), fingerprint="f", created_at=at))
    with TestClient(create_app(settings)), sessions.begin() as session:
        assert session.scalars(select(IdempotencyRow.key)).all() == ["23"]


def test_a_strange_key_is_refused(client: TestClient) -> None:
    """1 to 255 visible characters."""
    for key in ("", "a b", "x" * 256):
        answer = client.post("/jobs", json=JOB, headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter")
