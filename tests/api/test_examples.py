"""The reference shows what happens: every documented example is carried out."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from api.examples import EXAMPLES
from tests.api.carrying_out import carry_out, operations
from tests.api.world import settled


def _shape(value: Any) -> Any:
    """The names and types of a JSON value; lists by their first element, numbers alike."""
    if isinstance(value, dict):
        return {name: _shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


def test_every_operation_has_an_example_and_every_example_an_operation(client: TestClient) -> None:
    """Nothing in the reference is without one, and none is left over."""
    declared = operations(client.get("/openapi.json").json())

    assert set(declared) == set(EXAMPLES)


def test_every_documented_example_does_what_the_reference_shows(
    client: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Sent as documented, each example is answered with the documented status and the documented fields."""
    declared = operations(client.get("/openapi.json").json())
    wrong = []
    with settled(client, sessions, tmp_path) as world:
        for operation_id, example in EXAMPLES.items():
            method, path, operation = declared[operation_id]
            answer = carry_out(client, world, method, path, operation)
            documented = operation["responses"][str(example.status)].get("content", {})
            shown = documented.get("application/json", {}).get("example")
            if answer.status_code != example.status:
                wrong.append((operation_id, answer.status_code, answer.text))
            elif shown is not None and _shape(answer.json()) != _shape(shown):
                wrong.append((operation_id, _shape(answer.json()), _shape(shown)))
            elif shown is None and answer.headers.get("content-type") == "application/json":
                wrong.append((operation_id, "no documented answer", ""))

    assert wrong == []


def test_every_live_route_is_documented(app: FastAPI, client: TestClient) -> None:
    """No operation is served in secret: the reference and the router name the same paths and methods."""
    from api.auth import declared_scopes

    served = {(method, path) for method, path, _ in declared_scopes(app)}
    documented = {
        (method, path) for method, path, _ in operations(client.get("/openapi.json").json()).values()
    }

    assert served == documented
