"""Examples → packs: several examples in one sequence, each a segment of its own.

Which examples share a pack is decided by best fit among a few open packs (`OpenPacks`); how a pack becomes
arrays is decided here too, for decoder-only and encoder-decoder models. Pure: no clock, no random number.

Legend: B packs, L positions; Li and Lt are L of the encoder and of the decoder.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flan.card import Contract
from flan.data.tokens import Tokens

Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

MAX_OPEN = 32
"""Open packs at a time. At FLAN's lengths 32 fill 99.5% of the slots; 128 would fill 99.6%."""
MAX_WAIT = 500
"""A pack that is open for more draws than this goes out before a fuller one: nobody waits for ever."""


class PackedDecoder(NamedTuple):
    """Packs of a decoder-only model, all (B, L). A segment is an example's input and target.

    Padding is segment 0 and has no weight; its other values mean nothing.
    """

    token_ids: Longs
    segment_ids: Longs
    """From 1 in each pack."""
    positions: Longs
    """From 0 in each segment."""
    target_ids: Longs
    """The next token of the same segment; the last token of a segment predicts nothing."""
    loss_weights: Floats
    """1 where the next token belongs to a target, its end included."""


class PackedEncoderDecoder(NamedTuple):
    """Packs of an encoder-decoder model; segment n of the decoder answers segment n of the encoder."""

    encoder_ids: Longs  # (B, Li)
    encoder_segment_ids: Longs  # (B, Li)
    encoder_positions: Longs  # (B, Li)
    decoder_ids: Longs  # (B, Lt): start token, then the target without its last token
    decoder_segment_ids: Longs  # (B, Lt)
    decoder_positions: Longs  # (B, Lt)
    target_ids: Longs  # (B, Lt)
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


class OpenPacks:
    """Packs being filled. Each example goes into the fullest pack that has room for it, else into a new one.

    When more than MAX_OPEN are open the fullest goes out, or the oldest once it has waited MAX_WAIT draws.
    Deterministic: the same examples in the same order give the same packs.
    """

    def __init__(self, lengths: Lengths, packs: Sequence[Pack] = ()) -> None:
        self._lengths = lengths
        self.packs = list(packs)
        """Oldest first."""

    def add(self, example: int, size: Lengths) -> Pack | None:
        """Put an example in; the pack that goes out, if one does. `example` must rise from call to call."""
        assert self._has_room(Lengths(0, 0), size), f"example {example} of {size} in packs of {self._lengths}"
        with_room = [i for i, pack in enumerate(self.packs) if self._has_room(pack.used, size)]
        if with_room:
            best = max(with_room, key=lambda i: self._fill(self.packs[i]))
            examples, used = self.packs[best]
            self.packs[best] = Pack((*examples, example), _sum(used, size))
        else:
            self.packs.append(Pack((example,), size))
        return self._out(example) if len(self.packs) > MAX_OPEN else None

    def _out(self, now: int) -> Pack:
        is_overdue = now - self.packs[0].examples[0] > MAX_WAIT
        return self.packs.pop(
            0 if is_overdue else max(range(len(self.packs)), key=lambda i: self._fill(self.packs[i]))
        )

    def _has_room(self, used: Lengths, size: Lengths) -> bool:
        return (
            used.input + size.input <= self._lengths.input
            and used.target + size.target <= self._lengths.target
        )

    def _fill(self, pack: Pack) -> int:
        return sum(pack.used)


def pack_batch(packs: Sequence[Sequence[Tokens]], lengths: Lengths, contract: Contract) -> PackedBatch:
    """The arrays of some packs, each a sequence of examples that fit into `lengths`."""
    if contract.architecture == "decoder":
        return _decoder_batch(packs, lengths.input)
    return _encoder_decoder_batch(packs, lengths, contract.prefix_ids[0])


def select(batch: PackedBatch, packs: Sequence[int]) -> PackedBatch:
    """Some packs of a batch, by index; -1 stands for an empty pack, which has no segment and no weight."""
    index = np.array(packs, dtype=np.int64)
    arrays = (np.where((index >= 0)[:, None], array[index], 0).astype(array.dtype) for array in batch)
    return type(batch)._make(arrays)


def _decoder_batch(packs: Sequence[Sequence[Tokens]], length: int) -> PackedDecoder:
    batch = PackedDecoder._make([*_zeros(4, len(packs), length), _no_weights(len(packs), length)])
    for row, examples in enumerate(packs):
        start = 0
        for segment, (input_ids, target_ids) in enumerate(examples, start=1):
            ids = np.concatenate([input_ids, target_ids])
            end = start + len(ids)
            batch.token_ids[row, start:end] = ids
            batch.segment_ids[row, start:end] = segment
            batch.positions[row, start:end] = np.arange(len(ids))
            # Shifted inside the segment: its last token must not predict the next segment's first.
            batch.target_ids[row, start : end - 1] = ids[1:]
            batch.loss_weights[row, start + len(input_ids) - 1 : end - 1] = 1.0
            start = end
    return batch


def _encoder_decoder_batch(
    packs: Sequence[Sequence[Tokens]], lengths: Lengths, start_id: int
) -> PackedEncoderDecoder:
    count = len(packs)
    encoder, decoder = _zeros(3, count, lengths.input), _zeros(4, count, lengths.target)
    batch = PackedEncoderDecoder._make([*encoder, *decoder, _no_weights(count, lengths.target)])
    for row, examples in enumerate(packs):
        start = first = 0
        for segment, (input_ids, target_ids) in enumerate(examples, start=1):
            end, last = start + len(input_ids), first + len(target_ids)
            batch.encoder_ids[row, start:end] = input_ids
            batch.encoder_segment_ids[row, start:end] = segment
            batch.encoder_positions[row, start:end] = np.arange(len(input_ids))
            batch.decoder_ids[row, first:last] = [start_id, *target_ids[:-1]]
            batch.decoder_segment_ids[row, first:last] = segment
            batch.decoder_positions[row, first:last] = np.arange(len(target_ids))
            batch.target_ids[row, first:last] = target_ids
            batch.loss_weights[row, first:last] = 1.0
            start, first = end, last
    return batch


def _zeros(count: int, num_packs: int, length: int) -> list[Longs]:
    return [np.zeros((num_packs, length), np.int64) for _ in range(count)]


def _no_weights(num_packs: int, length: int) -> Floats:
    return np.zeros((num_packs, length), np.float32)


def _sum(a: Lengths, b: Lengths) -> Lengths:
    return Lengths(a.input + b.input, a.target + b.target)
