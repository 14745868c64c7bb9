"""A network that mixes the examples of a pack is not trained."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from flan.model.load import Architecture
from flan.train.selftest import SelfTestFailed, check_isolation
from tests.kit.models import TINY_VOCABULARY, tiny_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_our_networks_pass_and_keep_their_mode(architecture: Architecture, precision: str) -> None:
    """Both architectures isolate segments in both precisions; the test leaves no trace."""
    model = tiny_model(architecture)
    model.network.train()
    check_isolation(model, precision, CPU)

    assert model.network.training


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_that_ignores_its_mask_is_refused(precision: str) -> None:
    """Examples that see each other are found, whatever a loss curve would show."""
    model = tiny_model("decoder")
    _without(model.network, "attention_mask")

    with pytest.raises(SelfTestFailed, match="does not keep to its attention mask"):
        check_isolation(model, precision, CPU)


def test_a_network_that_counts_positions_through_the_pack_is_refused() -> None:
    """Isolated but misplaced: the logits of an example in a pack are not those of the example alone."""
    config = GPT2Config(vocab_size=TINY_VOCABULARY, n_embd=32, n_layer=2, n_head=2, n_positions=128)
    # Rotary positions are relative, and would not notice.
    model = tiny_model("decoder")._replace(network=GPT2LMHeadModel(config))
    check_isolation(model, "fp32", CPU)
    _count_through(model.network)

    with pytest.raises(SelfTestFailed, match="does not restart its positions"):
        check_isolation(model, "fp32", CPU)


def _without(network: nn.Module, argument: str) -> None:
    def drop(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {name: value for name, value in kwargs.items() if name != argument} | {
            argument: _causal(kwargs)
        }

    network.register_forward_pre_hook(drop, with_kwargs=True)


def _causal(kwargs: dict[str, Any]) -> torch.Tensor:
    L = kwargs["input_ids"].shape[1]
    return torch.ones(1, 1, L, L, dtype=torch.bool).tril()


def _count_through(network: nn.Module) -> None:
    def count(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        positions = torch.arange(kwargs["input_ids"].shape[1])
        return args, kwargs | {"position_ids": positions[None]}

    network.register_forward_pre_hook(count, with_kwargs=True)
