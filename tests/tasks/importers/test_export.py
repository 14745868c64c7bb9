"""Rendered examples as JSON lines: the pair, and all that says where it came from."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.card import RENDERER_VERSION
from flan.tasks.importers.export import export_examples, json_line
from flan.tasks.options import layout_of
from flan.tasks.render import instance, render
from flan.tasks.template import NotAnOption, RowError, Template
from tests.tasks.samples import review_task

TEMPLATES = [
    {"input": "{review} Good?\n{options_}"},
    {"input": "Write a {answer} review.", "target": "{review}", "role": "inverted"},
    {"input": "How does this sound: {review}\n{options_}"},
]
TASK = review_task(templates=TEMPLATES)
ROWS = [
    {"id": "r-1", "text": "Warm bread.", "label": "positive"},
    {"text": "Cold soup.", "label": "negative"},
]


def test_an_example_says_all_that_it_takes_to_render_it_again() -> None:
    """Every key, in the documented order."""
    first = next(export_examples(TASK, "train", ROWS, seed=5))

    assert list(first.items()) == [
        ("input", "Warm bread. Good?\nOPTIONS:\n- negative\n- positive"),
        ("target", "positive"),
        ("task", "reviews"),
        ("task_digest", TASK.digest()),
        ("split", "train"),
        ("row", 0),
        ("row_id", "r-1"),
        ("template", 0),
        ("template_digest", Template.parse(TEMPLATES[0]).digest()),
        ("role", "answer"),
        ("options", ["negative", "positive"]),
        ("options_policy", "flan2021"),
        ("answer", "positive"),
        ("answer_index", 1),
        ("references", ["positive"]),
        ("seed", 5),
        ("renderer", RENDERER_VERSION),
    ]


def test_every_row_is_asked_through_every_template() -> None:
    """Rows in their order, and templates within a row; an inverted one says that it is."""
    examples = list(export_examples(TASK, "train", ROWS))

    assert [(each["row"], each["template"], each["role"]) for each in examples] == [
        (row, template, "inverted" if template == 1 else "answer") for row in (0, 1) for template in (0, 1, 2)
    ]
    digests = [template.digest() for template in TASK.templates]
    assert [each["template_digest"] for each in examples] == digests * 2
    assert [each["target"] for each in examples[:2]] == ["positive", "Warm bread."]
    assert examples[3]["row_id"] is None


def test_free_text_has_no_options() -> None:
    """null, not an empty list or -1."""
    task = review_task(answer={"column": "label"}, templates=[{"input": "{review}"}])

    example = next(export_examples(task, "test", ROWS))

    assert (example["options"], example["answer_index"], example["answer"]) == (None, None, "positive")


@pytest.mark.parametrize("policy", ["flan2021", "flan2022", "none"])
def test_options_are_shown_as_an_evaluation_shows_them(policy: Any) -> None:
    """The same renderer, and layouts drawn from the same key."""
    for example in export_examples(TASK, "train", ROWS, seed=3, options_policy=policy):
        layout = layout_of(policy, 2, 3, "reviews", example["row"])
        template = TASK.templates[example["template"]]
        rendered = render(instance(TASK, ROWS[example["row"]]), template, layout)

        assert (example["input"], example["target"]) == (rendered.input, rendered.target)
        assert example["options"] == ["negative", "positive"]
        assert example["options_policy"] == policy


def test_one_template_for_each_row_is_drawn_by_the_seed() -> None:
    """Each about as often; the same again with the same seed, another draw with another or another split."""

    def drawn(seed: int, split: str = "train") -> list[int]:
        examples = export_examples(TASK, split, ROWS[:1] * 600, seed=seed, per_row="one")
        return [each["template"] for each in examples]

    assert len(drawn(1)) == 600
    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2) and drawn(1) != drawn(1, "test")
    assert all(150 < count < 250 for count in Counter(drawn(1)).values())


def test_a_row_that_cannot_be_rendered_stops_the_export_with_its_place() -> None:
    """Task, split and row are named; the kind of error and its hint stay."""
    rows = [*ROWS, {"text": "So so.", "label": "neutral"}]

    with pytest.raises(NotAnOption, match=r"reviews/train, row 2: answer 'neutral'") as refused:
        list(export_examples(TASK, "train", rows))

    assert refused.value.hint is not None and "answer.labels" in refused.value.hint


def test_rows_to_skip_are_handed_over_and_keep_their_number() -> None:
    """Nothing vanishes silently, and what follows is still found by its row."""
    skipped: list[tuple[int, str]] = []

    def skip(row: int, error: RowError) -> None:
        skipped.append((row, error.message))

    rows = [{"text": "no label"}, *ROWS]
    examples = list(export_examples(TASK, "train", rows, skip=skip))

    assert skipped == [(0, "no column 'label'; the row has ['text']")]
    assert {each["row"] for each in examples} == {1, 2}


def test_rows_are_taken_one_at_a_time() -> None:
    """A split of any size is exported in the memory of one row."""
    taken: list[int] = []

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(10):
            taken.append(number)
            yield ROWS[0]

    examples = export_examples(TASK, "train", rows())
    next(examples)

    assert taken == [0]


@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_an_example_is_one_line_whatever_its_text(text: str) -> None:
    """No reader's idea of a line end cuts it, and it comes back as it was."""
    example = next(export_examples(TASK, "train", [{"text": text, "label": "positive"}]))

    line = json_line(example)

    assert line.splitlines(keepends=True) == [line]
    assert json.loads(line) == example
    assert list(json.loads(line)) == list(example)
