"""Preparations: each on a made-up row of the shape that its dataset has."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.spec import parse
from flan.tasks.prepare import PREPARATIONS
from flan.tasks.render import RowError, instance
from flan.tasks.task import Task

CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("trim", {"sentence": "a fine cake \n", "label": 1}, {"sentence": "a fine cake"}),
    (
        "web_text",
        {"text": "Salt &amp; pepper.<br /><br />Nice! ", "title": "5 &gt; 4"},
        {"text": "Salt & pepper.\nNice!", "title": "5 > 4"},
    ),
    (
        "backslashed_text",
        {"text": r"Cold soup.\n\nThe cook said \"sorry\". Caf\u00e9 closed."},
        {"text": 'Cold soup.\n\nThe cook said "sorry". Café closed.'},
    ),
    (
        "ag_news",
        {
            "text": r"Owl wins the baker #39;s cup &lt;b&gt;...&lt;/b&gt; quot;Hoot, quot; it\said for \$5 <OWL.O>"
        },
        {"text": 'Owl wins the baker\'s cup ... "Hoot, " it said for $5 <OWL.O>'},
    ),
    ("ask", {"question": "who baked the first pie "}, {"question": "Who baked the first pie?"}),
    ("ask", {"question": "Is rye a grain ?"}, {"question": "Is rye a grain?"}),
    (
        "squad",
        {"title": "Apple_pie", "context": " Pies are old.", "question": "How old ? "},
        {"title": "Apple pie", "context": "Pies are old.", "question": "How old ?"},
    ),
    ("stsb", {"label": 3.8}, {"label": "4"}),
    ("stsb", {"label": 2.5}, {"label": "2"}),
    (
        "lettered_choices",
        {"choices": {"text": ["a loaf", "a pan"], "label": ["1", "2"]}, "answerKey": "2"},
        {"choices": ["a loaf", "a pan"], "answer": "a pan"},
    ),
    (
        "lettered_choices",
        {"choices": {"text": ["rye", "oat", "rye  "], "label": ["A", "B", "C"]}, "answerKey": "C"},
        {"choices": ["rye", "oat"], "answer": "rye"},
    ),
    (
        "copa",
        {"premise": "The pie burned.", "choice1": "It rained.", "choice2": "I slept.", "label": "choice2"},
        {"choices": ["It rained.", "I slept."], "answer": "I slept."},
    ),
    (
        "piqa",
        {"goal": "Warm a pie. ", "sol1": "Use an oven.", "sol2": "Use a fridge.", "label": "0"},
        {"goal": "Warm a pie.", "choices": ["Use an oven.", "Use a fridge."], "answer": "Use an oven."},
    ),
    (
        "hellaswag",
        {
            "ctx": "[header] How to bake [title] Get flour. [step] Any kind will do.",
            "endings": ["Eat it raw.", "Sift it. [substeps] Use a sieve.", "Throw it.", "Sing."],
            "label": "1",
        },
        {
            "ctx": "How to bake\nGet flour.\nAny kind will do.",
            "choices": ["Eat it raw.", "Sift it. Use a sieve.", "Throw it.", "Sing."],
            "answer": "Sift it. Use a sieve.",
        },
    ),
    (
        "cosmos_qa",
        {"answer0": "Pie .", "answer1": "Rain .", "answer2": "Snow .", "answer3": "None .", "label": 3},
        {"choices": ["Pie .", "Rain .", "Snow .", "None ."], "answer": "None ."},
    ),
    (
        "winogrande",
        {"sentence": "Ann fed Eve since _ was hungry.", "option1": "Ann", "option2": "Eve", "answer": "2"},
        {
            "context": "Ann fed Eve since",
            "choices": ["Ann was hungry.", "Eve was hungry."],
            "answer": "Eve was hungry.",
        },
    ),
    (
        "candidates",
        {"sentence": "The cat bit the dog as it ran.", "candidates": ["The cat", "the dog"], "label": "1"},
        {"choices": ["The cat", "the dog"], "answer": "the dog"},
    ),
    ("common_gen", {"concepts": ["oven", "pie", "bake"]}, {"concepts": "oven, pie, bake"}),
    (
        "e2e_nlg",
        {"meaning_representation": "name[The Owl], food[Pies, cakes], familyFriendly[yes]"},
        {"meaning_representation": "name = The Owl, food = Pies, cakes, familyFriendly = yes"},
    ),
    (
        "web_nlg",
        {"input": ['Apple_pie | mainIngredient | "Apple"', "Apple_pie | country | Old_England"]},
        {"triples": "Apple pie, mainIngredient, Apple; Apple pie, country, Old England"},
    ),
    (
        "dart",
        {"tripleset": [["[TABLECONTEXT]", "BAKER_NAME", "Eve"], ["Eve", "AGE", "40"]]},
        {"triples": "BAKER NAME, Eve; Eve, AGE, 40"},
    ),
]


@pytest.mark.parametrize(("name", "row", "made"), CASES, ids=[name for name, _, _ in CASES])
def test_a_preparation_makes_what_slots_can_reach(
    name: str, row: dict[str, Any], made: dict[str, Any]
) -> None:
    """It sets exactly the columns it speaks of, keeps the others and leaves the given row alone."""
    before = copy.deepcopy(row)

    assert PREPARATIONS[name](row) == row | made
    assert row == before


def test_every_preparation_has_a_case_and_a_docstring() -> None:
    """What is not shown on a row here is not known to work."""
    assert {name for name, _, _ in CASES} == set(PREPARATIONS)
    assert all(preparation.__doc__ for preparation in PREPARATIONS.values())


@given(st.floats(min_value=0, max_value=5))
def test_similarity_is_rounded_to_a_choice_at_most_half_away(similarity: float) -> None:
    """Every score a pair can have becomes one of the six answers, and never the farther one."""
    label = PREPARATIONS["stsb"]({"label": similarity})["label"]

    assert label in {"0", "1", "2", "3", "4", "5"}
    assert abs(float(label) - similarity) <= 0.5


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            {"goal": "Warm a pie.", "sol1": "Oven.", "sol2": "Ice.", "label": -1}, id="hidden answer"
        ),
        pytest.param({"goal": "Warm a pie.", "sol1": "Oven.", "sol2": "Ice.", "label": None}, id="no answer"),
        pytest.param({"goal": "Warm a pie.", "sol1": "Oven.", "sol2": "Ice.", "label": 2}, id="too large"),
        pytest.param({"goal": "Warm a pie.", "label": 0}, id="column missing"),
        pytest.param({"goal": 7, "sol1": "Oven.", "sol2": "Ice.", "label": 0}, id="not text"),
    ],
)
def test_a_row_of_another_shape_is_refused_by_name(row: dict[str, Any]) -> None:
    """A preparation that cannot read a row says so as an error of the row, and never guesses an answer."""
    task = parse(
        Task,
        {
            "name": "pies",
            "cluster": "common_sense",
            "source": {"kind": "dataset", "name": "pies"},
            "prepare": "piqa",
            "fields": {"goal": "goal"},
            "answer": {"column": "answer", "choices_from": "choices"},
            "metrics": ["accuracy"],
            "templates": [{"input": "{goal}\n{options_}"}],
        },
    )

    with pytest.raises(RowError, match="preparation 'piqa'"):
        instance(task, row)
