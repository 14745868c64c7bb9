"""Attention of prompts with branches, without a mask as large as the square of a batch.

    # L places, H heads, G heads of keys and values, D width of a head, Q places that read, K that are read

Trees stand one after the other in one row, each a prompt and the branches that continue it:

    places      0 1 2 3 4   5 6 7   8 9      10 11 …
    tree 1      prompt      branch  branch
    tree 2                                   prompt …

A prompt attends to itself, causally, some places at a time, each time to what stands before them alone: the kernel
computes what a mask takes away. All branches of a tree attend at once, to their prompt and each to itself.
`flan/model/attention.py` hands over what stands for a mask in the layers of a network: the bounds of the trees.

    bounds_113S   int32: of every prompt and branch its start, its end, and the start of the tree it is in
"""

import itertools
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.weak import WeakTensorKeyDictionary
from transformers.integrations.sdpa_attention import repeat_kv

BLOCK = 64
"""Places of a prompt that attend at a time: the kernel's own blocks are no larger at such lengths."""


class Part(NamedTuple):
    """Places that attend at a time, and what they read."""

    queries: slice
    keys: slice
    mask: Tensor
    """(Q, K): what is added to the scores, 0, or minus infinity where a place is not read."""


class Trees(NamedTuple):
    """The parts of all trees of a row."""

    whole: list[Part]
    ends: list[Part]
    """The same where a token of a branch is expected alone: the last place of each prompt, and the branches."""


_TREES: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""Bounds → their trees: worked out in a network's first layer, looked up in the others."""


def tree_bounds(trees: Sequence[tuple[int, Sequence[int]]]) -> Tensor:
    """Bounds of trees, each the length of its prompt, at least 1, and those of its branches, 0 included."""
    parts: list[tuple[int, int, int]] = []
    start = 0
    for prompt, branches in trees:
        root = start
        for length in (prompt, *branches):
            parts.append((start, start + length, root))
            start += length
    return torch.from_numpy(np.array(parts, np.int32).T[None, None].copy())


def tree_mask(bounds: Tensor) -> Tensor:
    """(1, 1, L, L): the same as a mask, for networks that want one."""
    starts, ends, roots = bounds[0, 0].long()
    lengths = ends - starts
    part_L = torch.repeat_interleave(torch.arange(len(starts)), lengths)
    is_root_L, tree_L = (starts == roots)[part_L], roots[part_L]
    same_part_LL = part_L[:, None] == part_L
    reads_prompt_LL = (tree_L[:, None] == tree_L) & is_root_L
    reads_LL: Tensor = (same_part_LL | reads_prompt_LL) & torch.ones_like(same_part_LL).tril()
    return reads_LL[None, None]


def is_trees(mask: Tensor | None) -> bool:
    """Whether what stands for a mask says where trees are."""
    return mask is not None and mask.dtype == torch.int32 and int(mask.shape[2]) == 3


def attend_in_trees(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, scale: float) -> Tensor:
    """Queries (1, H, L, D), keys and values (1, G, L, D) → (1, L, H, D), in the type of the queries.

    Sums and products are fp32 whatever the input is. For inference, on a CPU.
    """
    return _attend(query.float(), key, value, _trees_of(bounds).whole, scale).to(query.dtype)


def attend_at_ends(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, scale: float) -> Tensor:
    """The same at the ends of the trees alone; anything elsewhere: for a last layer, of which nothing else is read."""
    return _attend(query, key, value, _trees_of(bounds).ends, scale).to(query.dtype)


def _attend(query: Tensor, key: Tensor, value: Tensor, parts: Sequence[Part], scale: float) -> Tensor:
    repeats = query.shape[1] // key.shape[1]
    key, value = key.float(), value.float()
    if repeats > 1:
        key, value = repeat_kv(key, repeats), repeat_kv(value, repeats)
    output_1LHD = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3], dtype=torch.float32)
    output = output_1LHD.transpose(1, 2)
    for queries, keys, mask in parts:
        output[:, :, queries] = scaled_dot_product_attention(
            query[:, :, queries].float(), key[:, :, keys], value[:, :, keys], attn_mask=mask, scale=scale
        )
    return output_1LHD


def _trees_of(bounds: Tensor) -> Trees:
    if bounds not in _TREES:
        _TREES[bounds] = _worked_out(bounds)
    return _TREES[bounds]  # type: ignore[no-any-return]


def _worked_out(bounds: Tensor) -> Trees:
    trees = Trees([], [])
    longest = int((bounds[0, 0, 1] - bounds[0, 0, 0]).max())
    causal_PP = torch.full((longest, longest), -torch.inf).triu(1)
    for root, parts in itertools.groupby(zip(*bounds[0, 0].tolist(), strict=True), key=itemgetter(2)):
        (_, middle, _), *branches = parts
        for first in range(0, middle - root, BLOCK):
            last = min(first + BLOCK, middle - root)
            prompt = slice(root + first, root + last), slice(root, root + last)
            trees.whole.append(Part(*prompt, causal_PP[first:last, :last]))
        end = max((end for _, end, _ in branches), default=middle)
        # From the prompt's last place on.
        ends = middle - 1
        mask_QK = torch.full((end - ends, end - root), -torch.inf)
        mask_QK[:, : middle - root] = 0
        for first, last, _ in branches:
            mask_QK[first - ends : last - ends, first - root : last - root] = causal_PP[
                : last - first, : last - first
            ]
        if end > middle:
            trees.whole.append(Part(slice(middle, end), slice(root, end), mask_QK[1:]))
        trees.ends.append(Part(slice(ends, end), slice(root, end), mask_QK))
    return trees
