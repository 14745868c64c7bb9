"""Greedy continuations do not depend on who shares the batch, and stop where they should."""

from functools import cache

import numpy as np
import pytest
import torch

from flan.model.greedy import greedy
from flan.model.load import Architecture, Model
from flan.model.scoring import NotFinite
from tests.kit.models import TINY_CONTEXT, TINY_VOCABULARY, tiny_model
from tests.model import naive

ARCHITECTURES: tuple[Architecture, ...] = ("decoder", "encoder_decoder")


@cache
def model(architecture: Architecture) -> Model:
    """A tiny model whose attention is sharp: as initialised it all but ignores what is where."""
    built = tiny_model(architecture, seed=3)
    with torch.no_grad():
        for weight in built.network.parameters():
            weight.mul_(6.0)
    return built


def prompts(lengths: list[int]) -> list[np.ndarray]:
    return [
        np.random.default_rng(i).integers(2, TINY_VOCABULARY, n, dtype=np.int32)
        for i, n in enumerate(lengths)
    ]


def end_after(model: Model, prompt: np.ndarray, num_tokens: int) -> Model:
    """The same model under a contract whose end is the token it writes at place `num_tokens`."""
    token = naive.greedy(model, prompt, num_tokens + 1)[num_tokens]
    contract = model.card.contract.model_copy(update={"end_ids": (token,)})
    return model._replace(card=model.card.model_copy(update={"contract": contract}))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("batch_tokens", [1, 130, 1_000])
def test_batched_equals_single(architecture: Architecture, batch_tokens: int) -> None:
    """Each prompt is continued as when it is alone and everything is read anew for each token."""
    asked = prompts([3, 17, 1, 9, 30])

    found = greedy(model(architecture), asked, max_new_tokens=12, batch_tokens=batch_tokens)

    assert [text.token_ids for text in found] == [
        naive.greedy(model(architecture), prompt, 12) for prompt in asked
    ]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_stops_at_the_end_and_leaves_it_out(architecture: Architecture) -> None:
    """A finished text lacks its end ids; one that ran into the limit says so."""
    [prompt, other] = prompts([6, 11])
    ending = end_after(model(architecture), prompt, 0)

    found = greedy(ending, [prompt, other], max_new_tokens=5, batch_tokens=1_000)

    assert found[0] == ((), True)
    assert found[1].token_ids == naive.greedy(ending, other, 5)
    assert found[1].is_finished == (len(found[1].token_ids) < 5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_who_has_ended_makes_room(architecture: Architecture) -> None:
    """Three at a time, the first to end soon: the others follow them, and each says what it says alone."""
    asked = prompts([20, 19, 18, 17, 16, 15, 14])
    ending = end_after(model(architecture), asked[0], 2)
    batches: list[int] = []
    head = ending.network.get_output_embeddings()
    hook = head.register_forward_hook(lambda _, __, logits: batches.append(logits.shape[0]))

    found = greedy(ending, asked, max_new_tokens=12, batch_tokens=3 * (20 + 12))
    hook.remove()

    assert [text.token_ids for text in found] == [naive.greedy(ending, prompt, 12) for prompt in asked]
    assert len(found[0].token_ids) <= 2
    assert max(batches) == 3
    lengths = [len(text.token_ids) + text.is_finished for text in found]
    assert sum(batches) == sum(lengths)
    # A prompt is read in a pass of its own; in groups of three, each would last as long as its longest text.
    in_groups = sum(max(lengths[i : i + 3]) - 1 for i in range(0, 7, 3))
    assert len(batches) - len(asked) < in_groups


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_logit_that_is_no_number_is_an_error(architecture: Architecture) -> None:
    """Damaged weights write nothing."""
    damaged = tiny_model(architecture)
    with torch.no_grad():
        damaged.network.get_input_embeddings().weight[7] = float("nan")

    with pytest.raises(NotFinite):
        greedy(damaged, [np.array([7, 8], np.int32)], max_new_tokens=3, batch_tokens=100)


def test_writes_no_further_than_the_context() -> None:
    """A decoder stops where its positions end, and the text counts as cut."""
    [text] = greedy(model("decoder"), prompts([TINY_CONTEXT - 2]), max_new_tokens=10, batch_tokens=1_000)

    assert len(text.token_ids) <= 2


def test_generation_settings_beside_the_weights_are_not_read() -> None:
    """A repetition penalty or a minimum length that came with a model changes no metric."""
    plain, strange = model("decoder"), tiny_model("decoder", seed=3)
    strange.network.load_state_dict(plain.network.state_dict())
    strange.network.generation_config.update(repetition_penalty=5.0, min_new_tokens=9)
    asked = prompts([12])

    assert greedy(strange, asked, max_new_tokens=9, batch_tokens=99) == greedy(
        plain, asked, max_new_tokens=9, batch_tokens=99
    )
