"""Which prompts are asked, and that they are those of training."""

from collections import Counter
from functools import cache
from typing import Any

import pytest

from flan.data.rows import Places, Rows, open_rows
from flan.data.shots import Shots
from flan.data.tokens import ContextExceeded, encode
from flan.evaluate.questions import NoChoices, Question, ask, rows_of, scoring_of, templates_of
from flan.spec import EvaluateSpec, parse
from flan.tasks.render import instance, render
from flan.tasks.task import Task, load_collection
from flan.tasks.template import OPTIONS_SLOT, slots
from tests.kit.models import tiny_model

MODEL = tiny_model("decoder")
NOWHERE = Places(None, None)


def spec(**fields: Any) -> EvaluateSpec:
    defaults = {
        "name": "e",
        "model": "m",
        "tasks": ["*"],
        "collection": "synthetic",
        "limit": 5,
        "input_length": 400,
    }
    return parse(EvaluateSpec, defaults | {"max_new_tokens": 16} | fields)


def ask_all(spec: EvaluateSpec, task: Task, rows: Rows) -> tuple[list[Question], Counter[int]]:
    """All questions, and per template how many rows were skipped."""
    asked = list(ask(spec, task, rows, MODEL))
    return [q for one in asked for q in one.questions], Counter(t for one in asked for t in one.skipped)


@cache
def task(name: str) -> Task:
    return load_collection("synthetic")[name]


def test_inverted_templates_are_never_asked() -> None:
    """Of every task that has some, only the templates that ask for the answer are used, the first ones first."""
    inverted = [
        one for one in load_collection("synthetic").values() if len(one.answer_templates) < len(one.templates)
    ]

    assert inverted
    for one in inverted:
        assert len(templates_of(spec(templates_per_task=3), one)) == 3
        used = templates_of(spec(templates_per_task=100), one)
        assert [one.templates[index].role for index in used] == ["answer"] * len(one.answer_templates)


def test_every_template_and_model_gets_the_same_rows() -> None:
    """The sample depends on seed, task and split; a larger limit or another seed gives another."""
    rows = open_rows(task("shop_reviews"), "validation", NOWHERE)
    asked = ask_all(spec(), task("shop_reviews"), rows)[0]
    by_template = {
        t: [q.row for q in asked if q.template == t] for t in templates_of(spec(), task("shop_reviews"))
    }

    chosen = rows_of(spec(), task("shop_reviews"), len(rows))
    assert all(numbers == chosen for numbers in by_template.values())
    assert rows_of(spec(model="other", name="f"), task("shop_reviews"), len(rows)) == chosen
    assert rows_of(spec(seed=1), task("shop_reviews"), len(rows)) != chosen
    assert rows_of(spec(limit=None), task("shop_reviews"), len(rows)) == list(range(len(rows)))


@pytest.mark.parametrize("name", ["shop_reviews", "finder_passages", "word_senses"])
def test_ids_are_those_of_training(name: str) -> None:
    """Invariant 6: prompt and right option have the ids that a training example has for the row and template."""
    rows = open_rows(task(name), "validation", NOWHERE)
    for question in ask_all(spec(), task(name), rows)[0]:
        row = instance(task(name), rows[question.row])
        trained = encode(
            MODEL.tokenizer, MODEL.card.contract, render(row, task(name).templates[question.template])
        )

        assert question.prompt_ids.tolist() == trained.input_ids.tolist()
        if question.choices:
            right = question.option_ids[question.choices.index(row.answer)]
            assert right.tolist() == trained.target_ids.tolist()
        else:
            assert question.references[0] in MODEL.tokenizer.decode(trained.target_ids)


@pytest.mark.parametrize("before", [None, "\n"])
def test_an_untuned_model_is_asked_with_one_text(before: str | None) -> None:
    """Prompt and answer are tokenised together, the answer behind what stands before those of solved rows."""
    rows = open_rows(task("shop_reviews"), "validation", NOWHERE)
    few_shot = {"shots": 2, "before_target": before, "split": "validation"} if before else None
    asking = spec(prompt_format="continuation", few_shot=few_shot)
    shots = Shots(asking, asking.few_shot, task("shop_reviews"), rows) if asking.few_shot else None

    [asked, *_] = ask(asking, task("shop_reviews"), rows, MODEL, shots)

    question = asked.questions[0]
    assert question.num_exemplars == (2 if before else 0)
    for choice, ids in zip(question.choices, question.option_ids, strict=True):
        text = f"{question.prompt}{before or ' '}{choice}"
        assert [*question.prompt_ids, *ids] == MODEL.tokenizer.encode(text, add_special_tokens=False)


def test_what_is_written_is_compared_with_targets() -> None:
    """A template whose target says more than the answer expects all of it of a model that writes."""
    plain = task("shop_reviews")
    worded = plain.model_copy(
        update={
            "templates": tuple(t.model_copy(update={"target": "It is {answer}."}) for t in plain.templates)
        }
    )
    rows = open_rows(plain, "validation", NOWHERE)

    [question, *_] = ask_all(spec(scoring="generate"), worded, rows)[0]
    [ranked, *_] = ask_all(spec(), worded, rows)[0]

    assert question.references == (f"It is {question.answers[0]}.",)
    assert question.option_ids == ()
    assert ranked.references == ranked.answers
    assert MODEL.tokenizer.decode(ranked.option_ids[0]).startswith("It is ")


