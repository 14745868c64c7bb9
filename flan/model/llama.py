"""The forward pass of a Llama on a CPU, without what transformers' modules spend between its matrices.

    # N tokens of a pass, U of them whose logits are wanted, V vocabulary, D hidden size, H heads, G heads of keys and
    # values, K width of a head, F width of the feed-forward layer

Matrices that read the same are one (queries, keys and values; gate and value of the feed-forward layer): the network's
own weights become views of it, so they are in memory once and its own forward pass is what it was. In bf16 oneDNN wants
matrices in an order of its own and would bring them into it at every call; unless they are large, they are kept in it
too. What lies between the matrices is compiled (`layers.c`) and rounds where transformers' operations round.
"""

import ctypes
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from flan.model.kernel import is_available, library
from flan.model.keys import Pass

ALIKE = frozenset({"llama", "mistral", "qwen2"})
"""Families whose layers are these; they differ in biases and in windows, which the context length keeps within."""
FIXED_TURNS = frozenset({"default", "linear", "llama3"})
"""Kinds of rotary position embedding that depend on nothing but the position."""
PACKED_BYTES = 2**30
"""Matrices of more than this in all are not kept in oneDNN's order: that is a second copy."""
ROWS = 16
"""oneDNN's order is the best one for about so many tokens, and nearly so for others."""
FEW_NUMBERS = 2**17
"""For fewer, another thread is not worth starting."""


class _Work(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("input", "added", "first", "second", "output", "keys")),
        *(
            (name, ctypes.c_int64)
            for name in ("rows", "input_width", "width", "heads", "key_heads", "is_half", "num_threads")
        ),
        ("epsilon", ctypes.c_float),
    )


class _Matrix:
    """A matrix and its bias, ready to be multiplied with."""

    def __init__(self, weight: Tensor, bias: Tensor | None, *, is_packed: bool) -> None:
        self._weight, self._bias = weight, bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS) if is_packed else None

    def __call__(self, hidden_ND: Tensor) -> Tensor:
        if self._packed is None:
            return linear(hidden_ND, self._weight, self._bias)
        found: Tensor = torch.ops.mkldnn._linear_pointwise(
            hidden_ND, self._packed, self._bias, "none", [], ""
        )
        return found


class _Layer(NamedTuple):
    before_attention: Tensor
    queries_keys_values: _Matrix
    attended: _Matrix
    before_feed_forward: Tensor
    gates_values: _Matrix
    back: _Matrix


