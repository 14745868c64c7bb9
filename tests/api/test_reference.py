"""The reference page opens without the internet, for anyone, and tells of every field."""

import re
import subprocess
import sys

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


def test_no_other_file_is_served_beside_the_page(anyone: TestClient) -> None:
    """Neither what else the package has, nor what lies above it."""
    for name in ("redoc.standalone.js", "core.py", "..%2fcore.py", "static%2fswagger-ui.css"):
        assert anyone.get(f"/docs/{name}").json()["code"] == "not_found", name


def test_every_field_and_parameter_is_described(client: TestClient) -> None:
    """Of everything that is sent or answered; the words are those that stand beside the field in the code."""
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    fields = {
        f"{schema}.{name}": field.get("description", "")
        for schema, fields in schemas.items()
        for name, field in fields.get("properties", {}).items()
    }
    parameters = {
        f"{operation['operationId']}({parameter['name']})": parameter.get("description", "")
        for operations in document["paths"].values()
        for operation in operations.values()
        for parameter in operation.get("parameters", [])
    }

    assert [name for name, text in {**fields, **parameters}.items() if not text.strip()] == []
    assert len(fields) > 500
    assert fields["TuneSpec.steps"] == "Optimizer updates."
    assert fields["List_JobShape_.has_more"] == "Whether there are more after them."
    assert fields["CreatedKeyShape.created_at"] == "When it was made, in Unix seconds."


def test_a_start_of_the_api_reads_no_source() -> None:
    """The words are gathered when the document is asked for, not by every process that imports the API."""
    code = "import api.app, api.descriptions as d; print(d._of_module.cache_info().misses)"
    asked = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert asked.stdout.strip() == "0"
