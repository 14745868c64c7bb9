"""A draw is a pure function of its number: exact shares, every row once an epoch, the same everywhere."""

import math
from collections import Counter
from hashlib import sha256
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flan.data.mixture import Mixer, permutation, sample, usable_templates
from flan.data.rates import BLOCK, EmptyMixture, Size, mixing_rates, quotas
from flan.spec import MixedShots, Mixture
from tests.kit.tasks import make_task

SIZES = {"large": 30_000, "middle": 3_000, "small": 1_000}
COUNTS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3), st.integers(1, 100_000), min_size=1, max_size=12
)


def mixer(sizes: dict[str, int], seed: int = 0, templates: int = 10, **mixture: object) -> Mixer:
    return Mixer(Mixture(**mixture), [with_templates(sizes, templates)], seed)


def with_templates(sizes: dict[str, int], templates: int = 10) -> dict[str, Size]:
    return {name: Size(rows, templates) for name, rows in sizes.items()}


def rates_of(sizes: dict[str, int], **mixture: object) -> dict[str, float]:
    (rates,) = mixing_rates(Mixture(**mixture), [with_templates(sizes)])
    return rates


def test_rates_are_those_of_the_worked_example() -> None:
    """Sizes 1,000 / 3,000 / 30,000 mix as 1/7, 3/7, 3/7 under FLAN's maximum (Wei et al. 2022, 2.4)."""
    assert rates_of(SIZES) == pytest.approx({"large": 3 / 7, "middle": 3 / 7, "small": 1 / 7})


def test_cap_counts_before_the_rate() -> None:
    """A task's rate follows the rows left after examples_cap."""
    rates = rates_of({"a": 30_000, "b": 500}, examples_cap=500)

    assert rates == {"a": 0.5, "b": 0.5}


def test_temperature_flattens_and_may_be_extreme() -> None:
    """T = 2 takes square roots; a tiny T gives the largest task nearly everything without overflow."""
    assert rates_of({"a": 400, "b": 100}, temperature=2.0) == pytest.approx({"a": 2 / 3, "b": 1 / 3})
    assert rates_of({"a": 400, "b": 100}, temperature=1e-3) == pytest.approx({"a": 1, "b": 0})


@given(COUNTS, st.floats(0.05, 100))
def test_quotas_fill_a_block_and_follow_the_rates(sizes: dict[str, int], temperature: float) -> None:
    """Whole numbers that sum to a block, none zero, each within a few draws of its rate."""
    rates = rates_of(sizes, temperature=temperature)
    found = quotas(rates)

    assert sum(found.values()) == BLOCK
    assert min(found.values()) >= 1
    assert all(abs(found[task] - rates[task] * BLOCK) <= len(rates) + 1 for task in rates)


def test_every_block_has_exactly_the_quotas() -> None:
    """Realised shares are exact in each block, not merely in the long run."""
    mixed = mixer(SIZES)
    for block in (0, 3):
        draws = (mixed.draw(block * BLOCK + i) for i in range(BLOCK))
        seen = Counter((draw.leaf, draw.task) for draw in draws)

        assert seen == quotas(mixed.rates())


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from("ab"), st.integers(0, 2**63 - 1))
def test_every_row_comes_once_an_epoch(a: int, b: int, task: str, seed: int) -> None:
    """Across block borders too; rows beyond the cap never come."""
    cap, sizes = 150, {"a": a, "b": b}
    mixed = mixer(sizes, seed, examples_cap=cap)
    kept = min(sizes[task], cap)
    around = range(BLOCK - 2_000, BLOCK + 2_000)
    places = [
        (i, draw.row) for i, draw in zip(around, map(mixed.draw, around), strict=True) if draw.task == task
    ]
    rows = [row for _, row in places]
    num_before = quotas(mixed.rates())[0, task] - sum(i < BLOCK for i, _ in places)
    epochs = [rows[i : i + kept] for i in range(-num_before % kept, len(rows) - kept + 1, kept)]

    assert len(rows) < 2 * kept or len(epochs) >= 1
    assert len(set(map(frozenset, epochs))) <= 1
    assert all(len(set(epoch)) == kept and max(epoch) < sizes[task] for epoch in epochs)