class LlamaForward:
    """Runs a Llama's layers. One thread only."""

    def __init__(self, network: PreTrainedModel) -> None:
        """Raises AssertionError where `is_llama` says no."""
        assert is_llama(network)
        body, config = network.model, network.config
        found = library()
        assert found is not None
        self._library, self._network = found, network
        self._embed, self._turns, self._end = body.embed_tokens, body.rotary_emb, body.norm
        self._heads, self._key_heads = config.num_attention_heads, config.num_key_value_heads
        self._width = int(
            getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        )
        self._is_half = network.dtype == torch.bfloat16
        size = sum(module.weight.nbytes for module in network.modules() if isinstance(module, nn.Linear))
        has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        is_packed = self._is_half and has_onednn and size <= PACKED_BYTES
        # Also where the caller is in inference mode: tensors made there are of no use to the network elsewhere.
        with torch.inference_mode(mode=False), torch.no_grad():
            self._layers = [_layer_of(layer, is_packed=is_packed) for layer in body.layers]
            self._head = _joined(network.lm_head, is_packed=is_packed)
        self._cosines, self._sines = self._turns_until(256)

    def __call__(self, one: Pass) -> Tensor:
        """The logits that the pass wants, (U, V), in the network's precision."""
        positions_N = torch.tensor(one.positions)
        if (longest := max(one.positions)) >= len(self._cosines):
            self._cosines, self._sines = self._turns_until(2 * longest)
        cosines_NK, sines_NK = self._cosines[positions_N], self._sines[positions_N]
        hidden_ND: Tensor = self._embed(torch.tensor([one.token_ids]))[0].contiguous()
        added_ND: Tensor | None = None
        for layer in self._layers:
            normed_ND = self._norm(hidden_ND, added_ND, layer.before_attention)
            attended_ND = self._attend(one, layer.queries_keys_values(normed_ND), cosines_NK, sines_NK)
            added_ND = layer.attended(attended_ND)
            normed_ND = self._norm(hidden_ND, added_ND, layer.before_feed_forward)
            added_ND = layer.back(self._gate(layer.gates_values(normed_ND)))
        wanted_U = torch.tensor(one.wanted, dtype=torch.long)
        assert added_ND is not None
        last_UD = self._norm(hidden_ND[wanted_U], added_ND[wanted_U], self._end.weight)
        return self._head(last_UD)

    def _attend(self, one: Pass, joined_N: Tensor, cosines_NK: Tensor, sines_NK: Tensor) -> Tensor:
        heads, key_heads, width = self._heads, self._key_heads, self._width
        num_tokens = len(joined_N)
        queries_NHK = torch.empty(num_tokens, heads, width)
        keys_NGK = joined_N.new_empty(num_tokens, key_heads, width)
        values_NGK = joined_N[:, (heads + key_heads) * width :].view(num_tokens, key_heads, width)
        self._run(
            "rotate", joined_N, queries_NHK, width,
            first=cosines_NK, second=sines_NK, keys=keys_NGK, heads=(heads, key_heads),
        )  # fmt: skip
        found = one.attend(
            queries_NHK.transpose(0, 1)[None],
            keys_NGK.transpose(0, 1)[None],
            values_NGK.transpose(0, 1)[None],
            width**-0.5,
        )
        return found.view(num_tokens, heads * width).to(joined_N.dtype)

    def _norm(self, hidden_ND: Tensor, added_ND: Tensor | None, weight_D: Tensor) -> Tensor:
        """Add to `hidden_ND`, in place; then what `weight_D` makes of it at length 1."""
        output_ND = torch.empty_like(hidden_ND)
        self._run("norm", hidden_ND, output_ND, hidden_ND.shape[1], added=added_ND, first=weight_D)
        return output_ND

    def _gate(self, joined_N2F: Tensor) -> Tensor:
        width = joined_N2F.shape[1] // 2
        output_NF = joined_N2F.new_empty(len(joined_N2F), width)
        self._run("gate", joined_N2F, output_NF, width)
        return output_NF

    def _run(
        self,
        name: str,
        given: Tensor,
        output: Tensor,
        width: int,
        *,
        added: Tensor | None = None,
        first: Tensor | None = None,
        second: Tensor | None = None,
        keys: Tensor | None = None,
        heads: tuple[int, int] = (0, 0),
    ) -> None:
        assert given.is_contiguous() and (added is None or added.is_contiguous())
        num_threads = torch.get_num_threads() if given.numel() > FEW_NUMBERS else 1
        addresses = (None if tensor is None else tensor.data_ptr() for tensor in (added, first, second))
        work = _Work(
            given.data_ptr(), *addresses, output.data_ptr(), None if keys is None else keys.data_ptr(),
            *given.shape, width, *heads, self._is_half, num_threads, self._end.variance_epsilon,
        )  # fmt: skip
        getattr(self._library, name)(ctypes.byref(work))

    def _turns_until(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the first positions."""
        like = torch.zeros(1, dtype=self._network.dtype)
        cosines_1NK, sines_1NK = self._turns(like, torch.arange(length)[None])
        return cosines_1NK[0].contiguous(), sines_1NK[0].contiguous()


def is_llama(network: PreTrainedModel) -> bool:
    """Whether, where it is, `network` can be run this way."""
    config = network.config
    if config.model_type not in ALIKE or not is_available(network.dtype, network.device):
        return False
    turns = getattr(network.model.rotary_emb, "rope_type", None)
    matrices = [
        module
        for layer in network.model.layers
        for part in (layer.self_attn, layer.mlp)
        for name, module in part.named_children()
        if name.endswith("proj")
    ]
    return (
        config.hidden_act == "silu"
        and turns in FIXED_TURNS
        and type(network.lm_head) is nn.Linear
        and all(type(module) is nn.Linear for module in matrices)
    )


def _layer_of(layer: Any, *, is_packed: bool) -> _Layer:
    attention, feed_forward = layer.self_attn, layer.mlp
    join = partial(_joined, is_packed=is_packed)
    return _Layer(
        layer.input_layernorm.weight.data,
        join(attention.q_proj, attention.k_proj, attention.v_proj),
        join(attention.o_proj),
        layer.post_attention_layernorm.weight.data,
        join(feed_forward.gate_proj, feed_forward.up_proj),
        join(feed_forward.down_proj),
    )


def _joined(*matrices: nn.Linear, is_packed: bool) -> _Matrix:
    """One matrix of several, which become views of it."""
    first = matrices[0]
    if len(matrices) == 1:
        return _Matrix(
            first.weight.data, None if first.bias is None else first.bias.data, is_packed=is_packed
        )
    weight = torch.cat([matrix.weight.data for matrix in matrices])
    for matrix, part in zip(
        matrices, torch.split(weight, [len(each.weight) for each in matrices]), strict=True
    ):
        matrix.weight = nn.Parameter(part, requires_grad=False)
    biases = [matrix.bias.data for matrix in matrices if matrix.bias is not None]
    return _Matrix(weight, torch.cat(biases) if biases else None, is_packed=is_packed)
