"""Packs hold every example whole and once; arrays say exactly which token predicts which."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.card import Contract
from flan.data.packing import (
    PackedDecoder,
    PackedEncoderDecoder,
    pack_batch,
    select,
    size,
)
from flan.data.tokens import Tokens
from flan.data.window import Lengths, Pack
from tests.data.packs import take_all

START, END = 7, 1
CONTRACTS = {
    name: Contract(
        architecture=name, tokenizer="0" * 64, prefix_ids=(START,), separator_ids=(END,), end_ids=(END,)
    )
    for name in ("decoder", "encoder_decoder")
}
IDS = st.lists(st.integers(0, 50_000), min_size=1, max_size=12)
EXAMPLES = st.lists(st.builds(lambda a, b: tokens(a, b), IDS, IDS), min_size=1, max_size=60)


def tokens(input_ids: list[int], target_ids: list[int]) -> Tokens:
    return Tokens(np.array([*input_ids, END], np.int32), np.array([*target_ids, END], np.int32))


def pack_all(examples: list[Tokens], lengths: Lengths, contract: Contract) -> list[Pack]:
    """Every pack, to the last example."""
    return [pack for _, pack in take_all((size(contract, each) for each in examples), lengths)]


def batch_of(examples: list[Tokens], architecture: str, lengths: Lengths):
    contract = CONTRACTS[architecture]
    packs = pack_all(examples, lengths, contract)
    order = [i for pack in packs for i in pack.examples]
    return pack_batch([[examples[i] for i in pack.examples] for pack in packs], lengths, contract), order


@given(EXAMPLES, st.sampled_from([*CONTRACTS]), st.integers(26, 64))
def test_every_example_is_in_exactly_one_pack(examples: list[Tokens], architecture: str, length: int) -> None:
    """None lost, doubled or split; no pack is fuller than it is long."""
    lengths = Lengths(length, 0) if architecture == "decoder" else Lengths(length, length // 2)
    packs = pack_all(examples, lengths, CONTRACTS[architecture])
    sizes = [size(CONTRACTS[architecture], example) for example in examples]

    assert sorted(i for pack in packs for i in pack.examples) == list(range(len(examples)))
    for pack in packs:
        used = Lengths(*map(sum, zip(*(sizes[i] for i in pack.examples), strict=True)))
        assert used == pack.used
        assert used.input <= lengths.input and used.target <= lengths.target


@given(EXAMPLES)
def test_decoder_predicts_each_target_and_its_end_and_nothing_else(examples: list[Tokens]) -> None:
    """By position: the weighted target ids of a segment are its target with EOS, after input + target so far."""
    batch, order = batch_of(examples, "decoder", Lengths(40, 0))
    assert isinstance(batch, PackedDecoder)
    segments = [
        (row, s) for row in range(len(batch.token_ids)) for s in range(1, batch.segment_ids[row].max() + 1)
    ]

    assert len(segments) == len(order)
    for (row, segment), example in zip(segments, (examples[i] for i in order), strict=True):
        places = np.flatnonzero(batch.segment_ids[row] == segment)
        ids = np.concatenate(example)
        weighted = places[batch.loss_weights[row, places] == 1]
        assert places.tolist() == list(range(places[0], places[0] + len(ids)))
        assert batch.positions[row, places].tolist() == list(range(len(ids)))
        assert batch.token_ids[row, places].tolist() == ids.tolist()
        assert batch.target_ids[row, weighted].tolist() == example.target_ids.tolist()
        assert batch.positions[row, weighted].tolist() == list(
            range(len(example.input_ids) - 1, len(ids) - 1)
        )
    assert batch.loss_weights.sum() == sum(len(example.target_ids) for example in examples)
    assert set(np.unique(batch.loss_weights)) <= {0.0, 1.0}
    assert not batch.loss_weights[batch.segment_ids == 0].any()


@given(EXAMPLES)
def test_encoder_decoder_starts_each_target_anew(examples: list[Tokens]) -> None:
    """The decoder reads start + target without its last, and predicts the target; segments match up."""
    batch, order = batch_of(examples, "encoder_decoder", Lengths(30, 16))
    assert isinstance(batch, PackedEncoderDecoder)
    segments = [
        (row, s)
        for row in range(len(batch.encoder_ids))
        for s in range(1, batch.encoder_segment_ids[row].max() + 1)
    ]

    assert len(segments) == len(order)
    for (row, segment), example in zip(segments, (examples[i] for i in order), strict=True):
        read = np.flatnonzero(batch.encoder_segment_ids[row] == segment)
        written = np.flatnonzero(batch.decoder_segment_ids[row] == segment)
        assert batch.encoder_ids[row, read].tolist() == example.input_ids.tolist()
        assert batch.encoder_positions[row, read].tolist() == list(range(len(read)))
        assert batch.decoder_ids[row, written].tolist() == [START, *example.target_ids[:-1].tolist()]
        assert batch.decoder_positions[row, written].tolist() == list(range(len(written)))
        assert batch.target_ids[row, written].tolist() == example.target_ids.tolist()
        assert batch.loss_weights[row, written].tolist() == [1.0] * len(written)
    assert batch.loss_weights.sum() == sum(len(example.target_ids) for example in examples)


@pytest.mark.parametrize("architecture", [*CONTRACTS])
def test_selection_takes_packs_and_makes_empty_ones(architecture: str) -> None:
    """An empty pack has no segment and no weight; others are copied as they are, types included."""
    examples = [tokens([i] * 8, [i] * 8) for i in range(1, 9)]
    batch, _ = batch_of(
        examples, architecture, Lengths(20, 12) if architecture != "decoder" else Lengths(20, 0)
    )
    chosen = select(batch, [2, -1])

    for array, taken in zip(batch, chosen, strict=True):
        assert taken.dtype == array.dtype
        assert np.array_equal(taken[0], array[2])
        assert not taken[1].any()


def test_padding_that_is_the_end_token_is_told_from_it_by_place() -> None:
    """pad = eos: every target still ends in a learnt end token, and no padding carries loss."""
    contract = CONTRACTS["decoder"]
    examples = [Tokens(np.array([7, 8, END], np.int32), np.array([9, END], np.int32))]
    batch = pack_batch([examples], Lengths(9, 0), contract)
    assert isinstance(batch, PackedDecoder)
    padded = batch._replace(token_ids=np.where(batch.segment_ids == 0, END, batch.token_ids))

    assert padded.target_ids[0][padded.loss_weights[0] == 1].tolist() == [9, END]
    assert not padded.loss_weights[padded.segment_ids == 0].any()