def test_order_is_fresh_in_every_block() -> None:
    """Tasks follow each other otherwise in the next block, and as often."""
    mixed = mixer(SIZES)
    one, other, again = ([mixed.draw(block * BLOCK + i).task for i in range(2_000)] for block in (0, 1, 0))

    assert one == again != other


def test_order_is_fresh_in_every_epoch() -> None:
    """The second pass over a task's rows is in another order than the first."""
    mixed = mixer({"a": 100})
    first, second = ([mixed.draw(epoch * 100 + i).row for i in range(100)] for epoch in range(2))

    assert sorted(first) == sorted(second)
    assert first != second


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 3 * BLOCK), min_size=1, max_size=5))
def test_draw_does_not_depend_on_what_was_drawn_before(numbers: list[int]) -> None:
    """In any order, repeated or alone, a number gives the same draw."""
    one = mixer(SIZES)
    drawn = [one.draw(number) for number in numbers]

    assert drawn == [mixer(SIZES).draw(number) for number in numbers]
    assert drawn[::-1] == [one.draw(number) for number in numbers[::-1]]


def test_seed_changes_everything_that_is_drawn() -> None:
    """Tasks, rows, templates and the capped sample all follow the seed."""
    one, other = (mixer({"a": 2_000, "b": 2_000}, seed, examples_cap=1_000) for seed in (0, 1))
    pairs = [(one.draw(i), other.draw(i)) for i in range(3_000)]

    assert 0.4 < sum(a.task == b.task for a, b in pairs) / 3_000 < 0.6
    assert sum(a.template == b.template for a, b in pairs) / 3_000 < 0.2
    rows = [{draw.row for draw in map(each.draw, range(3_000)) if draw.task == "a"} for each in (one, other)]
    assert len(rows[0]) == len(rows[1]) == 1_000
    assert len(rows[0] & rows[1]) < 600


def test_templates_come_equally_often_and_apart_from_rows() -> None:
    """Each template about a tenth of the time; one row meets several templates over the epochs."""
    mixed = mixer({"a": 50})
    draws = [mixed.draw(i) for i in range(20_000)]
    share = Counter(draw.template for draw in draws)
    of_one_row = {draw.template for draw in draws if draw.row == 7}

    deviation = math.sqrt(20_000 * 0.1 * 0.9)
    assert sorted(share) == list(range(10))
    assert all(abs(count - 2_000) < 5 * deviation for count in share.values())
    assert len(of_one_row) == 10


def test_first_draws_are_the_same_on_every_machine_and_version() -> None:
    """The digest of the first 10,000 draws is a constant: a change of it breaks every pinned job."""
    mixed = mixer(SIZES, seed=7)
    draws = "".join("{}\t{}\t{}\n".format(*mixed.draw(number)) for number in range(10_000))

    assert sha256(draws.encode()).hexdigest() == (
        "a2861ea92b939f1495389855b83e4c565f05059bf0bfe5c8f692312c9f48ca2e"
    )


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 9))
def test_sample_is_some_of_the_numbers_in_order(size: int, count: int, key: int) -> None:
    """As many as asked for or there are, none twice, rising; a permutation is all of them."""
    chosen = sample(size, count, key).tolist()

    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(size, count)
    assert set(chosen) <= set(range(size))
    assert sorted(permutation(size, key).tolist()) == list(range(size))


PARTS = Mixture(
    parts=(
        Mixture(weight=0.4, no_options_share=0.25, few_shot=MixedShots(shots=2, share=0.5)),
        Mixture(weight=0.6, rates="each_template", rate_maximum=2_000, inverted_rate=0.3),
    )
)
MEMBERS = [
    with_templates(SIZES),
    {
        "large": Size(30_000, 9, inverted=(5, 6, 7, 8)),
        **{f"t{n}": Size(100 * n, n, (0,)) for n in range(2, 40)},
    },
]


