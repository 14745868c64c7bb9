"""Who may do what."""

from datetime import UTC, datetime, timedelta

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

import api.app
from api.auth import PUBLIC, SCOPES, UndeclaredScope, declared_scopes, needs, new_key
from api.catalog import keys
from api.settings import Settings
from tests.api.conftest import AsCaller, make_key, with_key

PUBLIC_ROUTES = {
    *(("GET", path) for path in ("/healthz", "/readyz", "/version")),
    *((method, "/session") for method in ("GET", "POST", "DELETE")),
}


def test_only_health_and_signing_in_are_public(app: FastAPI) -> None:
    """Whatever else is served wants a key."""
    assert {(method, path) for method, path, scope in declared_scopes(app) if scope is None} == PUBLIC_ROUTES


def test_every_route_wants_a_good_key_with_its_scope(
    app: FastAPI, anyone: TestClient, caller: AsCaller, sessions: sessionmaker[Session]
) -> None:
    """Each route × {no key, unknown key, spoilt secret, every other scope, its scope, admin}."""
    spoilt = with_key(anyone, make_key(sessions, SCOPES)[:-1] + "x")
    unknown = with_key(anyone, new_key().text)
    having = {scope: caller(scope) for scope in SCOPES}
    wrong = []
    for method, template, needed in declared_scopes(app):
        path = template.replace("{job_id}", "job_x").replace("{", "").replace("}", "")
        if needed is None:
            continue
        for who in (anyone, spoilt, unknown):
            answer = who.request(method, path)
            if answer.status_code != 401 or answer.headers["WWW-Authenticate"] != "Bearer":
                wrong.append((method, path, "no good key", answer.status_code))
        for scope, who in having.items():
            answer = who.request(method, path)
            is_allowed = answer.status_code not in (401, 403)
            if is_allowed != (scope in (needed, "admin")) or answer.status_code >= 500:
                wrong.append((method, path, scope, answer.status_code))

    assert wrong == []


@pytest.mark.parametrize("dependencies", [[], [PUBLIC, needs("admin")]], ids=["none", "two"])
def test_a_route_without_exactly_one_scope_keeps_the_application_from_starting(
    dependencies: list[object], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deny by default: who forgets the scope of a new route does not get a server."""
    router = APIRouter()
    router.add_api_route("/open-door", lambda: None, dependencies=dependencies)  # type: ignore[arg-type]
    monkeypatch.setattr(api.app, "ROUTERS", (*api.app.ROUTERS, router))

    with pytest.raises(UndeclaredScope, match="/open-door"):
        api.app.create_app(settings)


def test_a_revoked_key_is_refused_at_the_next_request(client: TestClient, caller: AsCaller) -> None:
    """Nothing remembers that a key was once good."""
    made = client.post("/keys", json={"name": "guest", "scopes": ["jobs:read"]}).json()
    guest = {"Authorization": f"Bearer {made['key']}"}
    assert client.get("/jobs", headers=guest).status_code == 200

    assert client.delete(f"/keys/{made['id']}").json()["revoked_at"] is not None
    assert client.get("/jobs", headers=guest).status_code == 401
    assert client.delete(f"/keys/{made['id']}").status_code == 200
    assert client.delete("/keys/nobody").status_code == 404


def test_an_expired_key_is_refused(anyone: TestClient, sessions: sessionmaker[Session]) -> None:
    """A key is good until its end, by the database's clock."""
    made = new_key()
    with sessions.begin() as session:
        keys.add(
            session, key_id=made.id, secret_sha256=made.secret_sha256, name="old", scopes=["admin"],
            expires_at=datetime.now(UTC) - timedelta(seconds=1),
        )  # fmt: skip

    assert with_key(anyone, made.text).get("/jobs").status_code == 401


def test_the_database_holds_no_secret(client: TestClient, sessions: sessionmaker[Session]) -> None:
    """Neither the key table nor the kept answer of the request that made the key has it."""
    key = client.post(
        "/keys", json={"name": "a", "scopes": ["admin"]}, headers={"Idempotency-Key": "once"}
    ).json()["key"]
    secret = key.rpartition("_")[2]
    with sessions.begin() as session:
        dump = "".join(
            session.scalar(text(f"SELECT coalesce(string_agg(t::text, ''), '') FROM {table} t")) or ""
            for table in ("api_keys", "idempotency")
        )

    assert len(secret) == 64
    assert "once" in dump
    assert secret not in dump


def test_repeating_the_creation_of_a_key_shows_no_secret(client: TestClient) -> None:
    """The replay is the same key, without the part that is shown once."""
    headers = {"Idempotency-Key": "once"}
    first = client.post("/keys", json={"name": "a", "scopes": ["admin"]}, headers=headers).json()
    second = client.post("/keys", json={"name": "a", "scopes": ["admin"]}, headers=headers)

    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.json() == {**first, "key": None}


def test_two_authorization_headers_are_refused(anyone: TestClient, sessions: sessionmaker[Session]) -> None:
    """A proxy and we must not read different keys from one request."""
    good = f"Bearer {make_key(sessions, ['admin'])}"
    headers = [("Authorization", good), ("Authorization", "Bearer flan_a_b")]

    assert anyone.get("/jobs", headers=headers).status_code == 401  # type: ignore[arg-type]
