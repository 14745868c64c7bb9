"""The lean forward pass of a Llama gives what transformers' gives."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from flan.model.keys import Feed
from flan.model.llama import LlamaForward, is_llama, num_rows
from flan.model.load import Model
from flan.model.passes import Passes
from flan.model.regions import NOTHING
from tests.serve.lively import lively_model

SHAPE = {
    "vocab_size": 300, "hidden_size": 48, "intermediate_size": 70, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 2_048,
}  # fmt: skip
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "llama with biases": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=None)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, use_sliding_window=False)),
}


def _lively(network: PreTrainedModel, dtype: torch.dtype = torch.float32) -> Model:
    """`network` with weights that matter, under the card of another."""
    torch.manual_seed(3)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return lively_model()._replace(network=network.to(dtype).eval())


def _passes(model: Model, *, is_lean: bool) -> list[torch.Tensor]:
    """The logits of a prompt read in two parts, of a longer one beside it, and of a token after each."""
    passes, rng = Passes(model, 2**22), np.random.default_rng(0)
    assert isinstance(passes._lean, LlamaForward)
    passes.warm_up(40, 2)
    passes._lean = passes._lean if is_lean else None
    one, two = (passes.regions.take(700, (), NOTHING) for _ in range(2))
    assert one is not None and two is not None
    first, second = (rng.integers(3, 300, length).astype(np.int32) for length in (40, 600))
    return [
        passes.run([Feed(one, first[:25], 0, 0), Feed(two, second, 0, 3)]),
        passes.run([Feed(one, first[25:], 25, 1), Feed(two, [7], 600, 1)]),
        passes.run([Feed(one, [9], 40, 1), Feed(two, [4], 601, 1)]),
    ]


@pytest.mark.compiler
@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_logits_are_those_of_the_library(family: str) -> None:
    """In parts, beside others and past the first table of positions, for heads that share keys, with biases."""
    model = _lively(FAMILIES[family]())
    expected = _passes(model, is_lean=False)

    for found, own in zip(_passes(model, is_lean=True), expected, strict=True):
        torch.testing.assert_close(found, own, atol=1e-4, rtol=1e-5)


@pytest.mark.compiler
@pytest.mark.parametrize("has_matrix_unit", [True, False])
@torch.inference_mode()
def test_half_precision_rounds_where_the_library_rounds(
    monkeypatch: pytest.MonkeyPatch, has_matrix_unit: bool
) -> None:
    """In bf16 the two differ far less than either differs from fp32: the same numbers are rounded.

    Also where many rows are multiplied in fp32.
    """
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_matrix_unit)
    exact = _passes(_lively(FAMILIES["llama"]()), is_lean=False)
    model = _lively(FAMILIES["llama"](), torch.bfloat16)
    rounded = _passes(model, is_lean=False)
    for lean, own, true in zip(_passes(model, is_lean=True), rounded, exact, strict=True):
        assert (lean - own).square().mean() < 0.1 * (own - true).square().mean()


@given(st.integers(1, 100_000))
def test_rows_are_filled_up_by_little(number: int) -> None:
    """An eighth at most, and only where there are many."""
    assert number <= num_rows(number) <= number * 9 / 8
    assert number >= 16 or num_rows(number) == number


def test_rows_come_in_few_numbers() -> None:
    """oneDNN keeps 1,024 pieces of code, five for each: one for each kind of matrix."""
    assert 5 * len({num_rows(number) for number in range(1, 2_100)}) < 1_024


@pytest.mark.compiler
@torch.inference_mode()
def test_joined_matrices_are_in_memory_once() -> None:
    """The network's own weights are views of them, and its own forward pass stays what it was."""
    model = _lively(FAMILIES["llama"]())
    ids = torch.arange(3, 50)[None]
    before = model.network(input_ids=ids).logits
    Passes(model, 2**22)
    layer = model.network.model.layers[0]
    joined = [
        (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
        (layer.mlp.gate_proj, layer.mlp.up_proj),
    ]

    for parts in joined:
        assert len({part.weight.untyped_storage().data_ptr() for part in parts}) == 1
    assert torch.equal(model.network(input_ids=ids).logits, before)


@pytest.mark.parametrize(
    "change",
    [{"hidden_act": "gelu"}, {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}],
)
def test_what_is_none_is_left_to_the_library(change: dict[str, object]) -> None:
    """Another activation, or turns that depend on more than the position."""
    assert not is_llama(LlamaForCausalLM(LlamaConfig(**SHAPE, **change)))


def test_a_changed_matrix_is_left_to_the_library() -> None:
    """A layer that is more than a matrix is not taken for one."""
    network = LlamaForCausalLM(LlamaConfig(**SHAPE))
    network.model.layers[1].mlp.up_proj = torch.nn.Sequential(network.model.layers[1].mlp.up_proj)

    assert not is_llama(network)
