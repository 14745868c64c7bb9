"""The dashboard's page and assets are served to anyone, under a policy that lets no other script run."""

import gzip
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api import dashboard


@pytest.fixture
def dist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for what the build leaves."""
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><script type=module src=./assets/a-1.js></script>")
    (folder / "assets" / "a-1.js").write_text("start()")
    (folder / "assets" / "a-1.js.gz").write_bytes(gzip.compress(b"start()"))
    (folder / "secret.txt").write_text("secret")
    monkeypatch.setattr(dashboard, "DIST", folder)
    return folder


def test_the_page_lets_no_foreign_and_no_inline_script_run(anyone: TestClient, dist: Path) -> None:
    """Its policy names ourselves alone, and it is asked for anew each time: assets are named by their content."""
    page = anyone.get("/")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "//" not in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-cache"


def test_assets_come_packed_to_who_unpacks_and_are_kept_for_good(anyone: TestClient, dist: Path) -> None:
    """The type is that of what is packed."""
    packed = anyone.get("/assets/a-1.js", headers={"Accept-Encoding": "gzip"}, follow_redirects=False)
    plain = anyone.get("/assets/a-1.js", headers={"Accept-Encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["content-type"] == plain.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "immutable" in plain.headers["cache-control"]
    assert packed.text == plain.text == "start()"


@pytest.mark.parametrize("name", ["..%2findex.html", "..%2fsecret.txt", "%2e%2e/secret.txt", "b.js", "."])
def test_nothing_but_assets_is_served_beside_the_page(anyone: TestClient, dist: Path, name: str) -> None:
    """Neither what lies above them, nor what was never there."""
    answer = anyone.get(f"/assets/{name}")

    assert answer.status_code == 404
    assert "secret" not in answer.text.replace("secret.txt", "")


def test_without_a_build_the_reference_is_shown(
    anyone: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also behind a proxy that puts a path before ours: the address is relative."""
    monkeypatch.setattr(dashboard, "DIST", tmp_path / "none")
    answer = anyone.get("/", follow_redirects=False)

    assert (answer.status_code, answer.headers["location"]) == (307, "docs")
    assert anyone.get("/assets/a-1.js").status_code == 404
