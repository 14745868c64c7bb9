"""The rate of a step is a pure function of the step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flan.spec import Optimizer
from flan.train.optim import learning_rate, make_optimizer, set_learning_rate

PEAK = 1e-3


def _wanted(schedule: str, warmup: int) -> Optimizer:
    return Optimizer.parse(
        {"name": "adamw", "learning_rate": PEAK, "schedule": schedule, "warmup_steps": warmup}
    )


@given(
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    steps=st.integers(1, 500),
    warmup=st.integers(0, 500),
)
def test_rate_rises_to_the_peak_and_never_rises_again(schedule: str, steps: int, warmup: int) -> None:
    """No step has a rate of zero or above the peak; after warm-up it only falls."""
    wanted = _wanted(schedule, warmup)
    rates = [learning_rate(step, steps, wanted) for step in range(1, steps + 1)]

    assert all(0 < rate <= PEAK for rate in rates)
    assert rates[: warmup + 1] == sorted(rates[: warmup + 1])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)


def test_schedules_at_a_known_place() -> None:
    """Warm-up ends at the peak, linear and cosine are half-way down in the middle, constant stays."""
    linear, cosine, constant = (_wanted(name, 10) for name in ("linear", "cosine", "constant"))

    assert learning_rate(5, 110, linear) == pytest.approx(PEAK / 2)
    assert learning_rate(10, 110, linear) == PEAK
    assert learning_rate(61, 110, linear) == pytest.approx(PEAK / 2)
    assert learning_rate(61, 110, cosine) == pytest.approx(PEAK / 2)
    assert learning_rate(110, 110, linear) == pytest.approx(PEAK / 100)
    assert learning_rate(110, 110, constant) == PEAK


def test_flan_default_is_adafactor_at_the_given_rate() -> None:
    """The update is the rate times the weights' own size, by no schedule of the optimizer's."""
    weight = torch.nn.Parameter(torch.full((4, 4), 2.0))
    optimizer = make_optimizer([weight], Optimizer())
    set_learning_rate(optimizer, 0.01)
    weight.grad = torch.ones(4, 4)
    optimizer.step()

    assert torch.allclose(weight, torch.full((4, 4), 2.0 - 0.01 * 2.0))
