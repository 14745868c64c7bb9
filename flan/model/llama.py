"""The forward pass of a Llama on a CPU, without what transformers' modules spend between its matrices.

    # N tokens of a pass, U of them whose logits are wanted, V vocabulary, D hidden size, H heads, G heads of keys and
    # values, K width of a head, F width of the feed-forward layer; R, S rows: N, U and what fills them up

Matrices that read the same are one (queries, keys and values; gate and value of the feed-forward layer): the network's
own weights become views of it, so they are in memory once and its own forward pass is what it was. In bf16 oneDNN wants
matrices in an order of its own and would bring them into it at every call; unless they are large, they are kept in it
too. Where bf16 has no matrix unit (x86 without AMX) fp32 multiplies many rows in half the time: matrices are then kept
in fp32 as well, unless they are large, and the products rounded to bf16 as oneDNN does. What lies between the matrices
is compiled (`layers.c`) and rounds where transformers' operations round.

oneDNN also writes code of its own for every number of rows, half a megabyte for each matrix, and keeps what it wrote
last: rows are filled up to few numbers, so that all the code there will ever be is soon there. After the last layer's
keys and values only the tokens whose logits are wanted go on.
"""

import ctypes
import platform
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
COPIED_BYTES = 2**30
"""For the matrices again, in oneDNN's order, and in fp32: what does not fit into so much is not kept."""
ROWS = 16
"""oneDNN's order is the best one for about so many tokens, and nearly so for others."""
MANY_ROWS = 40
"""From so many on, fp32 is the faster one where bf16 has no matrix unit; measured on matrices of 512 to 2,730."""
FEW_NUMBERS = 2**17
"""For fewer, another thread is not worth starting."""
NUMBERS_OF_ROWS = 8
"""In each doubling: 8, 9, … 15, 16, 18, … 30, 32, 36, …"""


class _Work(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("input", "added", "first", "second", "output", "keys")),
        *(
            (name, ctypes.c_int64)
            for name in ("rows", "input_width", "width", "heads", "key_heads", "is_half", "num_threads")
        ),
        ("epsilon", ctypes.c_float),
    )


class _Copies(NamedTuple):
    """In which other ways matrices are kept."""

    is_packed: bool
    is_wide: bool

    @staticmethod
    def of(network: PreTrainedModel) -> "_Copies":
        size = sum(module.weight.nbytes for module in network.modules() if isinstance(module, nn.Linear))
        has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        is_packed = network.dtype == torch.bfloat16 and has_onednn and size <= COPIED_BYTES
        is_x86 = platform.machine().lower() in ("x86_64", "amd64")
        has_matrix_unit = not is_x86 or torch.cpu._is_amx_tile_supported()
        return _Copies(is_packed, is_packed and not has_matrix_unit and 3 * size <= COPIED_BYTES)


