"""A browser shows its key once, and is known by a cookie that only our own pages can use."""

from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from api.auth import COOKIE, SCOPES, key_id_of
from tests.api.conftest import make_key

HERE = {"Origin": "http://testserver"}


@pytest.fixture
def key(sessions: sessionmaker[Session]) -> str:
    """A key that may do everything."""
    return make_key(sessions, SCOPES)


@pytest.fixture
def browser(anyone: TestClient, key: str) -> TestClient:
    """A client that has signed in: it holds the cookie, and no key."""
    assert anyone.post("/session", json={"key": key}, headers=HERE).status_code == 201
    return anyone


def test_a_cookie_is_as_good_as_the_key(browser: TestClient, key: str) -> None:
    """Reading and changing, with the scopes of the key and in its name."""
    assert browser.get("/jobs").status_code == 200
    made = browser.post("/keys", json={"name": "a", "scopes": ["admin"]}, headers=HERE)

    assert made.status_code == 201
    assert browser.get("/session").json()["key"]["id"] == key_id_of(key)


def test_no_script_and_no_other_site_gets_at_the_cookie(anyone: TestClient, key: str) -> None:
    """HttpOnly, SameSite=Strict, for a week; Secure where the page came by TLS."""
    plain = anyone.post("/session", json={"key": key}).headers["set-cookie"]
    tls = TestClient(anyone.app, base_url="https://testserver")
    tls.portal = anyone.portal

    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=604800"} <= set(plain.split("; "))
    assert "Secure" not in plain
    assert "Secure" in tls.post("/session", json={"key": key}).headers["set-cookie"].split("; ")


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://testserver.evil.example", "http://testserver:81"]
)
def test_a_change_must_say_that_it_comes_from_here(browser: TestClient, origin: str | None) -> None:
    """A page of another site, or of another port of this machine, cannot act in the name of who is signed in."""
    headers = {} if origin is None else {"Origin": origin}
    for method, path in (("POST", "/jobs"), ("DELETE", "/keys/x"), ("PUT", "/models/a/aliases/b")):
        answer = browser.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
    assert browser.delete("/session", headers=headers).status_code == 403

    assert browser.get("/session").json()["key"] is not None


def test_nobody_is_signed_in_by_another_site(anyone: TestClient, key: str) -> None:
    """Else a page could have its visitor work under a key of the page's owner."""
    answer = anyone.post("/session", json={"key": key}, headers={"Origin": "http://evil.example"})

    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_signing_out_ends_every_copy_of_the_cookie(browser: TestClient) -> None:
    """Not only the browser forgets it."""
    token = browser.cookies[COOKIE]
    assert browser.delete("/session", headers=HERE).status_code == 204
    assert COOKIE not in browser.cookies
    browser.cookies.set(COOKIE, token)

    assert browser.get("/jobs").status_code == 401
    assert browser.get("/session").json()["key"] is None
    assert browser.delete("/session", headers=HERE).status_code == 204


def test_platforms_on_one_host_keep_out_of_each_others_cookies(anyone: TestClient, key: str) -> None:
    """A browser sends a cookie to all ports of a host; signing in or out at one must not sign out at the other."""
    one, other = (
        {"Host": f"testserver:{port}", "Origin": f"http://testserver:{port}"} for port in (8000, 8001)
    )
    for headers in (one, other):
        assert anyone.post("/session", json={"key": key}, headers=headers).status_code == 201
    assert set(anyone.cookies) == {f"{COOKIE}_8000", f"{COOKIE}_8001"}
    assert anyone.delete("/session", headers=one).status_code == 204

    assert anyone.get("/jobs", headers=one).status_code == 401
    assert anyone.get("/jobs", headers=other).status_code == 200
    assert anyone.get("/session", headers={"Host": "testserver"}).json()["key"] is None


def test_a_session_ends_with_its_key(browser: TestClient, key: str) -> None:
    """Revoked means refused at the next request, here too."""
    assert browser.delete(f"/keys/{key_id_of(key)}", headers=HERE).status_code == 200

    assert browser.get("/jobs").status_code == 401
    assert browser.get("/session").json()["key"] is None


def test_a_session_ends_after_its_time(
    browser: TestClient, sessions: sessionmaker[Session], key: str
) -> None:
    """By the database's clock; the next sign-in clears away what is over."""
    with sessions.begin() as session:
        session.execute(text("UPDATE sign_ins SET expires_at = :now"), {"now": datetime.now(UTC)})
    assert browser.get("/jobs").status_code == 401
    assert browser.post("/session", json={"key": key}, headers=HERE).status_code == 201

    with sessions.begin() as session:
        assert session.scalar(text("SELECT count(*) FROM sign_ins")) == 1


def test_the_database_holds_no_token(browser: TestClient, sessions: sessionmaker[Session]) -> None:
    """Who reads the table cannot be anybody."""
    with sessions.begin() as session:
        kept = session.scalar(text("SELECT string_agg(s::text, '') FROM sign_ins s")) or ""

    assert kept
    assert browser.cookies[COOKIE] not in kept


def test_a_bad_key_signs_nobody_in(anyone: TestClient) -> None:
    """And the answer says no more than that."""
    for bad in ("flan_a_b", "x", "flan__", "flan_" + "a" * 12 + "_" + "b" * 64):
        answer = anyone.post("/session", json={"key": bad})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert "set-cookie" not in answer.headers


def test_a_key_beside_the_cookie_is_what_counts(browser: TestClient, sessions: sessionmaker[Session]) -> None:
    """A program in a browser's skin is judged by the key it shows, and a broken one is not saved by the cookie."""
    weak = {"Authorization": f"Bearer {make_key(sessions, ['generate'])}"}

    assert browser.get("/jobs", headers=weak).status_code == 403
    assert browser.get("/jobs", headers={"Authorization": "Bearer flan_a_b"}).status_code == 401
    assert browser.get("/jobs", headers={"Authorization": "Basic abc"}).status_code == 401
