"""Attention of prompts with branches, without a mask as large as the square of a batch.

    # L places, H heads, G heads of keys and values, D width of a head, W places of a tree's branches, K of the tree

Trees stand one after the other in one row, each a prompt and the branches that continue it:

    places      0 1 2 3 4   5 6 7   8 9      10 11 …
    tree 1      prompt      branch  branch
    tree 2                                   prompt …

A prompt attends to itself, causally. All branches of a tree attend at once, to their prompt and each to itself:
a mask says so that has only a row for each of their places. `flan/model/attention.py` hands over what stands for a
mask in the layers of a network: the bounds of the trees.

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


class Tree(NamedTuple):
    """Where a tree stands, and who of its branches reads what."""

    prompt: slice
    branches: slice
    whole: slice
    mask: Tensor
    """(W, K): whether a place of the branches reads a place of the tree."""
    ends: slice
    """Where a token of a branch is expected: the prompt's last place, and the branches."""
    mask_of_ends: Tensor
    """(1 + W, K): the same of these."""


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
    dtype = query.dtype
    query, (key, value) = query.float(), _whole(query, key, value)
    output_1LHD = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3])
    output = output_1LHD.transpose(1, 2)
    for tree in trees_of(bounds):
        output[:, :, tree.prompt] = scaled_dot_product_attention(
            query[:, :, tree.prompt],
            key[:, :, tree.prompt],
            value[:, :, tree.prompt],
            is_causal=True,
            scale=scale,
        )
        if tree.branches.stop > tree.branches.start:
            output[:, :, tree.branches] = scaled_dot_product_attention(
                query[:, :, tree.branches],
                key[:, :, tree.whole],
                value[:, :, tree.whole],
                attn_mask=tree.mask,
                scale=scale,
            )
    return output_1LHD.to(dtype)


def attend_at_ends(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, scale: float) -> Tensor:
    """The same at the ends of the trees alone; anything elsewhere: for a last layer, of which nothing else is read."""
    key, value = _whole(query, key, value)
    output_1LHD = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3])
    output = output_1LHD.transpose(1, 2)
    for tree in trees_of(bounds):
        output[:, :, tree.ends] = scaled_dot_product_attention(
            query[:, :, tree.ends].float(),
            key[:, :, tree.whole],
            value[:, :, tree.whole],
            attn_mask=tree.mask_of_ends,
            scale=scale,
        )
    return output_1LHD


def _whole(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values in fp32, one for each head of the queries."""
    repeats = query.shape[1] // key.shape[1]
    key, value = key.float(), value.float()
    return (repeat_kv(key, repeats), repeat_kv(value, repeats)) if repeats > 1 else (key, value)


def trees_of(bounds: Tensor) -> list[Tree]:
    """The trees within these bounds; worked out once."""
    if bounds not in _TREES:
        _TREES[bounds] = _trees(bounds)
    return _TREES[bounds]  # type: ignore[no-any-return]


def _trees(bounds: Tensor) -> list[Tree]:
    trees = []
    for root, parts in itertools.groupby(zip(*bounds[0, 0].tolist(), strict=True), key=itemgetter(2)):
        (_, middle, _), *branches = parts
        end = max((end for _, end, _ in branches), default=middle)
        ends = middle - 1
        reads_EK = torch.zeros(end - ends, end - root, dtype=torch.bool)
        reads_EK[:, : middle - root] = True
        for first, last, _ in branches:
            own = torch.ones(last - first, last - first, dtype=torch.bool).tril()
            reads_EK[first - ends : last - ends, first - root : last - root] = own
        prompt, whole = slice(root, middle), slice(root, end)
        trees.append(Tree(prompt, slice(middle, end), whole, reads_EK[1:], slice(ends, end), reads_EK))
    return trees
