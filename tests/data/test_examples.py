"""An example is a function of its number: question, solved rows and form, the same for whoever makes it."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flan.data.examples import Examples
from flan.data.rows import Rows
from flan.data.tokens import Fitted, make_contract
from flan.spec import MixedShots, Mixture, TuneSpec
from tests.kit.models import tiny_tokenizer
from tests.kit.tasks import make_rows, make_task, rows_in_memory

TOKENIZER = tiny_tokenizer()
CONTRACT = make_contract(TOKENIZER, "decoder")
TASKS = {"mood": make_task("mood")}
ROWS = {"mood": rows_in_memory(make_rows(40))}
SHOTS = MixedShots(share=0.5, shots=3)


def spec(**mixture: object) -> TuneSpec:
    return TuneSpec(
        name="kit",
        base="preset:nano",
        mixture=Mixture(**mixture),
        seed=5,
        input_length=400,
        target_length=100,
    )


def made(examples: Examples, numbers: list[int]) -> list[Fitted]:
    found = examples.fitted(numbers, TOKENIZER, CONTRACT)
    assert all(isinstance(each, Fitted) for each in found)
    return found


def rows_shown(text: str) -> list[int]:
    """Numbers of the rows that a prompt shows, in order."""
    return [int(number) for number in re.findall(r"(\d+) fine", text)]


def test_solved_rows_stand_before_half_of_the_examples() -> None:
    """Other rows of the task, each once, through the same template, with their answers; never the one asked."""
    examples = Examples(spec(few_shot=SHOTS), TASKS, ROWS)
    numbers = list(range(300))
    drawn = [examples.draw(number) for number in numbers]
    with_shots = 0
    for number, draw, each in zip(numbers, drawn, made(examples, numbers), strict=True):
        alone = examples.rendered(number)
        assert each.rendered.target == alone.target
        assert each.rendered.input.endswith(alone.input)
        before = each.rendered.input.removesuffix(alone.input)
        if not draw.has_shots:
            assert before == ""
            continue
        with_shots += 1
        shown = rows_shown(before)
        assert len(shown) == len(set(shown)) == SHOTS.shots
        assert draw.row not in shown
        marks = ("Good or bad?", "Is this good?", "Write a ")
        assert before.count(marks[draw.template]) == SHOTS.shots
        assert all(mark not in before for place, mark in enumerate(marks) if place != draw.template)

    assert 110 < with_shots < 190


def test_solved_rows_keep_to_their_budget() -> None:
    """The first that fit beside the question stay; with no room at all the question stands alone."""
    shots = SHOTS.model_copy(update={"share": 1.0, "shots": 8, "max_tokens": 60})
    examples = Examples(spec(few_shot=shots, include_inverted=False), TASKS, ROWS)
    lengths = [len(each.tokens.input_ids) for each in made(examples, list(range(50)))]
    alone = Examples(spec(few_shot=shots.model_copy(update={"max_tokens": 1})), TASKS, ROWS)

    assert max(lengths) <= 70
    assert len(rows_shown(made(alone, [0])[0].rendered.input)) <= 1


@pytest.mark.parametrize("options", ["flan2021", "flan2022"])
def test_options_are_left_out_of_a_share(options: str) -> None:
    """Of the question and of its solved rows alike; the answer is then the text, not a mark."""
    examples = Examples(
        spec(options=options, no_options_share=0.5, few_shot=SHOTS, templates_per_task=1), TASKS, ROWS
    )
    numbers = list(range(100))
    without = [n for n in numbers if not examples.draw(n).has_options]

    assert 30 < len(without) < 70
    for each in made(examples, without):
        assert "bad\n" not in each.rendered.input.replace("bad\n\n", "")
        assert each.rendered.target in ("bad", "good")
    if options == "flan2021":
        assert all(
            "OPTIONS:" in each.rendered.input for each in made(examples, sorted({*numbers} - {*without}))
        )


def test_a_broken_row_is_no_solved_row() -> None:
    """It is passed over, and the example has the next one."""
    lines = [json.dumps(row).encode() for row in make_rows(12)]
    rows = {"mood": Rows(b"\n".join([*lines, b'{"text": ', b'{"text": "x", "label": null}']), "kit", "")}
    examples = Examples(spec(few_shot=SHOTS.model_copy(update={"share": 1.0})), TASKS, rows)
    found = examples.fitted(range(60), TOKENIZER, CONTRACT)
    sound = [each for each in found if isinstance(each, Fitted)]

    assert 40 < len(sound) < 60
    assert all(len(rows_shown(each.rendered.input + each.rendered.target)) == 4 for each in sound)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=5))
def test_an_example_is_a_function_of_its_number(numbers: list[int]) -> None:
    """Alone, among others, in another order, from another object: the same ids."""
    mixture = {"few_shot": SHOTS, "no_options_share": 0.3, "options": "flan2022", "inverted_rate": 0.4}
    one, other = (Examples(spec(**mixture), TASKS, ROWS) for _ in range(2))
    together = made(one, numbers)

    for number, each in zip(reversed(numbers), reversed(together), strict=True):
        (alone,) = made(other, [number])
        assert alone.rendered == each.rendered
        assert alone.tokens.input_ids.tolist() == each.tokens.input_ids.tolist()
