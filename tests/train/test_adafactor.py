"""Adafactor is T5X's, and knows nothing of where its weights lie."""

from typing import Any

import numpy as np
import pytest
import torch

from flan.spec import Optimizer
from flan.train.adafactor import Adafactor
from flan.train.optim import make_optimizer, set_learning_rate
from tests.train.adafactor_rule import (
    UPDATES,
    Linear,
    Weights,
    assert_close,
    expected_weights,
    gradients,
    rates,
)

SETTINGS: dict[str, dict[str, Any]] = {
    "t5x": {},
    "decay": {"weight_decay": 0.1},
    "absolute": {"scale_parameter": False},
    "small_factors": {"factored_from": 4},
    "tight_clip": {"update_clip": 0.1, "decay_exponent": 0.5},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_updates_are_those_of_the_rule(settings: dict[str, Any]) -> None:
    """Factors, scale, clipping and decay together, step after step, equal the rule written in float64."""
    found = _trained(Linear(), UPDATES, settings)

    assert_close(found, expected_weights(UPDATES, settings))


def test_state_goes_on_where_it_was() -> None:
    """State saved and loaded in the middle changes no bit of what follows."""
    undisturbed, module = Linear(), Linear()
    whole = _trained(undisturbed, UPDATES, {})
    optimizer = make_optimizer(module.parameters(), Optimizer())
    _update(module, optimizer, range(10))
    state = optimizer.state_dict()
    fresh = make_optimizer(module.parameters(), Optimizer())
    fresh.load_state_dict(state)
    _update(module, fresh, range(10, UPDATES))

    assert all(np.array_equal(weight.detach(), whole[name]) for name, weight in module.named_parameters())


def test_a_matrix_keeps_a_row_and_a_column() -> None:
    """That is what Adafactor is for: of the large ones nothing as large as the weight is kept."""
    module = Linear()
    optimizer = make_optimizer(module.parameters(), Optimizer())
    _update(module, optimizer, range(1))
    kept = {
        name: optimizer.state[weight]["factors"].numel() + optimizer.state[weight]["squares"].numel()
        for name, weight in module.named_parameters()
    }

    assert kept == {
        "tall": 430,
        "wide": 386,
        "few_rows": 2100,
        "vector": 331,
        "stack": 2 * (128 + 131),
    }


def test_a_weight_without_gradient_stays_as_it_is() -> None:
    """A zero gradient, too, moves nothing: no division by zero."""
    unused, idle = torch.nn.Parameter(torch.ones(130, 130)), torch.nn.Parameter(torch.ones(130, 130))
    idle.grad = torch.zeros(130, 130)
    Adafactor([unused, idle], Optimizer()).step()

    assert bool((unused == 1).all())
    assert bool((idle == 1).all())


def _trained(module: Linear, num_updates: int, settings: dict[str, Any]) -> Weights:
    optimizer = make_optimizer(module.parameters(), Optimizer.parse(settings))
    _update(module, optimizer, range(num_updates))
    return {name: weight.detach().numpy() for name, weight in module.named_parameters()}


def _update(module: Linear, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        set_learning_rate(optimizer, rates(steps.stop)[step])
        for name, gradient in gradients(step).items():
            module.get_parameter(name).grad = torch.from_numpy(gradient)
        optimizer.step()
