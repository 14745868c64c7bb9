"""A pack for people: its segments token by token, whose they are, and what of them the loss counts.

It is read off the arrays that the step is taken on, so it shows what the model sees, not what was meant.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from flan.data.batches import StepBatch
from flan.data.characters import texts_of_ids
from flan.data.mixture import Draw
from flan.data.packing import PackedDecoder, PackedEncoderDecoder
from flan.data.tokens import AnyTokenizer

MAX_TOKENS = 2_048
"""Of a pack that is shown; segments behind are counted, not shown."""


class ShownSide(NamedTuple):
    """What of a segment lies on one side of a pack."""

    side: str
    """encoder or decoder."""
    ids: list[int]
    texts: list[str]
    """What each id adds to the text."""
    loss_mask: list[int]
    """1 where the loss counts the id: where the model is to write it."""


class ShownSegment(NamedTuple):
    """One example of a pack."""

    task: str
    row: int
    template: int
    has_shots: bool
    """Whether solved rows stand before it."""
    sides: list[ShownSide]


def first_pack(
    batch: StepBatch, asked: Callable[[int], Draw], template: Callable[[Draw], int], tokenizer: AnyTokenizer
) -> list[ShownSegment]:
    """The segments of the first pack of a step, at most MAX_TOKENS of them.

    `asked` gives the draw of a number as it is asked, `template` which template of its task that is.
    """
    shown: list[ShownSegment] = []
    room = MAX_TOKENS
    for segment, number in enumerate(batch.draws[0], start=1):
        sides = [
            ShownSide(side, ids, texts_of_ids(tokenizer, ids), mask)
            for side, ids, mask in _sides(batch, segment)
        ]
        room -= sum(len(side.ids) for side in sides)
        if room < 0:
            break
        draw = asked(number)
        shown.append(ShownSegment(draw.task, draw.row, template(draw), draw.has_shots, sides))
    return shown


def _sides(batch: StepBatch, segment: int) -> Iterator[tuple[str, list[int], list[int]]]:
    """Side, its ids, and which of them the loss counts."""
    packs = batch.packs
    if isinstance(packs, PackedEncoderDecoder):
        read = packs.encoder_ids[0][packs.encoder_segment_ids[0] == segment]
        yield "encoder", read.tolist(), [0] * len(read)
        here = packs.decoder_segment_ids[0] == segment
        written, weights = packs.target_ids[0][here], packs.loss_weights[0][here]
        yield "decoder", written.tolist(), (weights > 0).astype(int).tolist()
        return
    assert isinstance(packs, PackedDecoder)
    here = packs.segment_ids[0] == segment
    ids, weights = packs.token_ids[0][here], packs.loss_weights[0][here]
    # A weight stands where the id before is read; the first id is predicted by none.
    counted = np.concatenate([[0], (weights[:-1] > 0).astype(int)])
    yield "decoder", ids.tolist(), counted.tolist()
