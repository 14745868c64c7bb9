"""Attention of prompts with branches equals attention under the mask that says the same."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from flan.model.trees import attend_at_ends, attend_in_trees, is_trees, tree_bounds, tree_mask

PROMPTS = st.integers(1, 6) | st.sampled_from([64, 65, 150])
TREES = st.lists(st.tuples(PROMPTS, st.lists(st.integers(0, 4), max_size=4)), min_size=1, max_size=4)
"""Of each tree the length of its prompt, and those of its branches."""


def test_a_branch_reads_the_prompt_and_itself() -> None:
    """Options continue the prompt and are blind to each other and to other trees."""
    mask = tree_mask(tree_bounds([(2, [1, 0, 2]), (1, [1])]))

    assert mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 0, 1, 0, 0, 0],
        [1, 1, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1, 1],
    ]


@settings(max_examples=30, deadline=None)
@given(trees=TREES, repeats=st.sampled_from([1, 2]), seed=st.integers(0, 99))
def test_attention_in_trees_is_attention_under_the_mask(
    trees: list[tuple[int, list[int]]], repeats: int, seed: int
) -> None:
    """Place by place, also where several heads share keys and values."""
    bounds = tree_bounds(trees)
    length = sum(prompt + sum(branches) for prompt, branches in trees)
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(1, 4, length, 8, generator=generator)
    key, value = (torch.randn(1, 4 // repeats, length, 8, generator=generator) for _ in range(2))

    found = attend_in_trees(query, key, value, bounds, 0.3)

    wide_key, wide_value = (each.repeat_interleave(repeats, dim=1) for each in (key, value))
    masked = scaled_dot_product_attention(query, wide_key, wide_value, attn_mask=tree_mask(bounds), scale=0.3)
    torch.testing.assert_close(found, masked.transpose(1, 2), atol=1e-5, rtol=1e-5)
    # A last layer is asked where a token of a branch is expected: from the last place of each prompt on.
    starts, is_end = 0, torch.zeros(length, dtype=torch.bool)
    for prompt, branches in trees:
        is_end[starts + prompt - 1 : starts + prompt + sum(branches)] = True
        starts += prompt + sum(branches)
    ends = attend_at_ends(query, key, value, bounds, 0.3)
    torch.testing.assert_close(ends[:, is_end], found[:, is_end], atol=1e-5, rtol=1e-5)


def test_half_precision_comes_back_as_it_came() -> None:
    """The layers of a network in bf16 get bf16, worked out in fp32."""
    bounds = tree_bounds([(3, [2])])
    half = torch.randn(1, 2, 5, 8, generator=torch.Generator().manual_seed(0)).bfloat16()

    found = attend_in_trees(half, half, half, bounds, 1.0)

    whole = attend_in_trees(half.float(), half.float(), half.float(), bounds, 1.0)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, whole.bfloat16())


@pytest.mark.parametrize("mask", [None, torch.zeros(1, 1, 2, 4, dtype=torch.int32), torch.ones(1, 1, 3, 3)])
def test_other_masks_are_no_trees(mask: torch.Tensor | None) -> None:
    """Bounds of packs have one or two lines, and masks are no integers."""
    assert not is_trees(mask)
