"""Attention within the segments of packs, without a mask as large as the square of a pack.

    # B packs, L positions, Q queries, K keys, H heads, G heads of keys and values, D width of a head

A mask tells a kernel which scores to throw away once they are computed; at FLAN's lengths that is six of
seven. Here a network is told where segments begin instead (`flan/model/segments.py`), and each is a small
attention of its own. The bounds stand where a mask would: networks hand a mask of four dimensions down to
every layer as it is, to encoder, decoder and cross-attention each its own. Anything that is no bounds is a
mask, and goes to PyTorch's attention as ever.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from flan.model.keys import attend_in_pass, is_pass
from flan.model.segments import Segment, segments_of
from flan.model.trees import attend_at_ends, attend_in_trees, is_trees

NAME = "flan_segments"
"""What the attention is called in the configuration of a network."""


@dataclass(frozen=True)
class EndThere:
    """Stands for a mask: attention is computed under the `mask` in it, and raises Attended.

    Under trees it is computed at their ends alone.
    """

    mask: Tensor | None


class Attended(Exception):  # no error: it ends the call of a layer
    """What attention has found, (B, Q, H, D)."""

    def __init__(self, output: Tensor) -> None:
        super().__init__("attention was asked to end there")
        self.output = output


@dataclass(frozen=True)
class Known:
    """Stands for a mask: attention has been computed, and this is what it found, (B, Q, H, D)."""

    output: Tensor


def attend_in_segments(network: PreTrainedModel) -> bool:
    """Make `network` take bounds for masks, if it can; whether it does.

    It can when its layers leave attention to the function that transformers looks up, and that is PyTorch's.
    """
    parts = [module for module in network.modules() if isinstance(module, PreTrainedModel)]
    if any(part.config._attn_implementation not in ("sdpa", NAME) for part in parts):
        return False
    if not all(part._can_set_attn_implementation() for part in parts):
        return False
    for part in parts:
        part.config._attn_implementation = NAME
    return True


def takes_bounds(network: PreTrainedModel, device: torch.device) -> bool:
    """Whether, here and now, `network` computes attention in segments; else it wants masks.

    On a GPU that is FlashAttention over segments of unequal lengths: half precision, one kind of head, no bias
    and no dropout.
    """
    if not attend_in_segments(network):
        return False
    if device.type == "cpu":
        return True
    config = network.config
    return (
        device.type == "cuda"
        and torch.cuda.get_device_capability(device) >= (8, 0)
        and torch.is_autocast_enabled("cuda")
        and not config.is_encoder_decoder
        and not (network.training and getattr(config, "attention_dropout", 0.0))
    )


def takes_trees(network: PreTrainedModel, device: torch.device) -> bool:
    """Whether, here, `network` takes bounds of trees (`flan/model/trees.py`); else it wants a mask."""
    return device.type == "cpu" and not network.config.is_encoder_decoder and attend_in_segments(network)


def segment_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | EndThere | Known | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of transformers' form: queries (B, H, Q, D), keys and values (B, G, K, D) → (B, Q, H, D).

    `attention_mask` is bounds or a mask, or what stands for one. In segments on a CPU, sums and products are
    fp32 whatever the input is: its kernel is the faster one there, too.
    """
    if isinstance(attention_mask, Known):
        return attention_mask.output, None
    if isinstance(attention_mask, EndThere) and is_trees(attention_mask.mask):
        assert attention_mask.mask is not None
        raise Attended(attend_at_ends(query, key, value, attention_mask.mask, _scale(query, scaling)))
    if isinstance(attention_mask, EndThere):
        output, _ = segment_attention(
            module,
            query,
            key,
            value,
            attention_mask.mask,
            dropout=dropout,
            scaling=scaling,
            position_bias=position_bias,
            **options,
        )
        raise Attended(output)
    if is_pass(attention_mask):
        assert attention_mask is not None
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return attend_in_pass(query, key, value, attention_mask, scale), None
    if is_trees(attention_mask):
        assert attention_mask is not None
        return attend_in_trees(query, key, value, attention_mask, _scale(query, scaling)), None
    if not is_bounds(attention_mask):
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            position_bias=position_bias,
            **options,
        )
    assert attention_mask is not None
    scale = _scale(query, scaling)
    if query.is_cuda:
        return _attend_on_gpu(query, key, value, attention_mask, scale), None
    with torch.autocast(query.device.type, enabled=False):
        query, key, value = query.float(), key.float(), value.float()
        if position_bias is None and dropout == 0:
            output, _ = torch.ops.flan.segment_attention(query, key, value, attention_mask, scale)
        else:
            output = _attend_by_parts(query, key, value, attention_mask, position_bias, dropout, scale)
    return output.transpose(1, 2).contiguous(), None


