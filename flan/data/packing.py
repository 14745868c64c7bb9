"""Examples → packs: several examples in one sequence, each a segment of its own.

Which examples share a pack is for `flan.data.window`; how a pack becomes arrays is decided here, for decoder-only
and encoder-decoder models. Pure: no clock, no random number.

Legend: B packs, L positions; Li and Lt are L of the encoder and of the decoder.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flan.card import Contract
from flan.data.tokens import Tokens
from flan.data.window import Lengths
from flan.spec import TuneSpec

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


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


def pack_lengths(contract: Contract, spec: TuneSpec) -> Lengths:
    """Lengths of a pack. What a spec leaves open is shared out as its longest input and target are to each other."""
    length, target = spec.packed_length, spec.pack_target_length
    if contract.architecture == "decoder":
        return Lengths(length, 0)
    if target == "auto":
        target = length * spec.target_length // (spec.input_length + spec.target_length)
    return Lengths(length - target, target)


def size(contract: Contract, tokens: Tokens) -> Lengths:
    """What an example takes of a pack."""
    num_input, num_target = len(tokens.input_ids), len(tokens.target_ids)
    return (
        Lengths(num_input + num_target, 0)
        if contract.architecture == "decoder"
        else Lengths(num_input, num_target)
    )


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
