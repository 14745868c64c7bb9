"""Invariant 5: an option's score is its own; the shared-prefix path equals the naive one."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from flan.data.tokens import ContextExceeded
from flan.model import scoring
from flan.model.load import Architecture, Model
from flan.model.scoring import InvalidOptions, NotFinite, score_options
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


def gpt2() -> Model:
    """A network whose positions are learnt, in a decoder whose layers are not Llama's."""
    plain = tiny_model("decoder")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        config = GPT2Config(
            vocab_size=TINY_VOCABULARY, n_positions=TINY_CONTEXT, n_embd=32, n_layer=2, n_head=2
        )
        return plain._replace(network=GPT2LMHeadModel(config).eval())


def test_learnt_positions_continue_from_the_prompt() -> None:
    """Another family of networks, where an option at a wrong place would score otherwise."""
    asked = ids(1, 20), [option(3, 4), option(4, 1)]
    network = gpt2()

    [found] = score_options(network, [asked[0]], [asked[1]], batch_tokens=500)

    for tokens, score in zip(asked[1], found, strict=True):
        alone = target_logprobs(network, asked[0], tokens)
        np.testing.assert_allclose(score.token_logprobs, alone.numpy(), atol=BOUND)


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


def test_masks_say_what_bounds_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that wants masks, as on a GPU, finds the same scores."""
    asked = [ids(1, 20), ids(2, 7)], [[option(3, 2), option(4, 0)], [option(5, 4)]]
    bounded = logprobs("decoder", *asked, 500)

    monkeypatch.setattr(scoring, "takes_trees", lambda *_: False)
    masked = logprobs("decoder", *asked, 500)

    assert masked == [pytest.approx(row, abs=BOUND) for row in bounded]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_last_layer_works_where_a_token_is_expected(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of each prompt and in its options; as a whole layer it would say the same."""
    asked = tiny_model()
    asked.network.to(dtype)
    rows: list[int] = []
    asked.network.model.layers[-1].mlp.register_forward_hook(
        lambda _, inputs, __: rows.append(inputs[0].shape[1])
    )
    questions = [ids(1, 20), ids(2, 7)], [[option(3, 2), option(4, 0)], [option(5, 4)]]

    found = score_options(asked, *questions, batch_tokens=500)
    monkeypatch.setattr(scoring, "ends_early", lambda _: False)
    whole = score_options(asked, *questions, batch_tokens=500)

    assert rows[-2:] == [1 + 2 + 0 + 1 + 4, 20 + 2 + 0 + 7 + 4]
    for mine, theirs in zip(found, whole, strict=True):
        assert [one.logprob for one in mine] == pytest.approx(
            [one.logprob for one in theirs], abs=BOUND if dtype == torch.float32 else 0.1
        )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("damage", [float("nan"), float("inf")])
def test_a_logit_that_is_no_number_is_an_error(architecture: Architecture, damage: float) -> None:
    """Damaged weights give no choice, and say which question met them."""
    damaged = tiny_model(architecture)
    with torch.no_grad():
        damaged.network.get_input_embeddings().weight[7] = damage

    with pytest.raises(NotFinite, match="option 0 of prompt 0"):
        score_options(damaged, [np.array([7, 8], np.int32)], [[option(1, 2)]], batch_tokens=100)


@pytest.mark.parametrize(
    ("prompt", "options", "what"),
    [
        (ids(1, 0), [option(1, 1)], "no token"),
        (ids(1, 3), [], "no option"),
        (ids(1, 3), [option(1, 1), ids(1, 0)], "an option without a token"),
    ],
)
def test_nothing_to_choose_from_is_an_error(prompt: np.ndarray, options: list, what: str) -> None:
    """Which prompt it is, and what it lacks."""
    with pytest.raises(InvalidOptions, match=f"prompt 1 of 2 has {what}"):
        score_options(model("decoder"), [ids(9, 3), prompt], [[option(1, 1)], options], batch_tokens=100)


def test_a_prompt_beyond_the_context_is_refused() -> None:
    """A network is never asked about places it does not know."""
    with pytest.raises(ContextExceeded) as refusal:
        score_options(model("decoder"), [ids(1, TINY_CONTEXT)], [[option(2, 1)]], batch_tokens=1_000)

    assert refusal.value.values == {"length": TINY_CONTEXT + 2, "limit": TINY_CONTEXT}
