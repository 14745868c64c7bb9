"""Which sequences share a forward pass."""

from hypothesis import given
from hypothesis import strategies as st

from flan.model.grouping import Size, fill, group

SIZES = st.lists(st.builds(Size, st.integers(1, 50), st.integers(0, 20)), max_size=40)


@given(sizes=SIZES, batch_tokens=st.integers(1, 300))
def test_groups_hold_every_sequence_once_within_the_budget(sizes: list[Size], batch_tokens: int) -> None:
    """The padded area of a group keeps the budget, unless a single sequence exceeds it."""
    groups = group(sizes, batch_tokens)

    assert sorted(index for members in groups for index in members) == list(range(len(sizes)))
    for members in groups:
        width = max(sizes[i].prompt for i in members) + max(sizes[i].rest for i in members)
        assert len(members) == 1 or width * len(members) <= batch_tokens


def test_neighbours_in_length_go_together() -> None:
    """Short sequences are not padded to a long one."""
    assert group([Size(9, 1), Size(2, 1), Size(9, 1), Size(2, 1)], batch_tokens=20) == [[0, 2], [1, 3]]


@given(lengths=st.lists(st.integers(1, 50), max_size=40), batch_tokens=st.integers(1, 300))
def test_filled_groups_hold_every_sequence_once_within_the_budget(
    lengths: list[int], batch_tokens: int
) -> None:
    """What a group adds up to keeps the budget, unless a single sequence exceeds it; longest come first."""
    groups = fill(lengths, batch_tokens)

    assert sorted(index for members in groups for index in members) == list(range(len(lengths)))
    for members in groups:
        assert len(members) == 1 or sum(lengths[i] for i in members) <= batch_tokens
    order = [lengths[i] for members in groups for i in members]
    assert order == sorted(order, reverse=True)
