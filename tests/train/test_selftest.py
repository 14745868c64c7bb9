"""A network that mixes the examples of a pack is not trained."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from flan.data.packing import PackedBatch, pack_batch
from flan.data.tokens import Fitted, encode
from flan.model.load import Architecture, Model
from flan.model.presets import train_tokenizer
from flan.tasks.render import Rendered
from flan.train import selftest
from flan.train.selftest import SelfTestFailed, check_all, check_ids, check_isolation
from tests.kit.models import SENTENCES, TINY_VOCABULARY, tiny_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_our_networks_pass_and_keep_their_mode(architecture: Architecture, precision: str) -> None:
    """Both architectures isolate segments in both precisions; the test leaves no trace."""
    model = tiny_model(architecture)
    model.network.train()
    check_all(model, _fitted(model), precision, CPU)

    assert model.network.training
    assert all(weight.grad is None for weight in model.network.parameters())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_that_ignores_its_mask_is_refused(precision: str) -> None:
    """Examples that see each other are found, whatever a loss curve would show."""
    model = tiny_model("decoder")
    _without(model.network, "attention_mask")

    with pytest.raises(SelfTestFailed, match="does not keep to its attention mask"):
        check_all(model, _fitted(model), precision, CPU)


def test_a_network_that_counts_positions_through_the_pack_is_refused() -> None:
    """Isolated but misplaced: the logits of an example in a pack are not those of the example alone."""
    config = GPT2Config(vocab_size=TINY_VOCABULARY, n_embd=32, n_layer=2, n_head=2, n_positions=128)
    # Rotary positions are relative, and would not notice.
    model = tiny_model("decoder")._replace(network=GPT2LMHeadModel(config))
    check_isolation(model, "fp32", CPU)
    _count_through(model.network)

    with pytest.raises(SelfTestFailed, match="does not restart its positions"):
        check_isolation(model, "fp32", CPU)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_whose_gradients_pass_between_examples_is_refused(precision: str) -> None:
    """Every logit is right, and yet one example learns from another."""
    model = tiny_model("decoder")
    _leak_gradients(model.network)
    check_isolation(model, precision, CPU)

    with pytest.raises(SelfTestFailed, match="lets gradients pass"):
        check_all(model, _fitted(model), precision, CPU)


def test_a_tokenizer_that_is_another_once_saved_is_refused() -> None:
    """Its ids in training would not be those of the exported model."""
    tokenizer = train_tokenizer(SENTENCES * 4, vocab_size=TINY_VOCABULARY)
    model = tiny_model("decoder")._replace(tokenizer=tokenizer)
    fitted = _fitted(model)
    check_ids(model, fitted)
    tokenizer.add_tokens(["review"])

    with pytest.raises(SelfTestFailed, match="the input of example 0"):
        check_all(model, fitted, "fp32", CPU)


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_a_pack_that_supervises_other_ids_is_refused(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Targets shifted by one place look well in any loss curve."""
    model = tiny_model(architecture)

    def shifted(*arguments: Any) -> PackedBatch:
        batch = pack_batch(*arguments)
        return batch._replace(target_ids=np.roll(batch.target_ids, 1, axis=1))

    monkeypatch.setattr(selftest, "pack_batch", shifted)

    with pytest.raises(SelfTestFailed, match="of example 0"):
        check_ids(model, _fitted(model))


def _fitted(model: Model) -> list[Fitted]:
    texts = [("Is this review positive or negative?", "positive"), ("Write a sentence.", "A dog ran.")]
    rendered = [
        Rendered(input=text, target=target, choices=(), answer=target, references=(target,))
        for text, target in texts
    ]
    return [Fitted(each, encode(model.tokenizer, model.card.contract, each), None) for each in rendered]


def _leak_gradients(network: nn.Module) -> None:
    def leak(_: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        mean = output.mean(dim=1, keepdim=True)
        return output + (mean - mean.detach())

    network.get_input_embeddings().register_forward_hook(leak)


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
