"""Ending at the supervised places changes no loss and no gradient."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from flan.data.packing import pack_batch
from flan.data.window import Lengths
from flan.model.adapters import add_lora
from flan.model.last_layer import beyond_attention
from flan.model.load import Model
from flan.model.masks import to_tensors
from flan.model.soft_prompt import add_prompt
from flan.spec import Lora
from flan.train.objective import Objective
from tests.kit.models import TINY_VOCABULARY, tiny_model, tiny_network
from tests.train.test_objective import _examples as some_examples

SHAPE = {"vocab_size": TINY_VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAMA_LIKE = {**SHAPE, "intermediate_size": 48, "num_key_value_heads": 1, "attn_implementation": "sdpa"}


def packs(*, on_inputs: bool = False) -> dict[str, Tensor]:
    """Two packs of unequal segments, with padding."""
    examples = some_examples()
    batch = to_tensors(pack_batch([examples, examples[:1]], Lengths(44, 0), tiny_model().card.contract))
    if on_inputs:
        batch["loss_weights"] = ((batch["segment_ids"] > 0) & (batch["target_ids"] > 0)).float()
    return batch


def losses_and_gradients(objective: Objective, batch: dict[str, Tensor]) -> tuple[list[Tensor], Any]:
    """The sum, the losses of tokens, and the gradient of every weight that is trained."""
    loss = objective.train()(batch)
    loss.backward()
    assert objective.token_losses is not None
    trained = [(name, weight) for name, weight in objective.named_parameters() if weight.requires_grad]
    gradients = {name: weight.grad for name, weight in trained}
    objective.zero_grad()
    return [loss.detach(), objective.token_losses], gradients


def assert_exact(objective: Objective, batch: dict[str, Tensor]) -> None:
    """The same with the last layer at all places."""
    assert objective._ends_early
    found, gradients = losses_and_gradients(objective, batch)
    objective._ends_early = False
    expected, expected_gradients = losses_and_gradients(objective, batch)

    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        assert (gradients[name] - gradient).norm() <= 1e-6 * gradient.norm(), name


def with_lora(model: Model) -> None:
    """Additions that add something."""
    add_lora(model.network, Lora(), seed=1)
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if name.endswith("lora_B"):
                weight.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))


CHANGES: dict[str, Callable[[Model], object]] = {
    "full": lambda _: None,
    "lora": with_lora,
    "soft_prompt": lambda model: add_prompt(model.network, 3, 300, seed=1),
    "checkpointing": lambda model: model.network.activation_checkpointing_enable(),
    "masks": lambda _: None,
}


@pytest.mark.parametrize("z_loss", [0.0, 0.01])
@pytest.mark.parametrize("on_inputs", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_losses_and_gradients_are_those_of_the_whole_layer(
    change: str, on_inputs: bool, z_loss: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is trained, computed again, supervised or added to the loss, and under masks as well."""
    model = tiny_model()
    CHANGES[change](model)
    if change == "masks":
        monkeypatch.setattr("flan.model.masks.takes_bounds", lambda *_: False)

    assert_exact(Objective(model.network, "fp32", z_loss), packs(on_inputs=on_inputs))


@pytest.mark.parametrize(
    "network",
    [
        lambda: Qwen3ForCausalLM(Qwen3Config(**LLAMA_LIKE)),
        lambda: GraniteForCausalLM(GraniteConfig(**LLAMA_LIKE, logits_scaling=3.0)),
        lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SHAPE, intermediate_size=48)),
    ],
    ids=["qwen3", "granite", "gpt_neox"],
)
def test_families_end_early_without_being_known(network: Callable[[], PreTrainedModel]) -> None:
    """Norms of heads, logits that are scaled, parallel blocks."""
    assert_exact(Objective(network(), "fp32"), packs())


def test_a_whole_layer_of_nothing_reaches_every_weight() -> None:
    """Without a supervised place the loss is 0, and so is each gradient: none is missing."""
    batch = packs()
    batch["loss_weights"] = torch.zeros_like(batch["loss_weights"])
    objective = Objective(tiny_network("decoder"), "fp32")
    losses, gradients = losses_and_gradients(objective, batch)

    assert objective._ends_early
    assert losses[0] == 0
    assert all(bool((gradient == 0).all()) for gradient in gradients.values())


def test_last_layer_is_left_as_it_was() -> None:
    """After a micro-batch the network computes all places again, and checkpoints its last layer again."""
    network = tiny_network("decoder")
    network.activation_checkpointing_enable()
    layer = network.model.layers[-1]
    Objective(network, "fp32").train()(packs())

    assert "forward" not in vars(layer)
    assert layer.gradient_checkpointing
    assert network(input_ids=torch.arange(9)[None]).logits.shape == (1, 9, TINY_VOCABULARY)


class Neighbours(nn.Module):
    """Lets a place read the one before it, behind attention's back."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """What `inner` makes of the place before."""
        return self.inner(hidden_BLD).roll(1, dims=1)  # type: ignore[no-any-return]


def test_a_layer_that_reads_its_neighbours_is_not_cut() -> None:
    """A network for which it would not be exact is found out by asking it."""
    network = tiny_network("decoder")
    assert beyond_attention(network)
    network.model.layers[-1].mlp = Neighbours(network.model.layers[-1].mlp)

    assert not beyond_attention(network)


def test_a_layer_that_drops_out_draws_the_same_numbers_at_every_stage() -> None:
    """Dropout draws for the places that a module works at: they must not depend on who ends early."""
    for dropout in (0.0, 0.1):
        model = tiny_model()
        add_lora(model.network, Lora(rank=2, dropout=dropout), seed=0)

        assert bool(beyond_attention(model.network)) == (dropout == 0)


def test_networks_of_another_make_are_left_alone() -> None:
    """An attention of one's own, a shape that is asserted, decoders of which every place is supervised."""
    eager = tiny_network("decoder")
    eager.set_attn_implementation("eager")
    config = GPT2Config(**SHAPE, bos_token_id=1, eos_token_id=1)

    assert not beyond_attention(GPT2LMHeadModel(config))
    assert not beyond_attention(eager)
    assert not beyond_attention(tiny_network("encoder_decoder"))