def test_options_can_be_left_out_of_the_prompt() -> None:
    """The same rows without their OPTIONS block."""
    rows = open_rows(task("shop_reviews"), "validation", NOWHERE)
    asked = ask_all(spec(options="none"), task("shop_reviews"), rows)[0]

    assert asked and not any("OPTIONS:" in question.prompt for question in asked)


def test_drawn_layouts_are_the_same_for_every_template() -> None:
    """A row shows its options in one layout; options that are called by a mark are scored by it."""
    reviews = task("shop_reviews")
    asked = ask_all(spec(options="flan2022"), reviews, open_rows(reviews, "validation", NOWHERE))[0]
    again = ask_all(spec(options="flan2022"), reviews, open_rows(reviews, "validation", NOWHERE))[0]
    shown = [q for q in asked if OPTIONS_SLOT in slots(reviews.templates[q.template].input)]

    assert [q.prompt for q in asked] == [q.prompt for q in again]
    for row in {q.row for q in shown}:
        names = {tuple(MODEL.tokenizer.decode(ids) for ids in q.option_ids) for q in shown if q.row == row}
        assert len(names) == 1
    written = {MODEL.tokenizer.decode(ids[:-1]) for q in shown for ids in q.option_ids}
    assert {"negative", "positive"} < written


def test_a_prompt_that_cannot_fit_is_counted() -> None:
    """Nothing is dropped in silence: asked and skipped make up all rows."""
    rows = open_rows(task("finder_passages"), "validation", NOWHERE)
    questions, num_skipped = ask_all(spec(input_length=25, limit=20), task("finder_passages"), rows)

    for template in templates_of(spec(), task("finder_passages")):
        num_asked = sum(question.template == template for question in questions)
        assert num_asked + num_skipped[template] == 20
    assert num_skipped.total() > 0


def test_room_is_left_for_what_follows_the_prompt() -> None:
    """Prompt and longest option, or all tokens that may be written, stay within a decoder's context."""
    limit = MODEL.card.context_length
    rows = open_rows(task("finder_passages"), "validation", NOWHERE)
    written, _ = ask_all(spec(input_length=4_000, max_new_tokens=limit - 60), task("finder_passages"), rows)

    assert all(len(question.prompt_ids) <= 60 for question in written)
    with pytest.raises(ContextExceeded):
        ask_all(spec(max_new_tokens=limit), task("finder_passages"), rows)


def test_free_text_cannot_be_ranked() -> None:
    """Asked for by name, rank classification of a task without choices is refused."""
    with pytest.raises(NoChoices, match="weather_tables"):
        scoring_of(spec(scoring="rank"), task("weather_tables"))
    assert scoring_of(spec(), task("weather_tables")) == "generate"
    assert scoring_of(spec(), task("shop_reviews")) == "rank"


def test_broken_rows_are_counted_for_every_template() -> None:
    """A row without what the task needs is skipped, once per template."""
    strange = task("shop_reviews").model_copy(
        update={"answer": task("shop_reviews").answer.model_copy(update={"choices": ("negative", "other")})}
    )
    rows = open_rows(strange, "validation", NOWHERE)
    questions, num_skipped = ask_all(spec(limit=30), strange, rows)
    kept = {question.row for question in questions}

    assert 0 < len(kept) < 30
    assert set(num_skipped.values()) == {30 - len(kept)}


def test_templates_of_promptsource_say_what_the_options_are() -> None:
    """Options, their ids and the right answer come from the template, and a row it passes over is counted."""
    reviews = task("shop_reviews")
    rows = open_rows(reviews, "validation", NOWHERE)
    column = reviews.fields["review"]
    common = {"language": "promptsource", "original_task": True, "answer_choices": "short ||| long"}
    jinja = f"{{{{ {column} }}}}\nShort or long? ||| {{{{ answer_choices[{column} | length > 60] }}}}"
    foreign = parse(
        Task,
        {
            "name": "lengths",
            "cluster": "sentiment",
            "source": reviews.source.model_dump(mode="json"),
            "metrics": ["accuracy"],
            "templates": [
                common | {"id": "1", "name": "all", "jinja": jinja},
                common | {"id": "2", "name": "none", "jinja": "{% if 0 %}a ||| b{% endif %}"},
                common | {"id": "3", "name": "stray", "jinja": "{{ " + column + " }} ||| medium"},
            ],
        },
    )

    questions, skipped = ask_all(spec(limit=5), foreign, rows)

    assert [question.template for question in questions] == [0] * 5
    assert skipped == {1: 5, 2: 5}
    for question in questions:
        assert question.choices == ("short", "long")
        text = instance(reviews, rows[question.row]).fields["review"]
        assert question.answers == (("long",) if len(text) > 60 else ("short",))
        assert [MODEL.tokenizer.decode(ids[:-1]) for ids in question.option_ids] == ["short", "long"]
