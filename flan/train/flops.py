"""How much arithmetic a step needs, and how much the device can do: their ratio is the MFU.

    # D width, F feed-forward width, V vocabulary

Counted is what the mathematics needs: products with weights, at real tokens; scores and sums of attention,
between a place and those it reads; the language-model head, and what only it reads, at supervised places.
Padding, masked scores and activations computed twice are time spent on nothing, and lower the figure.
Source of the count: Chowdhery et al. 2022, appendix B, with the head and attention as they are used here.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import PreTrainedModel

from flan.data.packing import Ints, PackedBatch, PackedDecoder
from flan.model.last_layer import beyond_attention

Longs = npt.NDArray[np.int64]
PROBE_SIZE = {"cpu": 2_048, "cuda": 8_192}
"""Rows and columns of the matrices that are multiplied to measure a device."""
PROBE_S = 0.5
"""Seconds of it; the best product counts, since other work on the device can only slow it down."""


class Costs(NamedTuple):
    """Floating-point operations of training, forward and backward, by what causes them."""

    per_token: float
    """Of a token of the decoder, or of a decoder-only model."""
    per_encoder_token: float
    """Of a token of the encoder, what the decoder's cross-attention makes of it included."""
    per_target: float
    """Of the head, and of a decoder-only model's last layer beyond its attention, at a supervised place."""
    per_pair: float
    """Of one place reading another, in all layers of the decoder."""
    per_encoder_pair: float
    """The same in the encoder."""


def training_costs(network: PreTrainedModel) -> Costs:
    """What `network` costs to train as it stands: a frozen weight has no gradient to be computed."""
    head = network.get_output_embeddings()
    at_targets = beyond_attention(network)
    by_part = {"decoder": 0.0, "encoder": 0.0, "target": _product(head.weight)}
    for name, module in network.named_modules():
        if isinstance(module, nn.Embedding) or module is head:
            continue
        part = "encoder" if _reads_encoder(network, name) else "decoder"
        part = "target" if module in at_targets else part
        by_part[part] += sum(map(_product, module.parameters(recurse=False)))
    config = network.config
    if config.is_encoder_decoder:
        width = config.num_heads * config.d_kv
        pairs, encoder_pairs = 12 * width * config.num_decoder_layers, 12 * width * config.num_layers
    else:
        head_width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        width = config.num_attention_heads * head_width
        pairs, encoder_pairs = 12 * width * config.num_hidden_layers, 0
    return Costs(by_part["decoder"], by_part["encoder"], by_part["target"], pairs, encoder_pairs)


def _reads_encoder(network: PreTrainedModel, name: str) -> bool:
    """Whether the module of this name is applied to the encoder's tokens."""
    if not network.config.is_encoder_decoder:
        return False
    is_cross_key_or_value = "EncDecAttention" in name and name.rsplit(".", 1)[-1] in ("k", "v")
    return name.startswith("encoder.") or is_cross_key_or_value


def _product(weight: torch.Tensor) -> float:
    # Two for the output; two more each for the gradient of the input and, unless frozen, of the weight.
    return float(weight.numel() * (6 if weight.requires_grad else 4)) if weight.dim() > 1 else 0.0


def training_flops(costs: Costs, packs: PackedBatch) -> float:
    """Operations that training on `packs` needs, forward and backward."""
    targets = float((packs.loss_weights > 0).sum())
    if isinstance(packs, PackedDecoder):
        lengths = _segment_lengths(packs.segment_ids)
        return (
            _sum(lengths) * costs.per_token + _causal(lengths) * costs.per_pair + targets * costs.per_target
        )
    own, read = _segment_lengths(packs.decoder_segment_ids), _segment_lengths(packs.encoder_segment_ids)
    return (
        _sum(own) * costs.per_token
        + _sum(read) * costs.per_encoder_token
        + targets * costs.per_target
        + (_causal(own) + float(own @ read)) * costs.per_pair
        + float(read @ read) * costs.per_encoder_pair
    )


def flops_per_token(costs: Costs, packs: PackedBatch) -> float:
    """`training_flops` over the real tokens of `packs`, encoder and decoder together; 0 where there is none."""
    segments = (
        [packs.segment_ids]
        if isinstance(packs, PackedDecoder)
        else [packs.encoder_segment_ids, packs.decoder_segment_ids]
    )
    num_tokens = sum(int((each > 0).sum()) for each in segments)
    return training_flops(costs, packs) / num_tokens if num_tokens else 0.0


def _segment_lengths(segments_BL: Ints) -> Longs:
    """Tokens of every segment, pack by pack, in order of their numbers."""
    longest = int(segments_BL.max(initial=0)) + 1
    keys = segments_BL + np.arange(len(segments_BL))[:, None] * longest
    counts = np.bincount(keys.ravel(), minlength=len(segments_BL) * longest).reshape(-1, longest)
    return counts[:, 1:].ravel()


def _sum(lengths: Longs) -> float:
    return float(lengths.sum())


def _causal(lengths: Longs) -> float:
    return float((lengths * (lengths + 1) // 2).sum())


@lru_cache
def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second that `device` reaches in a large matrix product of `dtype`: measured, in a second.

    On the CPU, with the threads that this process computes with.
    """
    size = PROBE_SIZE[device.type]
    left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    product = torch.empty_like(left)

    def multiply() -> None:
        torch.mm(left, right, out=product)

    return 2 * size**3 / _best(multiply, device)


def _best(work: Callable[[], None], device: torch.device) -> float:
    """Seconds of the fastest call of `work`, of as many as fit into PROBE_S; the first is not timed."""
    work()
    seconds: list[float] = []
    while sum(seconds) < PROBE_S:
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
