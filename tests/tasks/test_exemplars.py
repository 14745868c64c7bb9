"""Exemplars: which rows, how many fit, and how they stand before the question."""

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.spec import FewShot
from flan.tasks.exemplars import balanced_candidates, candidates, num_that_fit, with_exemplars
from flan.tasks.render import Rendered


def rendered(input_: str, target: str) -> Rendered:
    return Rendered(input_, target, (), target, (target,))


@given(st.integers(0, 200), st.integers(0, 99), st.integers(0, 200))
def test_no_row_comes_twice_and_never_the_query(size: int, key: int, query: int) -> None:
    """Whatever the key; nearly all rows come up when nobody stops."""
    order = list(candidates(size, key, exclude=query))

    assert len(set(order)) == len(order)
    assert query not in order
    assert all(0 <= row < size for row in order)
    assert len(order) >= (size - 1) * 0.9


def test_the_key_decides_and_rows_come_equally_often() -> None:
    """One key, one order; over many keys the first three places are spread evenly over the rows."""
    assert list(candidates(50, 1, "a")) == list(candidates(50, 1, "a"))
    assert list(candidates(50, 1, "a")) != list(candidates(50, 1, "b"))
    share = Counter(row for key in range(4_000) for row in islice(candidates(10, key), 3))

    assert all(abs(count - 1_200) < 5 * (4_000 * 0.3 * 0.7) ** 0.5 for count in share.values())


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 99))
def test_balanced_rows_give_every_answer_before_one_comes_twice(answers: int, rounds: int, key: int) -> None:
    """In any first part of the order, no answer is ahead of another by more than one."""
    rows = {f"answer {a}": [100 * a + i for i in range(20)] for a in range(answers)}
    chosen = list(islice(balanced_candidates(rows, key, exclude=3), answers * rounds))

    assert len(set(chosen)) == answers * rounds
    assert 3 not in chosen
    for length in range(1, len(chosen) + 1):
        counts = [sum(row // 100 == a for row in chosen[:length]) for a in range(answers)]
        assert max(counts) - min(counts) <= 1


def test_an_answer_without_rows_left_gives_way() -> None:
    """A rare answer ends; the others go on."""
    order = list(balanced_candidates({"rare": [7], "common": [1, 2, 3]}, 0))

    assert set(order) <= {7, 1, 2, 3} and 7 in order[:2]


@pytest.mark.parametrize(
    ("lengths", "query", "count"),
    [
        ([400, 400, 100], 100, 2),
        ([400, 460, 1], 100, 2),
        ([900], 100, 0),
        ([], 100, 0),
        ([10, 2000, 10], 10, 1),
    ],
)
def test_the_first_ones_that_fit_are_kept(lengths: list[int], query: int, count: int) -> None:
    """Within 960 tokens with the question; one that is too long ends the list, as in the released code."""
    assert num_that_fit(lengths, query, 960) == count


def test_solved_rows_stand_before_the_question() -> None:
    """Input, target, blank line; the question keeps its target, references and options."""
    query = rendered("What is 2+2?", "4")

    shown = with_exemplars(query, [rendered("What is 1+1?", "2")], FewShot(shots=1))

    assert shown == query._replace(input="What is 1+1?\n2\n\nWhat is 2+2?")
    dashes = FewShot(shots=1, before_target=" -> ", after_target="\n")
    assert with_exemplars(query, [rendered("a", "b")] * 2, dashes).input == "a -> b\na -> b\nWhat is 2+2?"
