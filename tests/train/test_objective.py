"""The loss is exact where it is computed, and absent where it is not."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from flan.data.packing import PackedBatch, pack_batch, select
from flan.data.tokens import Tokens
from flan.data.window import Lengths
from flan.model.load import Architecture, Model
from flan.model.masks import forward, to_tensors
from flan.train.objective import Objective
from tests.kit.models import tiny_model

ARCHITECTURES: list[Architecture] = ["decoder", "encoder_decoder"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_head_at_supervised_places_gives_the_whole_gradient(architecture: Architecture) -> None:
    """Loss and gradients equal those of a head computed everywhere and weighted after."""
    model = tiny_model(architecture)
    batch = to_tensors(_batch(model))
    Objective(model.network, "fp32")(batch).backward()
    found = _take_gradients(model)
    losses = cross_entropy(
        forward(model.network, batch).transpose(1, 2), batch["target_ids"], reduction="none"
    )
    (losses * batch["loss_weights"]).sum().backward()

    for name, gradient in _take_gradients(model).items():
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_of_a_pack_is_the_sum_over_its_examples(architecture: Architecture) -> None:
    """Packed equals unpacked: a pack loses what its examples lose one by one."""
    model = tiny_model(architecture)
    objective = Objective(model.network, "fp32")
    alone = [objective(to_tensors(_batch(model, [example]))).item() for example in _examples()]

    assert objective(to_tensors(_batch(model))).item() == pytest.approx(sum(alone), rel=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_empty_pack_costs_nothing_and_reaches_every_weight(architecture: Architecture) -> None:
    """A rank without a pack still has a gradient of zero for each weight: its peers' collectives wait for it."""
    model = tiny_model(architecture)
    loss = Objective(model.network, "fp32")(to_tensors(select(_batch(model), [-1])))
    loss.backward()

    assert loss.item() == 0
    gradients = _take_gradients(model)
    assert gradients.keys() == {name for name, _ in model.network.named_parameters()}
    assert all(bool((gradient == 0).all()) for gradient in gradients.values())


def test_bf16_keeps_weights_gradients_and_loss_in_fp32() -> None:
    """bf16 is the type of products, never of a sum that is kept."""
    model = tiny_model("decoder")
    loss = Objective(model.network, "bf16")(to_tensors(_batch(model)))
    exact = Objective(model.network, "fp32")(to_tensors(_batch(model)))
    loss.backward()

    assert loss.dtype == torch.float32
    assert {gradient.dtype for gradient in _take_gradients(model).values()} == {torch.float32}
    assert loss.item() != exact.item()
    assert loss.item() == pytest.approx(exact.item(), rel=2e-3)


def _examples() -> list[Tokens]:
    random = np.random.default_rng(1)
    return [
        Tokens(random.integers(3, 300, num_input, np.int32), random.integers(3, 300, num_target, np.int32))
        for num_input, num_target in ((9, 3), (17, 1), (4, 6))
    ]


def _batch(model: Model, examples: list[Tokens] | None = None) -> PackedBatch:
    contract = model.card.contract
    lengths = Lengths(44, 0) if contract.architecture == "decoder" else Lengths(34, 14)
    return pack_batch([examples or _examples()], lengths, contract)


def _take_gradients(model: Model) -> dict[str, Any]:
    gradients = {n: w.grad.clone() for n, w in model.network.named_parameters() if w.grad is not None}
    model.network.zero_grad()
    return gradients
