"""Which option is chosen, by which rule."""

import math

import pytest

from flan.model.choosing import Options, choose, option_mass
from flan.spec import ChoiceRule

FOUR = Options(
    logprobs=(-2.0, -3.0, -3.6, -2.4),
    num_tokens=(1, 2, 3, 1),
    num_bytes=(2, 2, 12, 0),
    cue_logprobs=(-1.0, -4.5, -3.0, -2.0),
)
"""Each rule chooses another one of them."""


@pytest.mark.parametrize(
    ("rule", "values", "chosen"),
    [
        ("sum", (-2.0, -3.0, -3.6, -2.4), 0),
        ("per_token", (-2.0, -1.5, -1.2, -2.4), 2),
        ("per_byte", (-1.0, -1.5, -0.3, -2.4), 2),
        ("pmi", (-1.0, 1.5, -0.6, -0.4), 1),
    ],
)
def test_rules_divide_and_subtract_what_they_say(
    rule: ChoiceRule, values: tuple[float, ...], chosen: int
) -> None:
    """By hand; an option without a byte counts as one of one byte."""
    assert FOUR.values(rule) == pytest.approx(values)
    assert choose(FOUR.values(rule)).option == chosen


def test_the_first_of_equals_is_chosen_and_counts_as_tied() -> None:
    """Rounding makes no difference between options; the only option has nobody to tie with."""
    tied, clear, only = choose([-2.0, -1.0, -1.0 - 1e-9]), choose([-2.0, -1.0]), choose([-1.0])

    assert (tied.option, tied.is_tied) == (1, True)
    assert (clear.option, clear.margin, clear.is_tied) == (1, 1.0, False)
    assert (only.option, only.margin, only.is_tied) == (0, None, False)


def test_option_mass_is_the_probability_of_all_options() -> None:
    """Options that the model would hardly write sum to little, whichever of them is chosen."""
    assert option_mass([math.log(0.25), math.log(0.5)]) == pytest.approx(0.75)
