"""Edit distance and the similarity made of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.evaluate.metrics.edits import edit_distance, edit_similarity
from flan.evaluate.metrics.reply import Reply


def table_distance(a: str, b: str) -> int:
    """Levenshtein's distance cell by cell (Wagner and Fischer 1974)."""
    row = list(range(len(b) + 1))
    for i, character in enumerate(a, start=1):
        above, row = row, [i]
        for j, other in enumerate(b, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (character != other)))
    return row[-1]


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("kitten", "sitting", 3),
        ("saturday", "sunday", 3),
        ("intention", "execution", 5),
        ("", "abc", 3),
        ("abc", "", 3),
    ],
)
def test_published_distances(a: str, b: str, distance: int) -> None:
    """The examples of Wikipedia's "Levenshtein distance", and of Jurafsky and Martin, 2.8."""
    assert edit_distance(a, b) == edit_distance(b, a) == distance


@given(a=st.text("abc", max_size=90), b=st.text("abcd", max_size=90))
def test_bits_count_as_the_table_does(a: str, b: str) -> None:
    """Also where texts are longer than a machine word."""
    assert edit_distance(a, b) == table_distance(a, b)


@pytest.mark.parametrize(
    ("text", "references", "expected"),
    [
        ("Ann lives in Rome.", ["Ann lives in Rome."], 1.0),
        ("ann lives in rome.", ["Ann lives in Rome."], 16 / 18),  # case counts
        (" Well, Ann!\n", ["Well, Ann!"], 1.0),
        ("WellAnn", ["Well, Ann!"], 7 / 10),
        ("abc", ["xyz", "abd"], 2 / 3),
        ("", ["abc"], 0.0),
        ("", [""], 1.0),
    ],
)
def test_similarity(text: str, references: list[str], expected: float) -> None:
    """The share of the longer text that need not be changed."""
    assert edit_similarity(Reply(text, tuple(references))) == pytest.approx(expected)