def chi_squared(seen: Counter[object], expected: dict[object, float]) -> float:
    """How far counts are from what was to be expected, in standard deviations of the χ² distribution."""
    total = sum(seen.values())
    assert set(seen) <= set(expected)
    found = sum((seen[key] - total * share) ** 2 / (total * share) for key, share in expected.items())
    return (found - (len(expected) - 1)) / math.sqrt(2 * (len(expected) - 1))


def test_realised_shares_are_those_asked_for_over_100_000_draws() -> None:
    """Tasks, templates, solved rows, missing options and inversion, all within χ² bounds."""
    mixed = Mixer(PARTS, MEMBERS, seed=3)
    draws = [mixed.draw(number) for number in range(100_000)]
    first = [draw for draw in draws if draw.leaf == 0]
    second = [draw for draw in draws if draw.leaf == 1 and draw.task == "large"]
    templates = dict.fromkeys(range(5), 1 / 1.3 / 5) | dict.fromkeys(range(5, 9), 0.3 / 1.3 / 4)
    forms = {(a, b): 0.5 * (0.75 if b else 0.25) for a in (True, False) for b in (True, False)}

    assert chi_squared(Counter((draw.leaf, draw.task) for draw in draws), mixed.rates()) < 4
    assert chi_squared(Counter(draw.template for draw in first), dict.fromkeys(range(10), 0.1)) < 4
    assert chi_squared(Counter(draw.template for draw in second), templates) < 4
    assert chi_squared(Counter((draw.has_shots, draw.has_options) for draw in first), forms) < 4
    assert not any(draw.has_shots or not draw.has_options for draw in draws if draw.leaf == 1)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=4), st.integers(0, 2**63 - 1))
def test_a_draw_of_parts_is_a_function_of_its_number(numbers: list[int], seed: int) -> None:
    """Whatever was drawn before, however far out: task, row, template, part and form."""
    one = Mixer(PARTS, MEMBERS, seed)
    drawn = [one.draw(number) for number in numbers]

    assert drawn == [Mixer(PARTS, MEMBERS, seed).draw(number) for number in numbers]
    others = [list(islice(one.candidates(draw, i), 9)) for draw, i in zip(drawn, numbers, strict=True)]
    for draw, number, rows in zip(drawn, numbers, others, strict=True):
        assert rows == list(islice(Mixer(PARTS, MEMBERS, seed).candidates(draw, number), 9))
        assert len(set(rows)) == len(rows) == 9
        assert draw.row not in rows


def test_any_position_opens_with_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block's order and one epoch's, whether the stream is opened at its start or far out."""
    made: list[int] = []

    def counted(size: int, *key: str | int) -> Any:
        made.append(size)
        return permutation(size, *key)

    monkeypatch.setattr("flan.data.mixture.permutation", counted)
    for number in (0, 10**6, 10**15):
        Mixer(Mixture(), [with_templates(SIZES)], 0).draw(number)

    assert made[0::2] == [BLOCK] * 3
    assert len(made) == 6


def test_one_task_in_two_parts_has_an_order_of_its_own_in_each() -> None:
    """The rows of the one say nothing of those of the other."""
    leaf = Mixture(examples_cap=500)
    mixed = Mixer(Mixture(parts=(leaf, leaf)), [with_templates({"a": 500})] * 2, 0)
    rows = [[mixed.draw_of((part, "a"), count).row for count in range(500)] for part in range(2)]

    assert sorted(rows[0]) == sorted(rows[1]) == list(range(500))
    assert rows[0] != rows[1]


def test_empty_mixture_is_refused() -> None:
    """No task, or a task without rows, is an error that says which."""
    with pytest.raises(EmptyMixture, match="no task is left"):
        rates_of({})
    with pytest.raises(EmptyMixture, match="no rows for b"):
        rates_of({"a": 1, "b": 0})


def test_usable_templates_follow_the_mixture() -> None:
    """The first ones of the task, inverted ones only where they are asked for."""
    task = make_task()

    assert usable_templates(task, Mixture()) == (0, 1, 2)
    assert usable_templates(task, Mixture(templates_per_task=1)) == (0,)
    assert usable_templates(task, Mixture(include_inverted=False)) == (0, 1)
