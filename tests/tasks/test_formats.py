"""Ablation formats: the rows and answers of a task, without its instructions."""

import pytest

from flan.tasks.formats import NoContinuation, formatted, load_continuations
from flan.tasks.render import instance, render
from flan.tasks.task import Task, load_collection
from flan.tasks.taxonomy import load_taxonomy
from flan.tasks.template import slots
from tests.tasks.samples import review_task

COLLECTION = load_collection("flan")


def test_without_a_template_only_the_row_is_left() -> None:
    """No wording, no options; the target is the answer, and the choices stay for scoring."""
    found = instance(review_task(), {"text": "Fine.", "label": "positive"})
    bare, tagged = (formatted(review_task(), form) for form in ("no_template", "dataset_name"))

    assert formatted(review_task(), "instructions") == review_task()
    assert render(found, bare.templates[0])[:3] == ("Fine.", "positive", ("negative", "positive"))
    tag = f"[{review_task().cluster}: {review_task().name}]"
    assert render(found, tagged.templates[0]).input == f"{tag} Fine."


def test_several_fields_stand_below_each_other_in_their_order() -> None:
    """What only inverted templates show (it may be the answer) and what every row shares is left out."""
    rte = formatted(COLLECTION["rte"], "no_template")
    czech = formatted(COLLECTION["wmt16_translate_csen"], "dataset_name")

    assert rte.templates[0].input == "{premise}\n{hypothesis}"
    assert czech.templates[0].input == "[translation: wmt16_translate_csen] {english}"


@pytest.mark.parametrize("task", COLLECTION.values(), ids=COLLECTION)
def test_every_task_can_be_asked_without_instructions(task: Task) -> None:
    """One template that shows something and does not show the answer's own field."""
    [template] = formatted(task, "no_template").templates
    answers = {name for name, path in task.fields.items() if path == task.answer.column}

    assert slots(template.input)
    assert not slots(template.input) & answers


@pytest.mark.parametrize("name", sorted(load_continuations()))
def test_a_continuation_is_a_text_that_the_answer_goes_on(name: str) -> None:
    """It stands for a task or a family of the collection, shows no OPTIONS block, and the made-up row fits it."""
    tasks = [task for task in load_collection("flan").values() if name in (task.name, task.kin)]

    assert tasks
    for task in tasks:
        continued = formatted(task, "continuation")
        assert task.example is not None
        row = instance(continued, task.example)
        shown = render(row, continued.templates[0], None)
        assert shown.target == row.answer and "OPTIONS" not in shown.input
        assert row.choices == () or row.answer in row.choices
        assert len(row.choices) == len(instance(task, task.example).choices)
        assert not shown.input.endswith(" ")


def test_answers_take_the_names_they_have_in_a_continuation() -> None:
    """In label order: the metric of the second choice is still of the second."""
    cb = formatted(load_collection("flan")["cb"], "continuation")

    assert cb.fixed_choices == ("true", "false", "undecided")


def test_every_dataset_of_the_paper_has_a_continuation() -> None:
    """But those that an untuned model cannot be asked: none. A task of one's own has to bring templates."""
    taxonomy = load_taxonomy("flan")
    for task in load_collection("flan").values():
        if taxonomy.presets["flan2021"].holds(task):
            formatted(task, "continuation")
    with pytest.raises(NoContinuation, match="shop_reviews"):
        formatted(load_collection("synthetic")["shop_reviews"], "continuation")
