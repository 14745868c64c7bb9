"""Invariant 5: an option's score is its own; the shared-prefix path equals the naive one."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flan.data.tokens import ContextExceeded
from flan.model.load import Architecture, Model
from flan.model.scoring import score_options
from tests.kit.models import TINY_CONTEXT, TINY_VOCABULARY, tiny_model
from tests.model.naive import target_logprobs

ARCHITECTURES: tuple[Architecture, ...] = ("decoder", "encoder_decoder")
BOUND = 1e-5
END = 1


@cache
def model(architecture: Architecture) -> Model:
    return tiny_model(architecture)


def ids(seed: int, length: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(2, TINY_VOCABULARY, length, dtype=np.int32)


def option(seed: int, length: int) -> np.ndarray:
    return np.r_[ids(seed, length), np.int32(END)]


def logprobs(
    architecture: Architecture, prompts: list, options: list, batch_tokens: int
) -> list[list[float]]:
    scores = score_options(model(architecture), prompts, options, batch_tokens=batch_tokens)
    return [[score.logprob for score in row] for row in scores]


QUESTIONS = st.lists(
    st.tuples(st.integers(1, 30), st.lists(st.integers(0, 6), min_size=1, max_size=5)), min_size=1, max_size=5
)
"""Per question: prompt length, and the length of each option without its end."""


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@settings(max_examples=20, deadline=None)
@given(questions=QUESTIONS, batch_tokens=st.integers(8, 400), seed=st.integers(0, 999))
def test_shared_prefix_equals_naive(
    architecture: Architecture, questions: list[tuple[int, list[int]]], batch_tokens: int, seed: int
) -> None:
    """Token by token what the network says of prompt + option alone, whatever shares the batch."""
    prompts = [ids(seed + i, length) for i, (length, _) in enumerate(questions)]
    options = [[option(seed + 31 * j, n) for j, n in enumerate(lengths)] for _, lengths in questions]

    scores = score_options(model(architecture), prompts, options, batch_tokens=batch_tokens)

    assert [len(row) for row in scores] == [len(row) for row in options]
    for prompt, row, found in zip(prompts, options, scores, strict=True):
        for tokens, score in zip(row, found, strict=True):
            alone = target_logprobs(model(architecture), prompt, tokens)
            assert score.num_tokens == len(tokens)
            np.testing.assert_allclose(score.token_logprobs, alone.numpy(), atol=BOUND)
            assert score.logprob == pytest.approx(sum(score.token_logprobs), abs=1e-9)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(4)), keep=st.integers(1, 4))
def test_score_depends_neither_on_the_other_options_nor_their_order(
    architecture: Architecture, order: list[int], keep: int
) -> None:
    """Options shuffled, and some left out: those that stay score the same."""
    prompt, options = ids(1, 20), [option(10 + i, i + 1) for i in range(4)]
    kept = order[:keep]

    [whole] = logprobs(architecture, [prompt], [options], 500)
    [part] = logprobs(architecture, [prompt], [[options[i] for i in kept]], 500)

    assert part == pytest.approx([whole[i] for i in kept], abs=BOUND)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_end_of_sequence_is_scored(architecture: Architecture) -> None:
    """`no` and `no idea` are told apart: the shorter one pays for ending where it ends."""
    prompt, start = ids(1, 20), ids(2, 1)
    shorter, longer = np.r_[start, np.int32(END)], np.r_[start, ids(3, 2), np.int32(END)]

    [[short_score, long_score]] = score_options(
        model(architecture), [prompt], [[shorter, longer]], batch_tokens=200
    )

    assert short_score.token_logprobs[0] == pytest.approx(long_score.token_logprobs[0], abs=BOUND)
    assert short_score.num_tokens == 2
    assert short_score.token_logprobs[1] < 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_many_options_are_split_over_forwards(architecture: Architecture) -> None:
    """Seventy options of one prompt stay within the budget, and score as they do together."""
    prompt, options = ids(1, 20), [option(i, 3) for i in range(70)]
    slots: list[int] = []

    def count(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], __: torch.Tensor) -> None:
        slots.append(inputs[0].numel())

    [together] = logprobs(architecture, [prompt], [options], 4_000)
    counted = tiny_model(architecture)
    for module in counted.network.modules():
        if isinstance(module, torch.nn.Embedding) and module.num_embeddings == TINY_VOCABULARY:
            module.register_forward_hook(count)
    [split] = score_options(counted, [prompt], [options], batch_tokens=64)

    assert [score.logprob for score in split] == pytest.approx(together, abs=BOUND)
    assert max(slots) <= 64


def test_a_prompt_beyond_the_context_is_refused() -> None:
    """A network is never asked about places it does not know."""
    with pytest.raises(ContextExceeded) as refusal:
        score_options(model("decoder"), [ids(1, TINY_CONTEXT)], [[option(2, 1)]], batch_tokens=1_000)

    assert refusal.value.values == {"length": TINY_CONTEXT + 2, "limit": TINY_CONTEXT}
