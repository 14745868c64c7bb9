"""Which sequences share a forward pass: neighbours in length, within a budget of token slots."""

from collections.abc import Sequence
from typing import NamedTuple


class Size(NamedTuple):
    """Token slots of one sequence: padded apart, as the two parts stand in two columns of a batch."""

    prompt: int
    rest: int


def group(sizes: Sequence[Size], batch_tokens: int) -> list[list[int]]:
    """Indices of `sizes` in groups whose padded area is at most `batch_tokens`, longest first.

    A sequence that exceeds the budget by itself is a group of its own. Every index comes exactly once.
    """
    groups: list[list[int]] = []
    widest = Size(0, 0)
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i].prompt, -sizes[i].rest, i)):
        size = sizes[index]
        joined = Size(max(widest.prompt, size.prompt), max(widest.rest, size.rest))
        if groups and sum(joined) * (len(groups[-1]) + 1) <= batch_tokens:
            groups[-1].append(index)
            widest = joined
        else:
            groups.append([index])
            widest = size
    return groups


def fill(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices of `lengths` in groups that add up to at most `batch_tokens`, longest first: nothing is padded.

    A sequence that exceeds the budget by itself is a group of its own. Every index comes exactly once.
    """
    groups: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not groups or lengths[index] > room:
            groups.append([])
            room = batch_tokens
        groups[-1].append(index)
        room -= lengths[index]
    return groups
