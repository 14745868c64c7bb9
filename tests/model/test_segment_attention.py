"""Attention segment by segment equals attention under a mask, in value and in gradient."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from flan.data.packing import Ints, pack_batch
from flan.data.tokens import Tokens
from flan.data.window import Lengths
from flan.model.attention import NAME, attend_in_segments, segment_attention, takes_bounds
from flan.model.load import Architecture, Model
from flan.model.masks import block_causal_mask, block_mask, forward, to_tensors
from flan.model.segments import ROOM, causal_bounds, mutual_bounds
from tests.kit.models import tiny_model, tiny_network

CPU = torch.device("cpu")


class Layer(nn.Module):
    """What an attention function is told about the layer that calls it."""

    is_causal = True

    def __init__(self, repeats: int) -> None:
        super().__init__()
        self.num_key_value_groups = repeats


def some_segments(lengths: list[list[int]], L: int) -> Ints:
    """(B, L): segments of these lengths in each pack, then padding."""
    segments = np.zeros((len(lengths), L), np.int32)
    for row, each in enumerate(lengths):
        for n, (start, end) in enumerate(pairwise(np.cumsum([0, *each])), start=1):
            segments[row, start:end] = n
    return segments


def inputs(B: int, Q: int, K: int, *, heads: int, shared: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(B * Q + K)
    shapes = [(B, heads, Q, 8), (B, shared, K, 8), (B, shared, K, 8)]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def attended(tensors: list[Tensor], mask: Tensor, **options: Any) -> list[Tensor]:
    """Output and gradients."""
    repeats = tensors[0].shape[1] // tensors[1].shape[1]
    output, _ = segment_attention(Layer(repeats), *tensors, mask, **options)
    gradients = torch.autograd.grad((output * torch.arange(output.shape[-1])).sum(), tensors)
    return [output, *gradients]


def test_bounds_count_through_packs_and_cover_padding() -> None:
    """Offsets of segments, pack after pack, padding last; the rest repeats the end."""
    bounds = causal_bounds(np.array([[1, 1, 2, 2, 2], [1, 0, 0, 0, 0]], np.int32))

    assert bounds.shape == (1, 1, 1, ROOM + 1)
    assert bounds.dtype == np.int32
    assert bounds[0, 0, 0, :5].tolist() == [0, 2, 5, 6, 10]
    assert (bounds[0, 0, 0, 5:] == 10).all()


def test_segments_of_queries_and_keys_stay_together() -> None:
    """Where one side has no padding, the other's stands against nothing."""
    bounds = mutual_bounds(np.array([[1, 2, 0, 0]], np.int32), np.array([[1, 1, 1, 2]], np.int32))

    assert bounds[0, 0, :, :4].tolist() == [[0, 1, 2, 4], [0, 3, 4, 4]]


