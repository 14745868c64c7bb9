"""Who is let in: bounded at once, shared between callers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.serve.admission import Admission, Place
from flan.serve.outcomes import Overloaded


def _admission(max_batch: int = 2, max_waiting: int = 4, max_chars: int = 1_000) -> Admission:
    return Admission(max_batch=max_batch, max_waiting=max_waiting, max_chars=max_chars)


def _fill(admission: Admission, caller: str | None) -> list[Place]:
    """Places for one caller until no more are given."""
    places = []
    while True:
        try:
            places.append(admission.enter(caller, 1))
        except Overloaded:
            return places


def test_places_and_characters_are_bounded_together() -> None:
    """The bound is exact, and a place that is given back is free; twice is once."""
    admission = _admission()
    places = _fill(admission, None)
    assert len(places) == 6
    places[0].give_back()
    places[0].give_back()
    assert admission.num_inside == 5
    with pytest.raises(Overloaded):
        admission.enter(None, 996)
    admission.enter(None, 995)


def test_one_alone_comes_in_however_long_it_is() -> None:
    """Else it never would: nothing that ends makes more room than an empty model has."""
    admission = _admission(max_chars=10)
    with admission.enter(None, 1_000), pytest.raises(Overloaded):
        admission.enter(None, 1)

    admission.enter(None, 1_000)


def test_a_greedy_caller_locks_nobody_out() -> None:
    """One alone fills half of the places, the next one half of the rest, and there is one for a third."""
    admission = _admission(max_batch=2, max_waiting=16)
    filled = [len(_fill(admission, caller)) for caller in "abcd"]

    assert filled == [10, 5, 2, 1]


def test_working_places_are_never_kept_free() -> None:
    """Where nobody has to wait, one caller may have them all."""
    assert len(_fill(_admission(max_batch=8, max_waiting=0), "a")) == 8


def test_places_that_are_given_back_are_whose_they_were() -> None:
    """After everyone has left, the greedy one starts afresh."""
    admission = _admission()
    for place in [*_fill(admission, "a"), *_fill(admission, "b")]:
        place.give_back()

    assert admission.num_inside == 0
    assert len(_fill(admission, "a")) == 4


def test_a_place_in_other_hands_is_given_back_by_them() -> None:
    """A stream keeps its place when the function that began it returns."""
    admission = _admission()
    with admission.enter("a", 1) as place:
        kept = place.kept()
    assert admission.num_inside == 1
    kept.give_back()

    assert admission.num_inside == 0


def test_a_refusal_says_when_to_come_again() -> None:
    """At least a second, at most half a minute; and it is counted."""
    admission = _admission(max_batch=1, max_waiting=0)
    _fill(admission, None)
    with pytest.raises(Overloaded) as refused:
        admission.enter(None, 1)

    assert 1 <= refused.value.values["retry_after_s"] <= 30
    assert admission.num_refused == 2


@given(st.lists(st.tuples(st.sampled_from(["a", "b", None, "leave"]), st.integers(0, 400)), max_size=60))
def test_bounds_hold_whatever_happens(steps: list[tuple[str | None, int]]) -> None:
    """Places never exceed their number, and what is counted is what is held."""
    admission = _admission()
    held: list[Place] = []
    for who, number in steps:
        if who == "leave":
            if held:
                held.pop(number % len(held)).give_back()
            continue
        try:
            held.append(admission.enter(who, number))
        except Overloaded:
            assert held
    assert admission.num_inside == len(held) <= 6