class _Matrix:
    """A matrix and its bias, ready to be multiplied with."""

    def __init__(self, weight: Tensor, bias: Tensor | None, copies: _Copies) -> None:
        self._weight, self._bias = weight, bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS) if copies.is_packed else None
        self._wide = (weight.float(), None if bias is None else bias.float()) if copies.is_wide else None

    def __call__(self, hidden_ND: Tensor) -> Tensor:
        if self._wide is not None and len(hidden_ND) >= MANY_ROWS:
            return linear(hidden_ND.float(), *self._wide).to(hidden_ND.dtype)
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
        self._copies = _Copies.of(network)
        # Also where the caller is in inference mode: tensors made there are of no use to the network elsewhere.
        with torch.inference_mode(mode=False), torch.no_grad():
            self._layers = [_layer_of(layer, self._copies) for layer in body.layers]
            self._head = _joined(network.lm_head, copies=self._copies)
        self._cosines, self._sines = self._turns_until(256)

    def __call__(self, one: Pass) -> Tensor:
        """The logits that the pass wants, (U, V), in the network's precision."""
        positions_N = torch.tensor(one.positions)
        if (longest := max(one.positions)) >= len(self._cosines):
            self._cosines, self._sines = self._turns_until(2 * longest)
        turns_NK = self._cosines[positions_N], self._sines[positions_N]
        hidden_RD: Tensor = self._embed(torch.tensor(self._filled(one.token_ids)))
        added_RD: Tensor | None = None
        for layer in self._layers[:-1]:
            joined_R = layer.queries_keys_values(self._norm(hidden_RD, added_RD, layer.before_attention))
            queries, keys, values = self._turned(joined_R, *turns_NK)
            attended_RD = self._rows_of(one.attend(queries, keys, values, self._width**-0.5), like=joined_R)
            added_RD = self._after_attention(layer, hidden_RD, attended_RD)
        layer = self._layers[-1]
        joined_R = layer.queries_keys_values(self._norm(hidden_RD, added_RD, layer.before_attention))
        queries, keys, values = self._turned(joined_R, *turns_NK)
        wanted_U = torch.tensor(one.wanted, dtype=torch.long)
        found = one.attend_wanted(queries[:, :, wanted_U], keys, values, self._width**-0.5)
        if not one.wanted:
            return hidden_RD.new_empty(0, self._network.config.vocab_size)
        hidden_SD = hidden_RD[torch.tensor(self._filled(one.wanted))]
        added_SD = self._after_attention(layer, hidden_SD, self._rows_of(found, like=joined_R))
        return self._head(self._norm(hidden_SD, added_SD, self._end.weight))[: len(wanted_U)]

    def warm_up(self, most: int, most_wanted: int) -> None:
        """Have the code written that passes of so many tokens need: else they wait for it, and memory grows."""
        # What is not packed is large, and would take minutes.
        numbers = range(1, most + 1) if self._copies.is_packed else ()
        for rows in sorted({self._num_rows(number) for number in numbers if not self._is_wide(number)}):
            hidden_RD = self._end.weight.new_zeros(rows, len(self._end.weight))
            # Layers are alike, and so is their code.
            joined_R = self._layers[-1].queries_keys_values(hidden_RD)
            attended_RD = joined_R[:, : self._heads * self._width].contiguous()
            self._after_attention(self._layers[-1], hidden_RD, attended_RD)
            if rows <= self._num_rows(most_wanted):
                self._head(hidden_RD)

    def _turned(
        self, joined_R: Tensor, cosines_NK: Tensor, sines_NK: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values as attention takes them: (1, H or G, N, K)."""
        heads, key_heads, width = self._heads, self._key_heads, self._width
        joined_N = joined_R[: len(cosines_NK)]
        num_tokens = len(joined_N)
        queries_NHK = torch.empty(num_tokens, heads, width)
        keys_NGK = joined_N.new_empty(num_tokens, key_heads, width)
        values_NGK = joined_N[:, (heads + key_heads) * width :].view(num_tokens, key_heads, width)
        self._run(
            "rotate", joined_N, queries_NHK, width,
            first=cosines_NK, second=sines_NK, keys=keys_NGK, heads=(heads, key_heads),
        )  # fmt: skip
        queries, keys, values = (each.transpose(0, 1)[None] for each in (queries_NHK, keys_NGK, values_NGK))
        return queries, keys, values

    def _after_attention(self, layer: _Layer, hidden_RD: Tensor, attended_RD: Tensor) -> Tensor:
        """What the rest of a layer adds, once `hidden_RD` has what attention adds to it, in place."""
        normed_RD = self._norm(hidden_RD, layer.attended(attended_RD), layer.before_feed_forward)
        return layer.back(self._gate(layer.gates_values(normed_RD)))

    def _filled(self, numbers: list[int]) -> list[int]:
        """`numbers`, with zeros where oneDNN is to have more rows."""
        return [*numbers, *[0] * (self._num_rows(len(numbers)) - len(numbers))]

    def _rows_of(self, found: Tensor, *, like: Tensor) -> Tensor:
        """What attention found, (1, N, H, K), with zeros below: as many rows as it is to have."""
        num_tokens = found.shape[1]
        rows_RD = like.new_zeros(self._num_rows(num_tokens), self._heads * self._width)
        rows_RD[:num_tokens] = found.view(num_tokens, -1)
        return rows_RD

    def _num_rows(self, number: int) -> int:
        """In how many rows so many tokens are computed."""
        return num_rows(number) if self._is_half and not self._is_wide(number) else number

    def _is_wide(self, number: int) -> bool:
        """Whether so many tokens are computed in fp32, whose code is the same for every number of rows."""
        return self._copies.is_wide and number >= MANY_ROWS

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


def num_rows(number: int) -> int:
    """The rows in which so many tokens are computed: at least as many, at most an eighth more."""
    step = 1 << max(0, number.bit_length() - NUMBERS_OF_ROWS.bit_length())
    return -(-number // step) * step


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


def _layer_of(layer: Any, copies: _Copies) -> _Layer:
    attention, feed_forward = layer.self_attn, layer.mlp
    join = partial(_joined, copies=copies)
    return _Layer(
        layer.input_layernorm.weight.data,
        join(attention.q_proj, attention.k_proj, attention.v_proj),
        join(attention.o_proj),
        layer.post_attention_layernorm.weight.data,
        join(feed_forward.gate_proj, feed_forward.up_proj),
        join(feed_forward.down_proj),
    )


def _joined(*matrices: nn.Linear, copies: _Copies) -> _Matrix:
    """One matrix of several, which become views of it."""
    first = matrices[0]
    if len(matrices) == 1:
        return _Matrix(first.weight.data, None if first.bias is None else first.bias.data, copies)
    weight = torch.cat([matrix.weight.data for matrix in matrices])
    for matrix, part in zip(
        matrices, torch.split(weight, [len(each.weight) for each in matrices]), strict=True
    ):
        matrix.weight = nn.Parameter(part, requires_grad=False)
    biases = [matrix.bias.data for matrix in matrices if matrix.bias is not None]
    return _Matrix(weight, torch.cat(biases) if biases else None, copies)
