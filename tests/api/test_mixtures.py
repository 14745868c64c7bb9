"""POST /mixtures shows what the command line shows: shares, hold-outs with their reasons, what is missing, examples."""

import json
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker
from typer.testing import CliRunner

from flan.cli import app
from tests.api.test_render import register

MIXTURE = {
    "parts": [
        {"name": "mood", "collection": "synthetic", "tasks": ["cluster:sentiment"], "weight": 3},
        {"name": "rest", "collection": "synthetic", "tasks": ["*", "-cluster:sentiment"]},
    ],
    "hold_out": {"clusters": ["entailment"]},
}


def shown(client: TestClient, **wanted: Any) -> dict[str, Any]:
    answer = client.post("/mixtures", json={"mixture": MIXTURE} | wanted)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def fault(client: TestClient, **wanted: Any) -> tuple[int, str, str | None]:
    answer = client.post("/mixtures", json={"mixture": MIXTURE} | wanted)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()["errors"][0] if answer.json().get("errors") else answer.json()
    return answer.status_code, answer.json()["code"], problem.get("pointer")


def test_a_preview_is_that_of_the_command_line(client: TestClient, tmp_path: Path) -> None:
    """One composition, one sample, asked of the platform or made here; asked again, the same."""
    file = tmp_path / "mixture.json"
    file.write_text(json.dumps(MIXTURE))
    here = CliRunner().invoke(
        app,
        ["mixture", "-f", str(file), "--rows", "1", "--sample", "3", "-o", "json"],
        catch_exceptions=False,
    )

    found = shown(client, sample=3)

    assert found == json.loads(here.stdout) == shown(client, sample=3)
    assert found["parts"]["mood"]["examples"] == 0.75
    assert "held out: cluster entailment" in found["excluded"].values()
    assert [each["number"] for each in found["sample"]] == [0, 1, 2]
    assert all(each["error"] is None and each["input"] and each["target"] for each in found["sample"])


def test_the_sample_is_what_a_run_with_that_seed_draws(client: TestClient) -> None:
    """Another seed draws others; the shares stay."""
    first, other = shown(client, sample=8), shown(client, sample=8, seed=1)

    assert first["sample"] != other["sample"]
    assert first["clusters"].keys() == other["clusters"].keys()


def test_lengths_are_in_the_tokens_of_a_model(
    client: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Of the model that would be tuned; what does not fit is cut, or dropped with the reason."""
    register(client, sessions, tmp_path, "decoder")

    found = shown(client, model="tiny", sample=50, input_length=64, target_length=8)

    assert found["unit"] == "tokens"
    assert all(each["num_input"] <= 64 for each in found["sample"] if each["error"] is None)
    assert {each["error"]["code"] for each in found["sample"] if each["error"]} == {"target_too_long"}
    assert any(task["unusable"] > 0 for task in found["tasks"])


def test_what_is_missing_is_told_with_its_share(client: TestClient) -> None:
    """Refused like a job, or dropped and told."""
    lost = {"collection": "synthetic", "tasks": ["shop_reviews", "lost"], "published": {"lost": {"rows": 5}}}

    status, code, pointer = fault(client, mixture=lost)
    found = shown(client, mixture=lost | {"missing": "drop"}, rows_per_template=0)

    assert (status, code, pointer) == (422, "missing_rows", "/mixture")
    assert 0 < found["missing"]["lost"] < 1
    assert found["unit"] is None


def test_what_a_preview_cannot_show_is_refused_in_its_place(client: TestClient) -> None:
    """With the pointer into the request; nothing is measured that would take minutes."""
    many = {"parts": [{"collection": "synthetic"}] * 12}

    assert fault(client, mixture={"tasks": ["nothing"]})[1:] == ("unknown_task", "/mixture/tasks/0")
    assert fault(client, model="nobody")[1:] == ("model_not_found", "/model")
    assert fault(client, mixture=many, rows_per_template=16)[1:] == (
        "too_much_measured",
        "/rows_per_template",
    )
    assert fault(client, sample=51)[2] == "/sample"
    assert fault(client, mixtur={})[2] == "/mixtur"
