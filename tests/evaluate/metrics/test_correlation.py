"""Pearson's and Spearman's correlation, against published values and SciPy."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from flan.evaluate.metrics.correlation import is_number, pearson, spearman
from flan.evaluate.metrics.reply import Reply

SCALE = ("0", "1", "2", "3", "4", "5")


def reply(text: str, right: float, scale: tuple[str, ...] = SCALE) -> Reply:
    return Reply(text, (str(round(right)),), scale, text if text in scale else None, str(round(right)), right)


def test_published_ranks() -> None:
    """Wikipedia's "Spearman's rank correlation": IQ and hours of television, -29/165."""
    iq = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
    hours = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    replies = [reply(str(a), b, ("0", "200")) for a, b in zip(iq, hours, strict=True)]

    assert spearman(replies)(np.ones(10)) == pytest.approx(-29 / 165)


def test_by_hand() -> None:
    """(1, 1), (2, 3), (3, 2): covariance 1, variances 2 and 2."""
    replies = [reply("1", 1), reply("2", 3), reply("3", 2)]

    assert pearson(replies)(np.ones(3)) == pytest.approx(0.5)
    assert spearman(replies)(np.ones(3)) == pytest.approx(0.5)


def test_the_right_number_is_not_the_rounded_one() -> None:
    """STS-B's labels have decimals: right answers to whole numbers are not perfect."""
    replies = [reply("1", 1.4), reply("1", 0.6), reply("4", 3.8)]

    assert pearson(replies)(np.ones(3)) == pytest.approx(stats.pearsonr([1, 1, 4], [1.4, 0.6, 3.8])[0])


@pytest.mark.parametrize("text", ["alike", "", "7", "-1", "nan", "inf", "3 or 4"])
def test_what_is_no_number_on_the_scale_is_wrong(text: str) -> None:
    """It counts as the farther end: 5 where 1 is right, 0 where 4 is."""
    as_ends = [reply("1", 1), reply("2", 2), reply("0", 4), reply("5", 1)]
    replies = [reply("1", 1), reply("2", 2), reply(text, 4), reply(text, 1)]

    assert pearson(replies)(np.ones(4)) == pearson(as_ends)(np.ones(4))
    assert [is_number(one) for one in replies] == [True, True, False, False]


def test_what_does_not_vary_has_no_correlation() -> None:
    """0, where the formula has no value: also for what only a resample makes constant."""
    replies = [reply("3", right) for right in (1.0, 2.0, 3.7)]

    assert pearson(replies)(np.ones(3)) == spearman(replies)(np.ones(3)) == 0
    varied = [reply("0", 0.1), reply("5", 4.9)]
    assert pearson(varied)(np.array([2.0, 0.0])) == 0


@given(
    pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), min_size=4, max_size=12),
    times=st.lists(st.integers(0, 3), min_size=12, max_size=12),
)
def test_a_resample_has_ranks_of_its_own(pairs: list[tuple[int, int]], times: list[int]) -> None:
    """A pair that was drawn three times takes three places, one that was not drawn takes none."""
    replies = [reply(str(a), b / 4) for a, b in pairs]
    copies = [one for one, count in zip(replies, times, strict=False) for _ in range(count)]
    assume(copies)

    for correlation in (pearson, spearman):
        weighted = correlation(replies)(np.array(times[: len(pairs)], float))
        assert weighted == pytest.approx(correlation(copies)(np.ones(len(copies))), abs=1e-9)


@given(pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), min_size=2, max_size=30))
def test_scipys(pairs: list[tuple[int, int]]) -> None:
    """With ties, as the scale has six values only."""
    assume(all(len(set(side)) > 1 for side in zip(*pairs, strict=True)))
    given_, right = zip(*((a, b / 4) for a, b in pairs), strict=True)
    replies = [reply(str(a), b) for a, b in zip(given_, right, strict=True)]

    assert pearson(replies)(np.ones(len(pairs))) == pytest.approx(stats.pearsonr(given_, right)[0], abs=1e-9)
    assert spearman(replies)(np.ones(len(pairs))) == pytest.approx(
        stats.spearmanr(given_, right)[0], abs=1e-9
    )
