"""POST /render shows what an evaluation asks, with its solved rows, its tokens and what the loss counts."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from flan.data.rows import Places, open_rows
from flan.data.shots import Shots
from flan.evaluate.questions import ask
from flan.model.export import export
from flan.model.load import Architecture
from flan.spec import EvaluateSpec, parse
from flan.tasks.formats import formatted
from flan.tasks.task import load_collection
from tests.kit.models import tiny_model
from workers.ledger import models
from workers.ledger.models import NewModel

REVIEWS = load_collection("synthetic")["shop_reviews"]
ROW = {"text": "Warm soup.", "label": "positive"}
FOREIGN = {
    "name": "foreign",
    "cluster": "sentiment",
    "source": {"kind": "synthetic", "generator": "shop_reviews", "splits": {"train": 9}},
    "metrics": ["accuracy"],
    "templates": [
        {
            "language": "promptsource", "id": "a", "name": "rare",
            "jinja": "{% if text == 'b' %}{{ text }} ||| {{ label }}{% endif %}",
        },
        {"language": "promptsource", "id": "b", "name": "always", "jinja": "{{ text }}? ||| {{ label }}"},
    ],
}  # fmt: skip


def register(
    client: TestClient, sessions: sessionmaker[Session], folder: Path, architecture: Architecture
) -> None:
    """A tiny model of `architecture` in the store, registered as `tiny`."""
    assert isinstance(client.app, FastAPI)
    model = tiny_model(architecture)
    export(*model, folder / "tiny")
    digest = client.app.state.platform.store.put_tree(folder / "tiny")
    with sessions.begin() as session:
        models.register(session, NewModel("tiny", "base", digest, model.card))


def rendered(client: TestClient, **wanted: Any) -> list[dict[str, Any]]:
    """The renderings of one request about the shop reviews, unless it names another task."""
    answer = client.post("/render", json={"task": "shop_reviews"} | wanted)
    assert answer.status_code == 200, answer.text
    shown: list[dict[str, Any]] = answer.json()["data"]
    return shown


def fault(client: TestClient, **wanted: Any) -> tuple[int, str, str]:
    """Status, code and pointer of a refusal."""
    answer = client.post("/render", json={"task": "shop_reviews"} | wanted)
    problem = answer.json()
    return answer.status_code, problem["code"], problem["errors"][0]["pointer"]


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {
            "few_shot": {"shots": 3, "balanced": True, "before_target": " → "},
            "options": "flan2022",
            "seed": 5,
        },
        {"few_shot": {"shots": 9}, "prompt_format": "no_template"},
    ],
    ids=["zero-shot", "balanced", "no template"],
)
def test_a_preview_has_the_ids_that_an_evaluation_asks_with(
    client: TestClient,
    sessions: sessionmaker[Session],
    tmp_path: Path,
    architecture: Architecture,
    wanted: dict[str, Any],
) -> None:
    """Rows, solved rows and ids from the server's own data, of a registered model of each architecture."""
    register(client, sessions, tmp_path, architecture)
    base = {
        "name": "e",
        "model": "tiny",
        "tasks": ["*"],
        "limit": 2,
        "input_length": 400,
        "max_new_tokens": 8,
    }
    spec = parse(EvaluateSpec, base | wanted)
    task, places = formatted(REVIEWS, spec.prompt_format), Places(None, None)
    train = open_rows(task, "train", places)
    shots = Shots(spec, spec.few_shot, task, train) if spec.few_shot else None
    asked = ask(spec, task, open_rows(task, "validation", places), tiny_model(architecture), shots)
    questions = [question for one in asked for question in one.questions]
    numbers = sorted({question.row for question in questions})
    shown = {
        (each["row"], each["template"]): each
        for each in rendered(
            client,
            split="validation",
            indices=numbers,
            model="tiny",
            input_length=400,
            target_length=8,
            **wanted,
        )
    }

    assert questions
    for question in questions:
        found = shown[question.row, question.template]
        side = found["tokens"]["parts"][0]["side"]
        names = ("prefix", "input", "separator")
        parts = [part for part in found["tokens"]["parts"] if part["side"] == side and part["name"] in names]
        assert [id_ for part in parts for id_ in part["ids"]] == question.prompt_ids.tolist()
        assert found["input"] == question.prompt
        assert len(found["exemplars"]) == question.num_exemplars


