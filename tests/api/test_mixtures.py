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


def asked_of(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "cluster": "sentiment",
        "source": {"kind": "dataset", "name": name},
        "fields": {"text": "text"},
        "answer": {"column": "label", "choices": ["yes", "no"]},
        "metrics": ["accuracy"],
        "templates": [{"input": "{text}\nIs it so?\n{options_}"}],
    }


def test_rows_shared_with_what_is_held_out_are_shown_side_by_side(client: TestClient, tmp_path: Path) -> None:
    """Asked for, and of a sample of the training rows; every passage says where it stands on both sides."""
    sentence = "the blue lantern above the old harbour gate was never lit again after that cold night"
    rows = {
        "train": [{"text": f"{i}: {sentence}" if i == 3 else f"row {i}", "label": "yes"} for i in range(6)],
        "test": [{"text": f"{sentence}.", "label": "yes"}, {"text": "nothing of it", "label": "no"}],
    }
    for name, split in (("trained", "train"), ("unseen", "test")):
        lines = "".join(json.dumps(row) + "\n" for row in rows[split])
        pushed = client.post(f"/datasets?name={name}&split={split}&format=jsonl", content=lines.encode())
        assert pushed.status_code == 201, pushed.text
        uploaded = client.post("/template-sets", json=asked_of(name))
        assert uploaded.status_code == 201, uploaded.text
    mixture = {"tasks": ["trained"], "collection": "synthetic"}
    against = {"against": ["unseen"], "splits": ["test"]}

    found = shown(client, mixture=mixture, leakage=against, leakage_rows=6)["leakage"]

    (pair,) = found["shared"]
    assert (pair["train"], pair["held_out"]) == ("trained", "unseen/test")
    assert (pair["train_rows"], pair["held_out_rows"]) == (1, 1)
    (passage,) = pair["passages"]
    assert passage["text"] == sentence
    assert (passage["train"]["row"], passage["train"]["start"]) == (3, 3)
    assert (found["train"], found["held_out"]) == ({"trained": 6}, {"unseen/test": 2})
    assert shown(client, mixture=mixture, leakage=against)["leakage"] is None
    assert shown(client, mixture=mixture, leakage=against, leakage_rows=2)["leakage"]["train"] == {
        "trained": 2
    }
