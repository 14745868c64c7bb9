"""A preview is what an evaluation asks: the same text, the same solved rows, the same token ids."""

from typing import Any

import pytest

from flan.data.rows import Places, open_rows
from flan.data.shots import Shots
from flan.data.token_view import Speller
from flan.evaluate.preview import Form, GivenShots, Preview, previews
from flan.evaluate.questions import ask, prompt_length
from flan.model.load import Architecture
from flan.spec import EvaluateSpec, FewShot, parse
from flan.tasks.formats import formatted
from flan.tasks.render import instance, instances
from flan.tasks.task import Task, load_collection
from flan.tasks.template import RowError
from tests.kit.models import tiny_model

TASKS = load_collection("synthetic")
REVIEWS = TASKS["shop_reviews"]
PLACES = Places(None, None)
FORM = Form(split="validation", target_length=8)


def read_alone(architecture: Architecture = "decoder") -> Speller:
    """The tokenizer of a tiny model as tokenizer.json has it, and its card."""
    model = tiny_model(architecture)
    backend = model.tokenizer.backend_tokenizer
    return Speller(type(backend).from_str(backend.to_str()), model.card)


def ids_of(preview: Preview) -> list[int]:
    """What the model reads before its answer."""
    assert preview.tokens is not None
    first = preview.tokens.parts[0].side
    read = [part for part in preview.tokens.parts if part.name in ("prefix", "input", "separator")]
    return [id_ for part in read if part.side == first for id_ in part.ids]


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"few_shot": {"shots": 3}},
        {"few_shot": {"shots": 16, "balanced": True, "before_target": " = ", "after_target": "\n##\n"}},
        {"few_shot": {"shots": 16, "max_tokens": 200}, "options": "flan2022", "seed": 11},
        {"few_shot": {"shots": 4, "split": "validation"}, "options": "none"},
        {"prompt_format": "dataset_name", "few_shot": {"shots": 2}},
        {"input_length": 60},
        {"input_length": 1024, "few_shot": {"shots": 16, "max_tokens": 2000}},
    ],
    ids=["zero-shot", "three", "balanced", "pruned", "own split", "dataset name", "cut", "context"],
)
@pytest.mark.parametrize("name", ["shop_reviews", "retold_news"])
def test_a_preview_is_what_an_evaluation_asks(
    name: str, wanted: dict[str, Any], architecture: Architecture
) -> None:
    """Text, solved rows and ids of every question; also where options are drawn, texts cut, rows left out."""
    base = {"name": "e", "model": "m", "tasks": ["*"], "limit": 4, "input_length": 400, "max_new_tokens": 8}
    spec = parse(EvaluateSpec, base | wanted)
    task = formatted(TASKS[name], spec.prompt_format)
    rows = open_rows(task, spec.split, PLACES)
    few_shot = spec.few_shot
    shots = Shots(spec, few_shot, task, open_rows(task, few_shot.split, PLACES)) if few_shot else None
    form = Form(spec.options, spec.seed, spec.split, spec.input_length, spec.max_new_tokens)
    questions = [q for one in ask(spec, task, rows, tiny_model(architecture), shots) for q in one.questions]

    assert questions
    for question in questions:
        (shown,) = previews(
            task, form, question.row, instance(task, rows[question.row]), [question.template],
            shots=shots, model=read_alone(architecture),
        )  # fmt: skip
        assert shown.rendered is not None and shown.tokens is not None
        assert shown.rendered.input == question.prompt
        assert ids_of(shown) == question.prompt_ids.tolist()
        assert len(shown.exemplars) == question.num_exemplars
        assert (shown.tokens.cut is not None) == question.was_cut
        num_after = max(map(len, question.option_ids), default=spec.max_new_tokens)
        length = prompt_length(spec.input_length, num_after, tiny_model(architecture).card)
        assert shown.tokens.input_length == length


