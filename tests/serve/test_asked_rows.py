"""Rows asked of a served model, through HTTP: they have the ids they are trained with."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from flan.data.rows import EmptyDataset, MissingRows, Places, Rows, open_rows
from flan.data.shots import solved_row
from flan.data.tokens import Fitted, InputTooLong, Tokens, encode_target, fit, prompt_length
from flan.evaluate.preview import Form
from flan.model.load import Model
from flan.model.scoring import OptionScore
from flan.serve.answers import classification
from flan.serve.engine import Engine
from flan.serve.replies import Rendering, TemplateChoice
from flan.serve.sequences import Completion
from flan.serve.votes import voted
from flan.spec import FewShot
from flan.tasks.exemplars import with_exemplars
from flan.tasks.render import instance, question, render
from flan.tasks.task import Task, load_collection
from flan.tasks.template import RowError
from tests.kit.tasks import make_rows, make_task
from tests.serve.lively import lively_model, server_of

DATA = os.environ.get("FLAN_DATA")
TASK = make_task()
DOCUMENT = TASK.model_dump(mode="json")
LENGTH = 1_024


class Overheard:
    """What the engine was asked, answered at once instead of by the network."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.prompts: list[list[int]] = []
        self.targets: list[list[list[int]]] = []
        monkeypatch.setattr(engine, "score", self._score)
        monkeypatch.setattr(engine, "generate", self._generate)

    def _score(self, prompt: Any, options: Any, **_: Any) -> Future[list[OptionScore]]:
        self.prompts.append(prompt.tolist())
        self.targets.append([option.tolist() for option in options])
        done: Future[list[OptionScore]] = Future()
        done.set_result([OptionScore(-float(i), len(option), ()) for i, option in enumerate(options)])
        return done

    def _generate(self, prompt: Any, sampling: Any, **_: Any) -> Future[list[Completion]]:
        self.prompts.append(prompt.tolist())
        self.targets.append([])
        done: Future[list[Completion]] = Future()
        done.set_result([Completion(0, "", "stop", (1,), ())])
        return done


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[httpx.Client, Engine]]:
    """One server for all tests that only ask."""
    with server_of(lively_model()) as running:
        yield running


