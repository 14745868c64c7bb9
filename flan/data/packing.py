"""Examples → packs: several examples in one sequence, each a segment of its own.

Which examples share a pack is decided by best fit among some that wait (`Window`); how a pack becomes arrays
is decided here too, for decoder-only and encoder-decoder models. Pure: no clock, no random number.

Legend: B packs, L positions; Li and Lt are L of the encoder and of the decoder.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flan.card import Contract
from flan.data.tokens import Tokens

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

WINDOW = 256
"""Examples that wait at a time. At FLAN's lengths 256 fill 99.6% of a decoder's slots; 512 would fill 99.7%."""
_NEVER = np.int64(1 << 40)
"""More than any pack has room for: what an example takes that is taken."""


class PackedDecoder(NamedTuple):
    """Packs of a decoder-only model, all (B, L). A segment is an example's input and target.

    Padding is segment 0 and has no weight; its other values mean nothing.
    """

    token_ids: Ints
    segment_ids: Ints
    """From 1 in each pack."""
    positions: Ints
    """From 0 in each segment."""
    target_ids: Ints
    """The next token of the same segment; the last token of a segment predicts nothing."""
    loss_weights: Floats
    """1 where the next token belongs to a target, its end included."""


class PackedEncoderDecoder(NamedTuple):
    """Packs of an encoder-decoder model; segment n of the decoder answers segment n of the encoder."""

    encoder_ids: Ints  # (B, Li)
    encoder_segment_ids: Ints  # (B, Li)
    encoder_positions: Ints  # (B, Li)
    decoder_ids: Ints  # (B, Lt): start token, then the target without its last token
    decoder_segment_ids: Ints  # (B, Lt)
    decoder_positions: Ints  # (B, Lt)
    target_ids: Ints  # (B, Lt)
    loss_weights: Floats  # (B, Lt)


PackedBatch = PackedDecoder | PackedEncoderDecoder


class Lengths(NamedTuple):
    """How long packs are. Decoder-only: `input` is the whole sequence and `target` is 0."""

    input: int
    target: int


class Pack(NamedTuple):
    """Examples, by number, that share a pack; and how much of it they take."""

    examples: tuple[int, ...]
    used: Lengths


def pack_lengths(contract: Contract, packed_length: int, input_length: int, target_length: int) -> Lengths:
    """Lengths of a pack; an encoder-decoder splits `packed_length` as input and target are to each other."""
    if contract.architecture == "decoder":
        return Lengths(packed_length, 0)
    target = packed_length * target_length // (input_length + target_length)
    return Lengths(packed_length - target, target)


def size(contract: Contract, tokens: Tokens) -> Lengths:
    """What an example takes of a pack."""
    num_input, num_target = len(tokens.input_ids), len(tokens.target_ids)
    return (
        Lengths(num_input + num_target, 0)
        if contract.architecture == "decoder"
        else Lengths(num_input, num_target)
    )


class Window:
    """Examples that wait for a place in a pack, at most WINDOW of them.

    A pack begins with the example that has waited longest. Then comes whichever leaves the smallest gap,
    until none fits; of an encoder-decoder's two gaps, in shares of their sides, the larger one counts, so
    that both sides fill up together. The older one wins a tie. Nobody waits for more than WINDOW packs.
    Deterministic: the same examples in the same order give the same packs.
    """

    def __init__(self, lengths: Lengths) -> None:
        self._lengths = lengths
        self._sizes: list[Lengths] = []
        self.waiting: list[int] = []
        """The examples, oldest first: all that decides how it goes on."""

    @property
    def is_full(self) -> bool:
        """Whether there is no place for another example."""
        return len(self.waiting) >= WINDOW

    def add(self, example: int, size: Lengths) -> None:
        """Let an example wait."""
        fits = size.input <= self._lengths.input and size.target <= self._lengths.target
        assert fits and not self.is_full, f"example {example} of {size} for packs of {self._lengths}"
        self.waiting.append(example)
        self._sizes.append(size)

    def take(self) -> Pack:
        """The next pack; its examples wait no longer."""
        sizes_2N = np.array(self._sizes, np.int64).T.copy()
        left_21 = np.array([self._lengths], np.int64).T
        # A gap's share of its side, times the product of both, stays a whole number: exact on any machine.
        scale_21 = np.maximum(left_21[::-1], 1)
        best: int | None = 0
        chosen = []
        while best is not None:
            chosen.append(best)
            left_21 -= sizes_2N[:, best, None]
            sizes_2N[:, best] = _NEVER
            gaps_2N = left_21 - sizes_2N
            larger_N = (gaps_2N * scale_21).max(axis=0)
            larger_N[(gaps_2N < 0).any(axis=0)] = np.iinfo(np.int64).max
            best = int(larger_N.argmin())
            best = best if gaps_2N[:, best].min() >= 0 else None
        return self._leave(chosen)

    def _leave(self, chosen: Sequence[int]) -> Pack:
        examples = tuple(self.waiting[i] for i in chosen)
        sizes = [self._sizes[i] for i in chosen]
        gone = set(chosen)
        self.waiting = [each for i, each in enumerate(self.waiting) if i not in gone]
        self._sizes = [each for i, each in enumerate(self._sizes) if i not in gone]
        return Pack(examples, Lengths(sum(each.input for each in sizes), sum(each.target for each in sizes)))


def pack_batch(packs: Sequence[Sequence[Tokens]], lengths: Lengths, contract: Contract) -> PackedBatch:
    """The arrays of some packs, each a sequence of examples that fit into `lengths`."""
    if contract.architecture == "decoder":
        return _decoder_batch(packs, lengths.input)
    return _encoder_decoder_batch(packs, lengths, contract.prefix_ids[0])


def select(batch: PackedBatch, packs: Sequence[int]) -> PackedBatch:
    """Some packs of a batch, by index; -1 stands for an empty pack, which has no segment and no weight."""
    index = np.array(packs, dtype=np.int64)
    taken = [array[index] for array in batch]
    for array in taken:
        array[index < 0] = 0
    return type(batch)._make(taken)


def _decoder_batch(packs: Sequence[Sequence[Tokens]], length: int) -> PackedDecoder:
    batch = PackedDecoder._make([*_zeros(4, len(packs), length), _no_weights(len(packs), length)])
    places = np.arange(length, dtype=np.int32)
    for row, examples in enumerate(packs):
        start = 0
        for segment, (input_ids, target_ids) in enumerate(examples, start=1):
            middle = start + len(input_ids)
            end = middle + len(target_ids)
            batch.token_ids[row, start:middle] = input_ids
            batch.token_ids[row, middle:end] = target_ids
            batch.segment_ids[row, start:end] = segment
            batch.positions[row, start:end] = places[: end - start]
            # Shifted inside the segment: its last token must not predict the next segment's first.
            batch.target_ids[row, start : end - 1] = batch.token_ids[row, start + 1 : end]
            batch.loss_weights[row, middle - 1 : end - 1] = 1.0
            start = end
    return batch


def _encoder_decoder_batch(
    packs: Sequence[Sequence[Tokens]], lengths: Lengths, start_id: int
) -> PackedEncoderDecoder:
    count = len(packs)
    encoder, decoder = _zeros(3, count, lengths.input), _zeros(4, count, lengths.target)
    batch = PackedEncoderDecoder._make([*encoder, *decoder, _no_weights(count, lengths.target)])
    places = np.arange(max(lengths), dtype=np.int32)
    for row, examples in enumerate(packs):
        start = first = 0
        for segment, (input_ids, target_ids) in enumerate(examples, start=1):
            end, last = start + len(input_ids), first + len(target_ids)
            batch.encoder_ids[row, start:end] = input_ids
            batch.encoder_segment_ids[row, start:end] = segment
            batch.encoder_positions[row, start:end] = places[: end - start]
            batch.decoder_ids[row, first] = start_id
            batch.decoder_ids[row, first + 1 : last] = target_ids[:-1]
            batch.decoder_segment_ids[row, first:last] = segment
            batch.decoder_positions[row, first:last] = places[: last - first]
            batch.target_ids[row, first:last] = target_ids
            batch.loss_weights[row, first:last] = 1.0
            start, first = end, last
    return batch


def _zeros(count: int, num_packs: int, length: int) -> list[Ints]:
    return [np.zeros((num_packs, length), np.int32) for _ in range(count)]


def _no_weights(num_packs: int, length: int) -> Floats:
    return np.zeros((num_packs, length), np.float32)
