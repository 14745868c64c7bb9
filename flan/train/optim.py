"""Optimizers and the learning rate of each step.

Client optimizers only: those DeepSpeed builds itself compile code when first used, and its schedulers step
when they like. Here the rate of a step is a pure function of the step, so a resumed run has the same.
"""

import math
from collections.abc import Iterable

from torch.nn import Parameter
from torch.optim import AdamW
from torch.optim import Optimizer as TorchOptimizer
from transformers.optimization import Adafactor

from flan.spec import Optimizer


def make_optimizer(parameters: Iterable[Parameter], wanted: Optimizer) -> TorchOptimizer:
    """The optimizer of a spec, at the spec's peak learning rate.

    Adafactor as T5X has it (decay 0.8, update clipping 1, no momentum), with the rate given, not derived;
    `scale_parameter` multiplies it by each weight's own size. AdamW with betas 0.9, 0.999.
    """
    if wanted.name == "adafactor":
        return Adafactor(  # type: ignore[no-any-return]
            parameters,
            lr=wanted.learning_rate,
            weight_decay=wanted.weight_decay,
            scale_parameter=wanted.scale_parameter,
            relative_step=False,
            warmup_init=False,
        )
    return AdamW(parameters, lr=wanted.learning_rate, weight_decay=wanted.weight_decay)


def learning_rate(step: int, steps: int, wanted: Optimizer) -> float:
    """Learning rate of `step`, of 1 … `steps`.

    Warm-up rises in a straight line and reaches the peak at step `warmup_steps`. After it the rate stays, or
    falls, in a straight line or half a cosine, from the peak towards zero, which step `steps` + 1 would have.
    """
    if step <= wanted.warmup_steps:
        return wanted.learning_rate * step / wanted.warmup_steps
    if wanted.schedule == "constant":
        return wanted.learning_rate
    # 0 at the first step after warm-up, below 1 at the last: no step is spent on a rate of zero.
    passed = (step - wanted.warmup_steps - 1) / max(1, steps - wanted.warmup_steps)
    if wanted.schedule == "linear":
        return wanted.learning_rate * (1 - passed)
    return wanted.learning_rate * (1 + math.cos(math.pi * passed)) / 2


def set_learning_rate(optimizer: TorchOptimizer, rate: float) -> None:
    """Use `rate` for the next update of every weight."""
    for group in optimizer.param_groups:
        group["lr"] = rate