def _ask(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _trained(model: Model, task: Task, number: int, row: Any) -> Fitted:
    """An example as training makes it: the row with its answer, at the same length."""
    contract, about = model.card.contract, instance(task, row)
    return fit(task, about, task.templates[number], model.tokenizer, contract, LENGTH)


@pytest.mark.parametrize("number", [0, 1])
def test_a_row_has_the_ids_it_is_trained_with(
    served: tuple[httpx.Client, Engine], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its answer or without it: the prompt, and what the model would write for the right one."""
    client, engine = served
    model, heard = lively_model(), Overheard(engine, monkeypatch)
    for row in make_rows(3):
        use = {"task": DOCUMENT, "number": number}
        given = _ask(client, "/classify", template=use, input=row)
        _ask(client, "/generate", template=use, input={"text": row["text"]})
        trained = _trained(model, TASK, number, row).tokens

        assert heard.prompts == [trained.input_ids.tolist()] * 2
        place = [score["option"] for score in given["scores"]].index(instance(TASK, row).answer)
        assert [targets[place] for targets in heard.targets] == [trained.target_ids.tolist()] * 2
        heard.prompts.clear(), heard.targets.clear()


def test_a_long_row_is_cut_where_training_cuts_it(
    served: tuple[httpx.Client, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of its long field, and the answer says how much of it was read."""
    client, engine = served
    heard = Overheard(engine, monkeypatch)
    row = make_rows(1, words=2_000)[0]
    answer = _ask(client, "/classify", template={"task": DOCUMENT}, input=row)
    trained = _trained(lively_model(), TASK, 0, row)

    assert heard.prompts == [trained.tokens.input_ids.tolist()]
    assert trained.cut is not None
    assert (answer["rendering"]["cut_field"], answer["rendering"]["cut_to"]) == trained.cut


def test_solved_rows_stand_before_the_question(served: tuple[httpx.Client, Engine]) -> None:
    """As the builder of training puts them, in their order; one that is the question itself is passed over."""
    client, _ = served
    question_row, *solved = make_rows(4)
    form = {"shots": 2, "before_target": " = "}
    use = {"task": DOCUMENT, "few_shot": form, "exemplars": [question_row, *solved]}
    shown = _ask(client, "/classify", template=use, input=question_row)["rendering"]

    template = TASK.templates[0]
    rows = [solved_row(Form(), TASK, i, instance(TASK, row)).row for i, row in enumerate(solved[:2], 1)]
    expected = with_exemplars(
        render(instance(TASK, question_row), template),
        [render(row, template) for row in rows],
        FewShot(**form),
    )
    assert shown["prompt"] == expected.input
    assert shown["exemplars"] == [1, 2]


def test_an_inverted_template_asks_for_what_was_the_input(served: tuple[httpx.Client, Engine]) -> None:
    """It needs the answer and nothing else of the row; what it is answered with is written freely."""
    client, _ = served
    use = {"task": DOCUMENT, "number": 2}
    answer = _ask(client, "/generate", template=use, input={"label": "pos"}, seed=1, max_new_tokens=4)
    refused = client.post("/generate", json={"template": use, "input": {"text": "x"}})

    assert (answer["mode"], answer["rendering"]["prompt"]) == ("sample", "Write a good review.")
    assert answer["rendering"]["targets"] == []
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/input")


def test_many_inputs_are_answered_as_each_alone(served: tuple[httpx.Client, Engine]) -> None:
    """Rows through a template, texts below an instruction; in their order."""
    client, _ = served
    rows = [{"text": row["text"]} for row in make_rows(3)]
    many = _ask(client, "/classify", template={"task": DOCUMENT}, inputs=rows)
    texts = ["Dull.", "Warm and funny.", "Long."]
    asked = {"instruction": "Good or bad?", "options": ["bad", "good"]}
    below = _ask(client, "/classify", inputs=texts, **asked)

    assert (many["object"], len(many["data"])) == ("classifications", 3)
    for row, found in zip(rows, many["data"], strict=True):
        alone = _ask(client, "/classify", template={"task": DOCUMENT}, input=row)
        assert found["rendering"] == alone["rendering"]
        assert _logprobs(found) == pytest.approx(_logprobs(alone), abs=1e-4)
    for text, found in zip(texts, below["data"], strict=True):
        block = f"Good or bad?\n\n{text}\n\nOPTIONS:\n- bad\n- good"
        assert _logprobs(found) == pytest.approx(_logprobs(_ask(client, "/classify", prompt=block)), abs=1e-4)


def test_all_templates_vote(served: tuple[httpx.Client, Engine]) -> None:
    """Each says its own; together they are means, spreads and votes, and inverted ones have none."""
    client, _ = served
    row = {"text": "A film."}
    found = _ask(client, "/classify", template={"task": DOCUMENT, "number": "all"}, input=row)
    alone = [
        _ask(client, "/classify", template={"task": DOCUMENT, "number": number}, input=row)
        for number in (0, 1)
    ]

    assert [each["rendering"]["template"] for each in found["templates"]] == [0, 1]
    for each, single in zip(found["templates"], alone, strict=True):
        assert _logprobs(each) == pytest.approx(_logprobs(single), abs=1e-4)
    for place, score in enumerate(found["scores"]):
        own = [each["scores"][place]["probability"] for each in found["templates"]]
        assert score["probability"] == pytest.approx(sum(own) / 2)
        assert score["spread"] == pytest.approx(abs(own[0] - own[1]) / 2**0.5)
        assert score["votes"] == sum(each["index"] == place for each in found["templates"])
    assert sum(score["votes"] for score in found["scores"]) == 2


def test_most_templates_win_and_of_equals_the_more_probable() -> None:
    """Two sure templates do not outvote three that are less so."""

    def says(template: int, *logprobs: float) -> TemplateChoice:
        found = classification(("no", "yes"), [OptionScore(value, 1, (value,)) for value in logprobs])
        shown = Rendering(task="t", template=template, prompt="", targets=(), exemplars=())
        return TemplateChoice(**dict(found), rendering=shown)

    sure, unsure = says(0, -0.01, -9), says(1, -0.8, -0.6)
    assert voted([sure, unsure, unsure]).choice == "yes"
    assert voted([sure, unsure]).choice == "no"
    assert voted([unsure, sure]).margin == pytest.approx((-0.01 - 0.8) / 2 - (-9 - 0.6) / 2)


def test_a_question_needs_no_more_of_a_row_than_its_template_shows() -> None:
    """A field that is not shown may be missing, one that is may not; a label that stands for none is none."""
    task = make_task(fields={"text": "text", "title": "title"})
    known = question(task, {"text": "a", "label": -1}, task.templates[0])

    assert (known.answer, known.fields["title"]) == ("bad", "")
    with pytest.raises(RowError, match="text"):
        question(task, {"title": "a"}, task.templates[0])


def test_a_task_of_the_collection_goes_by_its_name(served: tuple[httpx.Client, Engine]) -> None:
    """Where a model is served by hand; solved rows must then be given, because there are no rows."""
    client, _ = served
    row = {"text": "Warm soup."}
    found = _ask(client, "/classify", template={"task": "shop_reviews"}, input=row)
    unknown = client.post("/classify", json={"template": {"task": "shop_revews"}, "input": row})
    drawn = {"task": "shop_reviews", "few_shot": {"shots": 2}}
    no_rows = client.post("/classify", json={"template": drawn, "input": row})

    assert found["rendering"]["task"] == "shop_reviews"
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/template/task")
    assert (no_rows.status_code, no_rows.json()["code"]) == (422, "no_rows_here")


def _logprobs(found: dict[str, Any]) -> list[float]:
    return [score["logprob"] for score in found["scores"]]


def _real_tasks(places: Places) -> dict[str, Rows]:
    found = {}
    for name, task in load_collection("flan").items():
        try:
            found[name] = open_rows(task, next(iter(task.source.splits)), places)
        except (MissingRows, EmptyDataset):
            continue
    return found


@contextmanager
def _overheard(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[httpx.Client, Overheard]]:
    with server_of(lively_model()) as (client, engine):
        yield client, Overheard(engine, monkeypatch)


def _check_rows(
    client: httpx.Client, heard: Overheard, task: Task, rows: Sequence[dict[str, Any]], start: int
) -> int:
    """Every row through the template whose turn it is, as training and as HTTP have it; how many there were."""
    model, compared = lively_model(), 0
    contract, document = model.card.contract, task.model_dump(mode="json")
    for place, row in enumerate(rows):
        number = (start + place) % len(task.templates)
        template = task.templates[number]
        heard.prompts.clear(), heard.targets.clear()
        use = {"task": document, "number": number, "input_length": LENGTH}
        try:
            about = instance(task, row)
            rendered = render(about, template)
            is_ranked = task.has_choices and template.role == "answer"
            own = encode_target(model.tokenizer, contract, rendered.target)
            length = prompt_length(LENGTH, len(own), model.card)
            trained = fit(task, about, template, model.tokenizer, contract, length).tokens
        except (RowError, InputTooLong):
            continue
        answer = client.post("/generate", json={"template": use, "input": row, "max_new_tokens": None})
        assert answer.status_code == 200, (task.name, number, answer.text)
        asked = Tokens(*trained)
        assert heard.prompts == [asked.input_ids.tolist()], (task.name, number, place)
        if is_ranked:
            assert asked.target_ids.tolist() in heard.targets[0], (task.name, number, place)
        compared += 1
    return compared


@pytest.mark.data
@pytest.mark.skipif(DATA is None, reason="FLAN_DATA is not set")
@pytest.mark.parametrize("num_rows", [2, pytest.param(256, marks=pytest.mark.slow)])
@pytest.mark.timeout(7_200)
def test_real_rows_have_the_ids_they_are_trained_with(num_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every task at hand: in the whole run 256 rows each, in turn through all its templates."""
    tasks = load_collection("flan")
    found = _real_tasks(Places(Path(str(DATA)), None))
    assert len(found) > 50
    if num_rows == 2:
        found = {name: found[name] for name in sorted(found)[::8]}
    with _overheard(monkeypatch) as (client, heard):
        compared = {
            name: _check_rows(
                client, heard, tasks[name], [rows[i] for i in range(min(num_rows, len(rows)))], start=place
            )
            for place, (name, rows) in enumerate(found.items())
        }

    assert all(compared.values()), [name for name, count in compared.items() if not count]
    if num_rows == 256:
        assert sum(compared.values()) > 10_000
