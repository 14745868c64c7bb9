"""Stop strings end a text wherever its pieces are cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from flan.serve.text import Stops


def _reference(text: str, stops: list[str]) -> tuple[str, bool]:
    """Character by character: before the first stop string that is complete, the longest at one place."""
    for end in range(1, len(text) + 1):
        met = [stop for stop in stops if text[:end].endswith(stop)]
        if met:
            return text[: end - len(max(met, key=len))], True
    return text, False


@given(
    st.text("abc", max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=4),
    st.lists(st.integers(0, 30), max_size=8),
)
def test_stop_strings_end_the_text_wherever_pieces_are_cut(
    text: str, stop_strings: list[str], cuts: list[int]
) -> None:
    """Across borders of pieces, overlapping or nested: the text ends before the one completed first."""
    places = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    stops = Stops(stop_strings)
    shown = ""
    for start, end in pairwise(places):
        if not stops.is_met:
            shown += stops.push(text[start:end])
    if not stops.is_met:
        shown += stops.rest()

    assert (shown, stops.is_met) == _reference(text, stop_strings)


def test_text_that_begins_like_a_stop_string_waits() -> None:
    """What may become a stop string is not shown before it is certain."""
    stops = Stops(["\n\nQ:"])

    assert [stops.push(piece) for piece in ("yes", "\n", "\n", "Q", "uestion", "\n")] == [
        "yes", "", "", "", "\n\nQuestion", "",
    ]  # fmt: skip
    assert stops.rest() == "\n"
