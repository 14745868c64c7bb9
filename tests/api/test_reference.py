"""The reference page opens without the internet, for anyone, and tells of every field."""

import re

from fastapi.testclient import TestClient


def test_the_page_and_all_it_loads_come_from_here(anyone: TestClient) -> None:
    """No address of another host stands in it, and none would be let in; its parts are what they say."""
    page = anyone.get("/docs")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    parts = {name: anyone.get(f"/{name}") for name in loaded}
    types = {name.rpartition(".")[2]: part.headers["content-type"] for name, part in parts.items()}

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "//" not in page.text + page.headers["content-security-policy"]
    assert {part.status_code for part in parts.values()} == {200}
    assert types == {
        "css": "text/css; charset=utf-8",
        "js": "text/javascript; charset=utf-8",
        "png": "image/png",
    }
    assert "SwaggerUIBundle" in parts["docs/swagger-ui-bundle.js"].text
    assert anyone.get(re.findall(r'url: "([^"]+)"', parts["docs/start.js"].text)[0]).status_code == 200


def test_the_root_leads_to_the_page(anyone: TestClient) -> None:
    """Also behind a proxy that puts a path before ours: the address is relative."""
    answer = anyone.get("/", follow_redirects=False)

    assert (answer.status_code, answer.headers["location"]) == (307, "docs")
    assert "swagger-ui" in anyone.get("/").text


def test_no_other_file_is_served_beside_the_page(anyone: TestClient) -> None:
    """Neither what else the package has, nor what lies above it."""
    for name in ("redoc.standalone.js", "core.py", "..%2fcore.py", "static%2fswagger-ui.css"):
        assert anyone.get(f"/docs/{name}").json()["code"] == "not_found", name
