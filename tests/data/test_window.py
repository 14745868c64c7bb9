"""A pack is as full as what waits allows; whoever waits longest goes first; what waits is all the memory there is."""

from itertools import compress, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flan.data.window import Lengths, Window, best_fill
from tests.data.packs import take_all

SIDE = st.integers(0, 40)


def flan_like(count: int, mean: float = 204.0) -> list[Lengths]:
    """Lengths as FLAN's: lognormal, sigma 0.8, at most 1,280."""
    random = np.random.default_rng(0)
    drawn = random.lognormal(np.log(mean) - 0.32, 0.8, count).astype(int)
    return [Lengths(int(n), 0) for n in np.clip(drawn, 4, 1280)]


def two_sided(count: int) -> list[Lengths]:
    """Inputs and targets of a mixture: 4.2 tokens to one on average, and every kind of proportion."""
    random = np.random.default_rng(1)
    inputs = np.clip(random.lognormal(np.log(90) - 0.32, 0.8, count), 4, 1024).astype(int)
    targets = np.clip(random.lognormal(np.log(21) - 0.72, 1.2, count), 2, 256).astype(int)
    return [Lengths(int(a), int(b)) for a, b in zip(inputs, targets, strict=True)]


def fill_of(sizes: list[Lengths], lengths: Lengths) -> Lengths:
    """Per mille of either side that is used while there is more to come."""
    used = np.array([pack.used for drawn, pack in take_all(sizes, lengths) if drawn < len(sizes)])
    return Lengths(*(1000 * used.mean(axis=0) / np.maximum(lengths, 1)).astype(int).tolist())


def test_packs_are_nearly_full_at_flan_lengths() -> None:
    """At 1,280 tokens all but one slot in 500 is used."""
    assert fill_of(flan_like(10_000), Lengths(1280, 0)).input >= 998


def test_both_sides_of_a_pack_fill_up_together() -> None:
    """Where the sides are to each other as inputs and targets are, each is at least 98% full."""
    sizes = two_sided(10_000)
    inputs, targets = sum(each.input for each in sizes), sum(each.target for each in sizes)
    for length in (1200, 2560):
        assert min(fill_of(sizes, Lengths(length, round(length * targets / inputs)))) >= 980


def test_the_scarce_side_fills_up_where_the_other_cannot() -> None:
    """At 1,024 to 256 both cannot be full where targets are shorter, or longer, than that; the scarce side is."""
    sizes = two_sided(6_000)
    short = [Lengths(each.input, -(-each.target // 4)) for each in sizes]
    long = [Lengths(-(-each.input // 2), each.target) for each in sizes]

    assert fill_of(short, Lengths(1024, 256)).input >= 980
    assert fill_of(long, Lengths(1024, 256)).target >= 980


@pytest.mark.parametrize("mean", [60.0, 204.0, 700.0])
def test_nobody_waits_for_ever(mean: float) -> None:
    """An example is in one of the next packs, one for each that waits: each takes the oldest one first."""
    packs = [pack for _, pack in take_all(flan_like(6_000, mean), Lengths(1280, 0))]
    oldest = [min(number for pack in packs[i:] for number in pack.examples) for i in range(0, len(packs), 50)]

    assert [min(packs[i].examples) for i in range(0, len(packs), 50)] == oldest


def test_packing_goes_on_from_what_waits() -> None:
    """The examples that wait are the whole memory: a second window that gets them packs the rest alike."""
    sizes = two_sided(3_000)
    lengths = Lengths(1024, 256)
    window = Window(lengths)
    numbers = iter(range(len(sizes)))

    def fill(*windows: Window) -> None:
        while not window.is_full:
            number = next(numbers)
            for each in windows:
                each.add(number, sizes[number])

    for _ in range(60):
        fill(window)
        window.take()
    again = Window(lengths)
    for number in window.waiting:
        again.add(number, sizes[number])
    for _ in range(60):
        fill(window, again)
        assert window.take() == again.take()
    assert not window.is_full


@given(st.lists(st.builds(Lengths, SIDE, SIDE), max_size=8), st.builds(Lengths, SIDE, SIDE))
@example([Lengths(3, 4)] * 3, Lengths(10, 5))  # thrice the target is more than a row of ways
def test_no_choice_fills_better(sizes: list[Lengths], room: Lengths) -> None:
    """What is left is the least that any of the examples leave, each side by its share of the pack."""
    whole = Lengths(120, 80)

    def lacking(chosen: list[Lengths]) -> int:
        left = [have - sum(each) for have, each in zip(room, zip(*chosen, (0, 0), strict=True), strict=True)]
        return left[0] * whole.target + left[1] * whole.input if min(left) >= 0 else 10**9

    best = min(lacking([*compress(sizes, which)]) for which in product((0, 1), repeat=len(sizes)))
    chosen = best_fill(sizes, room, whole)
    assert len(chosen) == len(set(chosen))
    assert lacking([sizes[i] for i in chosen]) == best


def test_the_first_that_fill_it_are_taken() -> None:
    """Of choices that are as good the one of older examples."""
    sizes = [Lengths(n, 0) for n in (300, 200, 500, 400, 100)]

    assert sorted(best_fill(sizes, Lengths(500, 0), Lengths(500, 0))) == [0, 1]
    assert sorted(best_fill(sizes, Lengths(600, 0), Lengths(600, 0))) == [1, 3]


@settings(max_examples=40)
@given(st.lists(st.builds(Lengths, st.integers(1, 9_000), st.integers(1, 900)), max_size=40))
def test_nothing_runs_over_where_ways_are_too_many(sizes: list[Lengths]) -> None:
    """A room of more ways than are told apart is not overfilled, on either side."""
    for room in (Lengths(20_000, 4_000), Lengths(20_000, 10), Lengths(10, 4_000), Lengths(90_000, 0)):
        chosen = [sizes[i] for i in best_fill(sizes, room, Lengths(90_000, 4_000))]
        assert sum(each.input for each in chosen) <= room.input
        assert sum(each.target for each in chosen) <= room.target


def test_packs_longer_than_any_grid_are_full() -> None:
    """At 65,536 places, as at 1,280."""
    assert fill_of(flan_like(20_000), Lengths(65_536, 0)).input >= 995