def test_tokens_show_what_the_loss_counts_what_is_cut_and_what_fits(
    client: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Counts that add up; the end of the row that was cut; a target that is too long is shown, and said."""
    register(client, sessions, tmp_path, "decoder")
    long = {"text": "soup " * 200, "label": "positive"}
    (cut,) = rendered(client, rows=[long], template=0, model="tiny@1", input_length=64)
    (tight,) = rendered(client, rows=[ROW], template=0, model="tiny", target_length=2)
    tokens = cut["tokens"]
    learnt = [part["name"] for part in tokens["parts"] if 1 in part["loss_mask"]]

    assert learnt == ["target", "end"]
    assert tokens["num_tokens"] == tokens["num_input"] + tokens["num_target"]
    assert tokens["num_input"] <= tokens["input_length"] == 64
    assert (tokens["cut"]["field"], tokens["target_fits"]) == ("review", True)
    assert long["text"].endswith(tokens["cut"]["text"])
    assert (tight["tokens"]["cut"], tight["tokens"]["target_fits"]) == (None, False)


def test_solved_rows_of_the_request_stand_before_the_question(client: TestClient) -> None:
    """In their order, through the same template, between the separators that were named; never the question itself."""
    solved = [{"text": "Cold soup.", "label": "negative"}, ROW, {"text": "Old soup.", "label": "negative"}]
    few_shot = {"shots": 2, "before_target": " => ", "after_target": "\n##\n"}
    shown = rendered(client, rows=[ROW], exemplars=solved, few_shot=few_shot)
    (alone,) = rendered(client, rows=[ROW], template=1)
    (first, second) = rendered(client, rows=[solved[0], solved[2]], template=1)

    assert {tuple(each["exemplars"]) for each in shown} == {(0, 2)}
    assert shown[1]["input"] == (
        f"{first['input']} => negative\n##\n{second['input']} => negative\n##\n{alone['input']}"
    )
    assert len(rendered(client, rows=[ROW], exemplars=solved, template=0)[0]["exemplars"]) == 2


def test_a_form_without_instructions_has_one_template(client: TestClient) -> None:
    """The tag names the dataset; without one, only the text is left."""
    (tagged,) = rendered(client, rows=[ROW], prompt_format="dataset_name")
    (bare,) = rendered(client, rows=[ROW], prompt_format="no_template")

    assert tagged["input"] == f"[sentiment: shop_reviews] {bare['input']}"
    assert bare["input"] == "Warm soup."
    assert fault(client, prompt_format="no_template", template=1) == (422, "template_unknown", "/template")


def test_a_template_that_passes_over_a_row_says_so_beside_the_others(client: TestClient) -> None:
    """One entry has an error and no text; the other is shown."""
    assert client.post("/template-sets", json=FOREIGN).status_code == 201
    passed, shown = rendered(client, task="foreign", rows=[{"text": "a", "label": "yes"}])

    assert passed["error"]["code"] == "row_invalid"
    assert "passes over this row" in passed["error"]["message"]
    assert (passed["input"], passed["target"]) == (None, None)
    assert (shown["error"], shown["input"], shown["target"]) == (None, "a?", "yes")


def test_a_broken_row_of_a_dataset_is_shown_as_broken(client: TestClient) -> None:
    """The rows beside it are rendered; one that was sent with the request is refused by its place."""
    client.post(
        "/datasets?name=soups&split=train&format=jsonl",
        content='{"text": "a", "label": "odd"}\n{"text": "b", "label": "good"}\n',
    )
    task = {
        "name": "mine", "cluster": "sentiment", "source": {"kind": "dataset", "name": "soups"},
        "fields": {"text": "text"}, "answer": {"column": "label", "choices": ["bad", "good"]},
        "metrics": ["accuracy"], "templates": [{"input": "{text}\n{options_}"}],
    }  # fmt: skip
    assert client.post("/template-sets", json=task).status_code == 201
    broken, whole = rendered(client, task="mine", indices=[0, 1])

    assert (broken["row"], broken["error"]["code"]) == (0, "row_invalid")
    assert (whole["row"], whole["target"]) == (1, "good")
    assert fault(client, rows=[ROW, {"text": "a"}]) == (422, "row_invalid", "/rows/1")
    assert fault(client, rows=[ROW], exemplars=[{"label": "positive"}])[2] == "/exemplars/0"


def test_what_cannot_be_shown_is_refused_with_its_place(client: TestClient) -> None:
    """Splits, models and numbers that are not there; more renderings than one answer holds."""
    assert fault(client, few_shot={"shots": 1, "split": "dev"}) == (422, "missing_split", "/few_shot/split")
    assert fault(client, task="rte", rows=[ROW], few_shot={"shots": 1})[1:] == (
        "missing_rows", "/few_shot/split",
    )  # fmt: skip
    assert fault(client, model="nobody") == (404, "model_not_found", "/model")
    assert fault(client, few_shot={"shots": 65})[2] == "/few_shot/shots"
    assert fault(client, exemplars=[])[2] == "/exemplars"
    assert fault(client, few_shots={"shots": 1})[2] == "/few_shots"
    many = {**FOREIGN, "name": "many", "templates": [FOREIGN["templates"][1]] * 101}  # type: ignore[index]
    assert client.post("/template-sets", json=many).status_code == 201
    assert fault(client, task="many", rows=[ROW] * 10) == (422, "too_much_shown", "/template")


def test_a_draft_is_rendered_without_being_kept(client: TestClient) -> None:
    """What somebody writes is seen before it is uploaded; its faults are named where they stand in the request."""
    draft = {
        "name": "shop-draft",
        "extends": "shop_reviews",
        "templates": [{"input": "{review}\nGood or bad?\n{options_}"}],
    }
    shown = client.post("/render", json={"draft": draft, "indices": [0, 1]})
    broken = draft | {"templates": [{"input": "{review}", "target": "{options_}"}]}
    refused = client.post("/render", json={"draft": broken}).json()
    both = client.post("/render", json={"draft": draft, "task": "shop_reviews"}).json()

    assert shown.status_code == 200, shown.text
    assert [each["row"] for each in shown.json()["data"]] == [0, 1]
    assert "Good or bad?\nOPTIONS:" in shown.json()["data"][0]["input"]
    assert client.get("/template-sets/shop-draft").status_code == 404
    assert refused["errors"][0]["pointer"].startswith("/draft/templates/0/target")
    assert (both["errors"][0]["pointer"], both["errors"][0]["code"]) == ("/draft", "one_of")
