"""Where the segments of packs begin, and their attention on a CPU, one after the other.

    # B packs, L positions, Q queries, K keys, H heads, G heads of keys and values, D width of a head, S segments

    bounds_11RS   R = 1: offsets of the segments, which attend to themselves, and to no future
                  R = 2: offsets of queries and of keys; each query reads all keys of its segment

Offsets count through the packs, `row * L + place`; the segments cover all places, padding as segments of
their own.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import repeat_kv

from flan.data.packing import Ints

ROOM = 64
"""Bounds have a multiple of so many segments, empty ones at the end: few shapes, so little is compiled anew."""


def causal_bounds(segments_BL: Ints) -> Ints:
    """Bounds of a decoder's packs: within its segment, a place reads itself and what precedes it."""
    return _bounds(_lengths(segments_BL, int(segments_BL.max(initial=0)))[None])


def mutual_bounds(queries_BQ: Ints, keys_BK: Ints) -> Ints:
    """Bounds where segment n of the queries reads all of segment n of the keys."""
    last = int(max(queries_BQ.max(initial=0), keys_BK.max(initial=0)))
    return _bounds(np.stack([_lengths(queries_BQ, last), _lengths(keys_BK, last)]))


def _lengths(segments_BL: Ints, last: int) -> Ints:
    """Places of segments 1 to `last` and then of padding, pack by pack."""
    order_BL = np.where(segments_BL > 0, segments_BL - 1, last)
    assert (np.diff(order_BL, axis=1) >= 0).all(), "segments follow each other, padding comes last"
    keys_BL = order_BL + np.arange(len(order_BL))[:, None] * (last + 1)
    return np.bincount(keys_BL.ravel(), minlength=len(order_BL) * (last + 1)).astype(np.int32)


def _bounds(lengths_RS: Ints) -> Ints:
    lengths_RS = lengths_RS[:, lengths_RS.any(axis=0)]
    missing = -lengths_RS.shape[1] % ROOM
    return np.cumsum(np.pad(lengths_RS, [(0, 0), (1, missing)]), axis=1, dtype=np.int32)[None, None]


class Segment(NamedTuple):
    """One segment: the pack it is in, and its places there."""

    row: int
    queries: slice
    keys: slice

    def of_queries(self, tensor_BHQ: Tensor) -> Tensor:
        """Its part of a tensor by query, (1, H, q, …)."""
        return tensor_BHQ[self.row : self.row + 1, :, self.queries]

    def of_keys(self, tensor_BGKD: Tensor, repeats: int) -> Tensor:
        """Its part of a tensor by key, (1, H, k, D), each head as often as queries share it."""
        return repeat_kv(  # type: ignore[no-any-return]
            tensor_BGKD[self.row : self.row + 1, :, self.keys], repeats
        )


def segments_of(bounds_11RS: Tensor, num_queries: int, num_keys: int) -> Iterator[Segment]:
    """Those that have both queries and keys; what has no key reads nothing, and is 0."""
    offsets_RS = bounds_11RS[0, 0].tolist()
    for (start, end), (first, last) in zip(
        itertools.pairwise(offsets_RS[0]), itertools.pairwise(offsets_RS[-1]), strict=True
    ):
        if end > start and last > first:
            row, base, key_base = start // num_queries, start % num_queries, first % num_keys
            yield Segment(row, slice(base, base + end - start), slice(key_base, key_base + last - first))


@torch.library.custom_op("flan::segment_attention", mutates_args=(), device_types="cpu")
def _attend(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Output (B, H, Q, D) and the logarithms of the softmax's denominators (B, H, Q).

    An operator of its own, so that a compiler sees one node whatever the segments are.
    """
    B, H, Q, D = query.shape
    is_causal, repeats = bounds.shape[2] == 1, H // key.shape[1]
    # In the order of (B, Q, H, D), which the next layer reads.
    output = query.new_zeros(B, Q, H, D).transpose(1, 2)
    denominators = query.new_zeros(B, Q, H).transpose(1, 2)
    for segment in segments_of(bounds, Q, key.shape[2]):
        found, denominator = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            segment.of_queries(query),
            segment.of_keys(key, repeats),
            segment.of_keys(value, repeats),
            0.0,
            is_causal,
            scale=scale,
        )
        segment.of_queries(output).copy_(found)
        segment.of_queries(denominators).copy_(denominator)
    return output, denominators


@_attend.register_fake
def _(query: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    B, H, Q, D = query.shape
    return query.new_empty(B, Q, H, D).transpose(1, 2), query.new_empty(B, Q, H).transpose(1, 2)


@torch.library.custom_op("flan::segment_attention_backward", mutates_args=(), device_types="cpu")
def _attend_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    denominators: Tensor,
    bounds: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value."""
    is_causal, repeats = bounds.shape[2] == 1, query.shape[1] // key.shape[1]
    of_query, of_key, of_value = (torch.zeros_like(each) for each in (query, key, value))
    for segment in segments_of(bounds, query.shape[2], key.shape[2]):
        found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            segment.of_queries(gradient),
            segment.of_queries(query),
            segment.of_keys(key, repeats),
            segment.of_keys(value, repeats),
            segment.of_queries(output),
            segment.of_queries(denominators),
            0.0,
            is_causal,
            scale=scale,
        )
        segment.of_queries(of_query).copy_(found[0])
        for whole, part in ((of_key, found[1]), (of_value, found[2])):
            summed = part.unflatten(1, (-1, repeats)).sum(2) if repeats > 1 else part
            segment.of_keys(whole, 1).copy_(summed)
    return of_query, of_key, of_value


@_attend_backward.register_fake
def _(_: Tensor, query: Tensor, key: Tensor, value: Tensor, *_others: Any) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, bounds, ctx.scale = inputs
    ctx.save_for_backward(query, key, value, *output, bounds)


def _differentiate(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    found = torch.ops.flan.segment_attention_backward(gradient, *ctx.saved_tensors, ctx.scale)
    return (*found, None, None)


_attend.register_autograd(_differentiate, setup_context=_keep)
