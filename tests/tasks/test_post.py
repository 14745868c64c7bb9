"""What of a written answer is compared."""

from typing import get_args

import pytest

from flan.tasks.post import VERSIONS, PostProcessing, processed, signature_of


@pytest.mark.parametrize(
    ("how", "text", "read"),
    [
        ("as_written", " Paris.\n\nQ: ", " Paris.\n\nQ: "),
        ("first_line", "\n Paris is it. \nQuestion: and", "Paris is it."),
        ("first_line", "", ""),
        ("first_word", " It's, I think, so", "It's"),
        ("first_word", "“No”.", "No"),
        ("first_word", "...", ""),
    ],
)
def test_by_hand(how: PostProcessing, text: str, read: str) -> None:
    """All of it, the first line that says something, the first word."""
    assert processed(how, text) == read


def test_every_reading_has_a_version() -> None:
    """Figures are quoted with it."""
    assert set(VERSIONS) == set(get_args(PostProcessing))
    assert signature_of("first_line") == "first_line v1"
