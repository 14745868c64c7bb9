"""Invariant 1: packed equals unpacked, for both architectures."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flan.data.packing import PackedBatch, pack_batch
from flan.data.tokens import Tokens
from flan.data.window import Lengths
from flan.model.load import Architecture, Model
from flan.model.masks import (
    block_causal_mask,
    encoder_decoder_masks,
    forward,
    to_tensors,
)
from tests.kit.models import TINY_VOCABULARY, tiny_model
from tests.model.naive import target_logprobs

ARCHITECTURES: tuple[Architecture, ...] = ("decoder", "encoder_decoder")
LENGTHS = {"decoder": Lengths(96, 0), "encoder_decoder": Lengths(72, 24)}
BOUND = 1e-5
"""Nats, per token, in fp32; a leak between segments shows as 1e-2 and more."""


@cache
def model(architecture: Architecture) -> Model:
    return tiny_model(architecture)


def some_tokens(seed: int, num_input: int, num_target: int) -> Tokens:
    generator = np.random.default_rng(seed)
    return Tokens(
        generator.integers(2, TINY_VOCABULARY, num_input, dtype=np.int32),
        np.r_[generator.integers(2, TINY_VOCABULARY, num_target - 1, dtype=np.int32), np.int32(1)],
    )


def packed(architecture: Architecture, packs: list[list[Tokens]]) -> PackedBatch:
    return pack_batch(packs, LENGTHS[architecture], model(architecture).card.contract)


@torch.inference_mode()
def target_logprobs_of(
    architecture: Architecture, packs: list[list[Tokens]]
) -> tuple[Tensor, dict[str, Tensor]]:
    batch = to_tensors(packed(architecture, packs))
    logits_BLV = forward(model(architecture).network, batch)
    return logits_BLV.log_softmax(-1).gather(-1, batch["target_ids"][..., None])[..., 0], batch


def test_a_place_reads_what_precedes_it_in_its_segment_and_nothing_else() -> None:
    """The block-diagonal causal mask, place by place; padding reads padding."""
    mask = block_causal_mask(torch.tensor([[1, 1, 2, 2, 0]]))

    assert mask.shape == (1, 1, 5, 5)
    assert mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]


def test_decoder_segment_reads_its_own_encoder_segment() -> None:
    """The three masks of an encoder-decoder; the decoder's padding reads all, so no row is empty."""
    masks = encoder_decoder_masks(torch.tensor([[1, 2, 2]]), torch.tensor([[1, 1, 2, 0]]))

    assert masks.encoder[0, 0].int().tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 1]]
    assert masks.decoder[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert masks.cross[0, 0].int().tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@settings(max_examples=15)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 16), st.integers(1, 6)), min_size=1, max_size=4),
    seed=st.integers(0, 999),
)
def test_packed_equals_unpacked(architecture: Architecture, shapes: list[tuple[int, int]], seed: int) -> None:
    """Every target token of a pack has the log-probability it has when its example is read alone."""
    examples = [some_tokens(seed + i, *shape) for i, shape in enumerate(shapes)]

    # Two packs: the second has its examples the other way round, so every place differs.
    found_BL, batch = target_logprobs_of(architecture, [examples, examples[::-1]])

    for row, order in enumerate([examples, examples[::-1]]):
        alone = torch.cat([target_logprobs(model(architecture), *example) for example in order])
        in_pack = found_BL[row][batch["loss_weights"][row] > 0]
        torch.testing.assert_close(in_pack, alone, atol=BOUND, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_editing_one_example_changes_no_other(architecture: Architecture) -> None:
    """Not a bit of an example's logits depends on its neighbours in the pack."""
    first, second, third = (some_tokens(i, 12, 4) for i in range(3))
    other = some_tokens(99, 12, 4)
    segments = "segment_ids" if architecture == "decoder" else "decoder_segment_ids"

    before_BL, batch = target_logprobs_of(architecture, [[first, second, third]])
    after_BL, _ = target_logprobs_of(architecture, [[first, other, third]])

    # Values at places that predict nothing belong to nobody.
    counts = batch["loss_weights"] > 0
    untouched = counts & (batch[segments] != 2)
    assert torch.equal(before_BL[untouched], after_BL[untouched])
    assert not torch.equal(
        before_BL[counts & (batch[segments] == 2)], after_BL[counts & (batch[segments] == 2)]
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_empty_pack_is_finite_and_its_gradient_is_zero(architecture: Architecture) -> None:
    """A rank that is short of packs sends padding through the network: no NaN reaches the weights."""
    network = tiny_model(architecture).network
    batch = to_tensors(packed(architecture, [[], [some_tokens(1, 8, 3)]]))
    logits_BLV = forward(network, batch)

    (logits_BLV[0] * batch["loss_weights"][0][:, None]).sum().backward()

    assert torch.isfinite(logits_BLV).all()
    assert all(w.grad is None or (w.grad == 0).all() for w in network.parameters())
