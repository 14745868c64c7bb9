"""Tasks as documents: what is refused, and where the fault is said to be."""

from pathlib import Path
from typing import Any

import pytest

from flan.errors import InvalidDocument, NotFound
from flan.spec import parse
from flan.tasks.task import Task, load_collection, load_task
from flan.tasks.yaml_text import parse_yaml
from tests.tasks.samples import review_task


def test_a_task_as_people_write_it_is_accepted() -> None:
    """Target and role have their defaults; the answer templates are known by index."""
    task = review_task(
        templates=[
            {"input": "{review} Good?\n{options_}"},
            {"input": "Write a {answer} review.", "target": "{review}", "role": "inverted"},
        ]
    )

    assert task.templates[0].target == "{answer}"
    assert task.answer_templates == (0,)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"templates": [{"input": "{text}"}]},
            "/templates/0/input: no field for {text}; the task has review",
        ),
        (
            {"answer": {"column": "label"}},
            "/templates/0/input: {options_} shows the choices, and the answer has none",
        ),
        ({"fields": {"answer": "text"}}, "/fields/answer: 'answer' is reserved"),
        ({"fields": {"options_": "text"}}, "/fields/options_: 'options_' is reserved"),
        ({"fields": {}}, "at least one"),
        ({"prepare": "magic"}, "/prepare: there is no preparation 'magic'"),
        ({"long_field": "body"}, "/long_field: 'body' is none of the fields: review"),
        ({"metrics": []}, "at least one"),
        ({"metrics": ["bleurt"]}, "rouge_l"),
        ({"metrics": ["f1", "f1"]}, "/metrics/1: the metric 'f1' stands twice"),
        ({"metrics": ["pearson_correlation"]}, "needs fixed choices that are numbers"),
        ({"metrics": ["question_exact_match"]}, "needs group_by"),
        ({"group_by": ["body"]}, "/group_by/0: 'body' is none of the fields: review"),
        (
            {"metrics": ["positive_f1"], "answer": {"column": "label", "choices": ["a", "b", "c"]}},
            "needs two fixed choices, the second of them the positive one; the answer has 3",
        ),
        (
            {"answer": {"column": "label", "choices": ["a"], "names_from": "n"}},
            "/answer/names_from: ",
        ),
        (
            {"answer": {"column": "label", "choices": ["a", "a"]}},
            "/answer/choices/1: the choice 'a' stands twice",
        ),
        ({"answer": {"column": "label", "choices": ["a\nb"]}}, "/answer/choices/0: a choice is one line"),
        (
            {"answer": {"column": "label", "choices": ["a"], "choices_from": "c"}},
            "/answer/choices_from: choices are given too",
        ),
        (
            {"answer": {"column": "label", "choices": ["a"], "labels": {"0": "b"}}},
            "/answer/labels/0: 'b' is none of the choices",
        ),
        (
            {"templates": [{"input": "Write {answer}.", "target": "{review}", "role": "inverted"}]},
            "every template is inverted",
        ),
        ({"source": {"kind": "web"}}, "none of hub, dataset, synthetic"),
    ],
)
def test_a_task_that_does_not_fit_together_is_refused(change: dict[str, Any], says: str) -> None:
    """Each fault is named with the values that clash."""
    with pytest.raises(InvalidDocument) as refused:
        review_task(**change)

    assert says in refused.value.message


def test_an_unknown_field_gets_a_pointer_and_a_suggestion() -> None:
    """A slip of the pen is answered with the word that was meant."""
    with pytest.raises(InvalidDocument) as refused:
        review_task(metric=["accuracy"])

    assert refused.value.problems[0]["pointer"] == "/metric"
    assert refused.value.problems[0]["hint"] == "did you mean 'metrics'?"


def test_a_broken_yaml_text_is_told_with_its_line() -> None:
    """Line and column, counted from one."""
    with pytest.raises(InvalidDocument, match="line 2, column"):
        parse_yaml("name: a\n  b: [")


def test_a_task_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    """A path, not a traceback."""
    with pytest.raises(NotFound, match=r"nothing\.yaml"):
        load_task(tmp_path / "nothing.yaml")


@pytest.mark.parametrize("collection", ["flan", "synthetic"])
def test_a_task_lies_under_its_name_in_the_folder_of_its_cluster(collection: Any) -> None:
    """Every file of a collection is a task, and comes back the same through its own JSON."""
    tasks = load_collection(collection)

    assert list(tasks) == sorted(tasks)
    for name, task in tasks.items():
        assert name == task.name
        assert parse(Task, task.model_dump(mode="json")) == task