@settings(max_examples=20)
@given(
    lengths=st.lists(st.lists(st.integers(1, 9), max_size=4), min_size=1, max_size=3),
    repeats=st.sampled_from([1, 2]),
)
def test_causal_segments_equal_the_mask(lengths: list[list[int]], repeats: int) -> None:
    """Any packs, empty ones too, with as many heads of keys as of queries or fewer; padding aside."""
    segments = some_segments(lengths, 40)
    tensors = inputs(len(lengths), 40, 40, heads=4, shared=4 // repeats)

    found = attended(tensors, torch.from_numpy(causal_bounds(segments)))

    expected = attended(tensors, block_causal_mask(torch.from_numpy(segments)))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("with_bias", [False, True])
def test_cross_segments_equal_the_mask(with_bias: bool) -> None:
    """Queries read all keys of their segment, with and without a bias that has a gradient."""
    queries, keys = some_segments([[2, 3], [4]], 7), some_segments([[5, 1], [6]], 6)
    tensors = inputs(2, 7, 6, heads=2, shared=2)
    options = {"position_bias": torch.zeros(1, 2, 7, 6)} if with_bias else {}

    found = attended(tensors, torch.from_numpy(mutual_bounds(queries, keys)), **options)

    mask = block_mask(*(torch.from_numpy(each) for each in (queries, keys)))
    # Padding of the first pack stands against nothing: its rows of the mask are empty.
    expected = attended(tensors, mask | (torch.from_numpy(queries) == 0)[:, None, :, None], **options)
    counts = torch.from_numpy(queries) > 0
    torch.testing.assert_close(found[0][counts], expected[0][counts], atol=1e-5, rtol=1e-5)
    assert (found[0][0, 5:] == 0).all()


def test_dropout_drops_within_segments() -> None:
    """With dropout the same places are read, fewer of them; equal seeds drop the same."""
    segments = some_segments([[6, 9]], 16)
    bounds, tensors = torch.from_numpy(causal_bounds(segments)), inputs(1, 16, 16, heads=2, shared=2)
    outputs = []
    for _ in range(2):
        torch.manual_seed(5)
        outputs.append(attended(tensors, bounds, dropout=0.5))
    whole = attended(tensors, bounds)

    for a, b, c in zip(*outputs, whole, strict=True):
        assert torch.equal(a, b)
        assert not torch.allclose(a, c)
    edited = [each.detach().index_fill(2, torch.arange(6), 3.0).requires_grad_() for each in tensors]
    torch.manual_seed(5)
    assert torch.equal(attended(edited, bounds, dropout=0.5)[0][:, 6:], outputs[0][0][:, 6:])


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_network_learns_the_same_as_under_masks(
    architecture: Architecture, checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every weight's gradient, relative position biases too, with activations kept or computed again."""
    model = tiny_model(architecture)
    model.network.train()
    if checkpointing:
        model.network.activation_checkpointing_enable()
    found = gradients(model)
    assert model.network.config._attn_implementation == NAME
    monkeypatch.setattr("flan.model.masks.takes_bounds", lambda *_: False)

    for name, gradient in gradients(model).items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def gradients(model: Model) -> dict[str, Tensor]:
    contract = model.card.contract
    lengths = Lengths(80, 0) if contract.architecture == "decoder" else Lengths(60, 25)
    examples = [
        Tokens(np.arange(3, 3 + n, dtype=np.int32), np.arange(9, 9 + m, dtype=np.int32))
        for n, m in ((30, 4), (11, 9), (14, 2))
    ]
    batch = to_tensors(pack_batch([examples, examples[:1]], lengths, contract))
    logits_BLV = forward(model.network, batch)
    (logits_BLV.log_softmax(-1)[..., 5] * batch["loss_weights"]).sum().backward()
    found = {n: w.grad.clone() for n, w in model.network.named_parameters() if w.grad is not None}
    model.network.zero_grad()
    return found


def test_heads_that_share_keys_work_in_a_network() -> None:
    """Grouped-query attention: packed equals unpacked."""
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation="sdpa",
    )  # fmt: skip
    network = LlamaForCausalLM(config).eval()
    ids = torch.arange(3, 19)[None]
    segments = some_segments([[10, 6]], 16)
    positions = torch.cat([torch.arange(10), torch.arange(6)])[None]
    assert takes_bounds(network, CPU)
    with torch.inference_mode():
        bounds = torch.from_numpy(causal_bounds(segments))
        packed = network(input_ids=ids, attention_mask=bounds, position_ids=positions).logits
        alone = network(input_ids=ids[:, 10:]).logits

    torch.testing.assert_close(packed[:, 10:], alone, atol=1e-5, rtol=0)


def test_an_attention_of_ones_own_is_left_alone() -> None:
    """A network whose attention is not PyTorch's gets masks."""
    network = tiny_network("decoder")
    network.set_attn_implementation("eager")

    assert not attend_in_segments(network)
    assert not takes_bounds(network, CPU)
    assert network.config._attn_implementation == "eager"


def test_an_export_does_not_know_how_it_was_trained(tmp_path: Any) -> None:
    """The name of our attention stands in no file that others load."""
    network = tiny_network("encoder_decoder")
    assert attend_in_segments(network)
    network.save_pretrained(tmp_path)

    assert NAME not in (tmp_path / "config.json").read_text()


def test_the_operator_keeps_its_promises() -> None:
    """Shapes, strides and gradients are what a compiler has been told."""
    segments = some_segments([[3, 5], [4]], 9)
    tensors = inputs(2, 9, 9, heads=4, shared=2)
    bounds = torch.from_numpy(causal_bounds(segments))

    torch.library.opcheck(
        torch.ops.flan.segment_attention.default,
        (*tensors, bounds, 0.3),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
