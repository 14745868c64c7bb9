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
    schedule=st.sampled_from(["constant", "linear", "cosine", "inverse_sqrt"]),
    steps=st.integers(1, 500),
    warmup=st.integers(0, 500),
)
def test_rate_rises_to_the_peak_and_never_rises_again(schedule: str, steps: int, warmup: int) -> None:
    """No step has a rate of zero or above the peak; after warm-up it only falls."""
    wanted = _wanted(schedule, warmup)
    rates = [learning_rate(step, steps, wanted) for step in range(1, steps + 1)]

    assert all(0 < rate <= PEAK for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[max(warmup - 1, 0) :] == sorted(rates[max(warmup - 1, 0) :], reverse=True)


def test_schedules_at_a_known_place() -> None:
    """Warm-up ends at the peak, linear and cosine are half-way down in the middle, constant stays."""
    linear, cosine, constant = (_wanted(name, 10) for name in ("linear", "cosine", "constant"))

    assert learning_rate(5, 110, linear) == pytest.approx(PEAK / 2)
    assert learning_rate(10, 110, linear) == PEAK
    assert learning_rate(61, 110, linear) == pytest.approx(PEAK / 2)
    assert learning_rate(61, 110, cosine) == pytest.approx(PEAK / 2)
    assert learning_rate(110, 110, linear) == pytest.approx(PEAK / 100)
    assert learning_rate(110, 110, constant) == PEAK


def test_inverse_square_root_is_that_of_t5() -> None:
    """0.01 for 10,000 steps and 1/√step from there: T5's rate in pretraining, whatever the number of steps."""
    wanted = Optimizer.parse({"learning_rate": 0.01, "schedule": "inverse_sqrt", "warmup_steps": 10_000})

    for step in (1, 9_999, 10_000):
        assert learning_rate(step, 2**19, wanted) == pytest.approx(0.01)
    assert learning_rate(40_000, 2**19, wanted) == pytest.approx(0.005)
    assert learning_rate(2**19, 2**19, wanted) == pytest.approx(2**-9.5)
    assert learning_rate(25, 100, _wanted("inverse_sqrt", 0)) == pytest.approx(PEAK / 5)


def test_adamw_has_the_settings_of_the_spec() -> None:
    """After one update of a gradient of one the weight has moved by rate · 1 / (1 + ε), and has decayed."""
    weight = torch.nn.Parameter(torch.full((3,), 2.0))
    settings = {"name": "adamw", "learning_rate": 0.1, "weight_decay": 0.5, "beta1": 0.0, "epsilon": 1.0}
    optimizer = make_optimizer([weight], Optimizer.parse(settings))
    weight.grad = torch.ones(3)
    optimizer.step()

    assert optimizer.param_groups[0]["betas"] == (0.0, 0.999)
    assert torch.allclose(weight, torch.full((3,), 2.0 * (1 - 0.1 * 0.5) - 0.1 / 2))


def test_flan_default_is_adafactor_at_the_given_rate() -> None:
    """The update is the rate times the weights' own size, by no schedule of the optimizer's."""
    weight = torch.nn.Parameter(torch.full((4, 4), 2.0))
    optimizer = make_optimizer([weight], Optimizer())
    set_learning_rate(optimizer, 0.01)
    weight.grad = torch.ones(4, 4)
    optimizer.step()

    assert torch.allclose(weight, torch.full((4, 4), 2.0 - 0.01 * 2.0))
