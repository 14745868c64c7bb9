"""Adafactor written down once more in numpy, a weight at a time, to compare the optimizer with."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Weights = dict[str, NDArray[np.float32]]
SHAPES = {
    "tall": (300, 130),
    "wide": (129, 257),
    "few_rows": (7, 300),
    "vector": (331,),
    "stack": (2, 128, 131),
}
"""Cut in two they are cut within rows, and no sum of them is even."""
UPDATES = 25


class Linear(nn.Module):
    """A loss that is linear in its weights: its gradient is what it was called with, at any stage of ZeRO."""

    def __init__(self) -> None:
        super().__init__()
        for name, weight in first_weights().items():
            self.register_parameter(name, nn.Parameter(torch.from_numpy(weight)))

    def forward(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Σ weight · gradient: a scalar."""
        return torch.stack([(self.get_parameter(name) * g).sum() for name, g in gradients.items()]).sum()


def first_weights() -> Weights:
    """One weight of each of SHAPES; of different sizes, one nearly zero."""
    random = np.random.default_rng(1)
    sizes = (1.0, 0.02, 1e-5, 3.0, 0.3)
    return {
        name: (size * random.standard_normal(shape)).astype(np.float32)
        for size, (name, shape) in zip(sizes, SHAPES.items(), strict=True)
    }


def gradients(step: int) -> Weights:
    """The gradient of `step`: uneven over rows and columns, large at times, so that clipping has work."""
    random = np.random.default_rng(100 + step)
    scale = 30.0 if step % 7 == 6 else 1.0
    return {
        name: (scale * random.standard_normal(shape) * np.exp(2 * random.standard_normal(shape[-1]))).astype(
            np.float32
        )
        for name, shape in SHAPES.items()
    }


def rates(num_updates: int) -> list[float]:
    """A rate that is another at each step."""
    return [0.01 / (1 + 0.1 * step) for step in range(num_updates)]


def expected_weights(num_updates: int, settings: Mapping[str, Any]) -> Weights:
    """The weights after `num_updates`, with all arithmetic in float64."""
    found: Weights = {}
    for name, first in first_weights().items():
        stack = first.reshape(-1, *first.shape[-2:]) if first.ndim > 2 else first[None]
        series = [
            gradients(step)[name].reshape(stack.shape).astype(np.float64) for step in range(num_updates)
        ]
        updated = [
            _updated(weight, [gradient[i] for gradient in series], settings)
            for i, weight in enumerate(stack.astype(np.float64))
        ]
        found[name] = np.stack(updated).reshape(first.shape).astype(np.float32)
    return found


def assert_close(found: Weights, expected: Weights) -> None:
    """Equal to fp32 rounding, relative to the size of each weight."""
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert np.abs(found[name] - weight).max() <= 1e-6 * np.abs(weight).max(), name


def _updated(
    weight: NDArray[np.float64], series: Sequence[NDArray[np.float64]], settings: Mapping[str, Any]
) -> NDArray[np.float64]:
    is_factored = weight.ndim == 2 and min(weight.shape) >= settings.get("factored_from", 128)
    rows = columns = moments = np.float64(0)
    for step, (gradient, rate) in enumerate(zip(series, rates(len(series)), strict=True), start=1):
        beta = 1 - step ** -settings.get("decay_exponent", 0.8)
        squares = gradient**2 + 1e-30
        if is_factored:
            rows = beta * rows + (1 - beta) * squares.mean(axis=1)
            columns = beta * columns + (1 - beta) * squares.mean(axis=0)
            update = gradient / np.sqrt(np.outer(rows, columns) / rows.mean())
        else:
            moments = beta * moments + (1 - beta) * squares
            update = gradient / np.sqrt(moments)
        update /= max(1.0, _rms(update) / settings.get("update_clip", 1.0))
        size = max(1e-3, _rms(weight)) if settings.get("scale_parameter", True) else 1.0
        weight = (1 - rate * settings.get("weight_decay", 0.0)) * weight - rate * size * update
    return weight


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt((values**2).mean()))