def _scale(query: Tensor, scaling: float | None) -> float:
    return query.shape[-1] ** -0.5 if scaling is None else scaling


def is_bounds(mask: Tensor | None) -> bool:
    """Whether what stands for a mask says where segments begin."""
    return mask is not None and mask.dtype == torch.int32


def _attend_on_gpu(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, scale: float) -> Tensor:
    """(B, Q, H, D), in the precision of autocast. Offsets stay on the GPU: nothing waits for it."""
    dtype = torch.get_autocast_dtype("cuda")
    B, H, Q, D = query.shape
    queries, keys, values = (each.transpose(1, 2).flatten(0, 1).to(dtype) for each in (query, key, value))
    found = varlen_attn(
        queries,
        keys,
        values,
        bounds[0, 0, 0],
        bounds[0, 0, -1],
        Q,
        key.shape[2],
        scale=scale,
        window_size=(-1, 0) if bounds.shape[2] == 1 else (-1, -1),
        enable_gqa=key.shape[1] != H,
    )
    assert isinstance(found, Tensor)
    return found.view(B, Q, H, D)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # it cannot see through lists of segments
def _attend_by_parts(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor,
    bias_1HQK: Tensor | None,
    dropout: float,
    scale: float,
) -> Tensor:
    """The same with dropout, or with a bias that depends on the distance of two places alone (T5's).

    All distances within a segment stand in the first rows and columns of the bias.
    """
    is_causal, repeats = bounds.shape[2] == 1, query.shape[1] // key.shape[1]
    segments = list(segments_of(bounds, query.shape[2], key.shape[2]))
    if bias_1HQK is not None:
        longest = [max((s.stop - s.start for s in part), default=0) for part in _columns(segments)]
        # Once: the gradient of a part is as large as what the part was cut from.
        bias_1HQK = bias_1HQK[:, :, : longest[0], : longest[1]].float()
        if is_causal:
            future = torch.ones(*bias_1HQK.shape[2:], dtype=torch.bool, device=query.device).triu(1)
            bias_1HQK = bias_1HQK.masked_fill(future, -torch.inf)
    parts = []
    for segment in segments:
        own_query, own_key = segment.of_queries(query), segment.of_keys(key, repeats)
        own_bias = None
        if bias_1HQK is not None:
            own_bias = bias_1HQK[:, :, : own_query.shape[2], : own_key.shape[2]]
        parts.append(
            scaled_dot_product_attention(
                own_query,
                own_key,
                segment.of_keys(value, repeats),
                attn_mask=own_bias,
                dropout_p=dropout,
                is_causal=is_causal and own_bias is None,
                scale=scale,
            )
        )
    return _joined(parts, segments, query)


def _columns(segments: list[Segment]) -> tuple[list[slice], list[slice]]:
    return [each.queries for each in segments], [each.keys for each in segments]


def _joined(parts: list[Tensor], segments: list[Segment], like_BHQD: Tensor) -> Tensor:
    """The parts at their places, 0 elsewhere."""
    B, H, Q, D = like_BHQD.shape
    places = torch.cat(
        [torch.arange(s.row * Q + s.queries.start, s.row * Q + s.queries.stop) for s in segments]
    ).to(like_BHQD.device)
    flat_HPD = torch.cat(parts, dim=2)[0]
    output_HPD = like_BHQD.new_zeros(H, B * Q, D).index_copy(1, places, flat_HPD)
    return output_HPD.view(H, B, Q, D).transpose(0, 1)


AttentionInterface.register(NAME, segment_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
