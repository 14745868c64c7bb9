"""Layers that are computed again give the gradient of layers that are kept."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from flan.data.packing import pack_batch
from flan.data.tokens import Tokens
from flan.data.window import Lengths
from flan.model.load import Architecture, Model
from flan.model.masks import to_tensors
from flan.train.base import recompute_layers
from flan.train.objective import Objective
from tests.kit.models import tiny_model


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_recomputed_layers_give_the_same_loss_and_gradient(architecture: Architecture) -> None:
    """Bit for bit on packs, dropout included; and the layers really ran twice."""
    kept, recomputed = _model(architecture), _model(architecture)
    recompute_layers(recomputed.network)

    loss, gradients, calls = _gradients(kept)
    again, regained, more_calls = _gradients(recomputed)
    # A decoder's last layer keeps what it computes: its turn comes before anything else is computed again.
    assert (again, more_calls) == (loss, 2 * calls - (architecture == "decoder"))
    assert gradients.keys() == regained.keys()
    assert [name for name in gradients if not torch.equal(gradients[name], regained[name])] == []


def _model(architecture: Architecture) -> Model:
    model = tiny_model(architecture)
    if architecture == "encoder_decoder":
        config = model.network.config
        config.dropout_rate = 0.1
        network = T5ForConditionalGeneration(config)
        network.load_state_dict(model.network.state_dict())
        model = model._replace(network=network)
    model.network.train()
    return model


def _gradients(model: Model) -> tuple[float, dict[str, Tensor], int]:
    objective, calls = Objective(model.network, "fp32"), 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    for name, module in model.network.named_modules():
        if name.endswith((".o_proj", ".o")):
            assert isinstance(module, nn.Linear)
            module.register_forward_hook(count)
    torch.manual_seed(1)
    loss = objective(to_tensors(_batch(model)))
    loss.backward()
    gradients = {name: w.grad for name, w in model.network.named_parameters() if w.grad is not None}
    return loss.item(), gradients, calls


def _batch(model: Model) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(1)
    examples = [
        Tokens(random.integers(3, 300, num_input, np.int32), random.integers(3, 300, num_target, np.int32))
        for num_input, num_target in ((9, 3), (17, 1), (4, 6))
    ]
    contract = model.card.contract
    lengths = Lengths(44, 0) if contract.architecture == "decoder" else Lengths(34, 14)
    return pack_batch([examples], lengths, contract)