def test_without_a_model_every_solved_row_is_shown() -> None:
    """There are no lengths to fit; the rows are the same, in the same order."""
    few_shot = FewShot(shots=5, max_tokens=250)
    shots = Shots(FORM, few_shot, REVIEWS, open_rows(REVIEWS, "train", PLACES))
    row = instance(REVIEWS, open_rows(REVIEWS, "validation", PLACES)[3])
    (text,) = previews(REVIEWS, FORM, 3, row, [0], shots=shots)
    (fitted,) = previews(REVIEWS, FORM, 3, row, [0], shots=shots, model=read_alone())

    assert len(text.exemplars) == 5 > len(fitted.exemplars) > 0
    assert text.exemplars[: len(fitted.exemplars)] == fitted.exemplars
    assert text.tokens is None


def test_a_row_never_solves_itself_whoever_chose_the_rows() -> None:
    """Given rows have no number in a split: there the row that equals the question is passed over."""
    rows = open_rows(REVIEWS, "train", PLACES)
    few_shot = FewShot(shots=64)
    drawn = Shots(Form(), few_shot, REVIEWS, rows)
    number = previews(REVIEWS, Form(), 0, instance(REVIEWS, rows[0]), [0], shots=drawn)[0].exemplars[0]
    query = instance(REVIEWS, rows[number])
    again = previews(REVIEWS, Form(), 0, query, [0], shots=drawn)[0]
    chosen = GivenShots(Form(), FewShot(shots=2), REVIEWS, [query, instance(REVIEWS, rows[1]), query])
    given = previews(REVIEWS, Form(), 0, query, [0], shots=chosen)[0]

    assert number not in again.exemplars and len(again.exemplars) == 64
    assert given.exemplars == (1,)
    assert given.rendered is not None and given.rendered.input.count(query.fields["review"]) == 1


def test_what_is_cut_and_what_does_not_fit_is_said() -> None:
    """The end of the long field; a target over its length; a frame too long is the template's error alone."""
    row = instance(REVIEWS, {"text": "word " * 200, "label": "negative"})
    (cut,) = previews(REVIEWS, FORM._replace(input_length=80), 0, row, [0], model=read_alone())
    (refused,) = previews(REVIEWS, FORM._replace(input_length=4), 0, row, [0], model=read_alone())
    (long,) = previews(REVIEWS, FORM._replace(target_length=2), 0, row, [0], model=read_alone())

    assert cut.rendered is not None and cut.tokens is not None and cut.tokens.cut is not None
    assert cut.tokens.num_input <= cut.tokens.input_length == 80
    assert cut.tokens.cut.field == "review"
    assert cut.rendered.input.count("word") * 5 + len(cut.tokens.cut.text) == pytest.approx(1_000, abs=5)
    assert cut.tokens.target_fits
    assert refused.error is not None and refused.error.code == "input_too_long"
    assert refused.rendered is None
    assert long.tokens is not None and not long.tokens.target_fits


def test_a_template_that_passes_over_a_row_leaves_the_others() -> None:
    """The one says why; the other is shown."""
    document = {
        "name": "foreign", "cluster": "sentiment", "source": {"kind": "synthetic", "generator": "shop_reviews",
        "splits": {"train": 9}}, "metrics": ["accuracy"],
        "templates": [
            {"language": "promptsource", "id": "a", "name": "rare", "original_task": True,
             "jinja": "{% if text == 'b' %}{{ text }} ||| {{ label }}{% endif %}"},
            {"language": "promptsource", "id": "b", "name": "always", "original_task": True,
             "jinja": "{{ text }}? ||| {{ label }}"},
        ],
    }  # fmt: skip
    task = parse(Task, document)
    passed, shown = previews(task, Form(), 0, instance(task, {"text": "a", "label": "yes"}), [0, 1])

    assert passed.error is not None and "passes over this row" in passed.error.message
    assert passed.rendered is None
    assert shown.error is None and shown.rendered is not None and shown.rendered.target == "yes"


def test_a_broken_row_of_a_request_is_named_by_its_place() -> None:
    """The pointer leads to the row."""
    rows = [{"text": "Fine.", "label": "positive"}, {"label": "positive"}]

    with pytest.raises(RowError) as refused:
        instances(REVIEWS, rows, "/exemplars")
    assert refused.value.pointer == "/exemplars/1"
