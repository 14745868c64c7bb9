"""Optimizers and the learning rate of each step.

Client optimizers only: those DeepSpeed builds itself compile code when first used, and its schedulers step
when they like. Here the rate of a step is a pure function of the step, so a resumed run has the same.
"""

import math
from collections.abc import Iterable

from torch.nn import Parameter
from torch.optim import AdamW
from torch.optim import Optimizer as TorchOptimizer

from flan.spec import Optimizer
from flan.train.adafactor import Adafactor


def make_optimizer(weights: Iterable[Parameter], wanted: Optimizer) -> TorchOptimizer:
    """The optimizer of a spec, at the spec's peak learning rate.

    AdamW draws every weight to zero in proportion to the rate, vectors too, and so does Adafactor. It is PyTorch's
    fused one: a sixth of the time of its loop over weights, on a CPU.
    """
    if wanted.name == "adafactor":
        return Adafactor(weights, wanted)
    return AdamW(
        weights,
        lr=wanted.learning_rate,
        betas=(wanted.beta1, wanted.beta2),
        eps=wanted.epsilon,
        weight_decay=wanted.weight_decay,
        fused=True,
    )


def learning_rate(step: int, steps: int, wanted: Optimizer) -> float:
    """Learning rate of `step`, of 1 … `steps`.

    inverse_sqrt is T5's 1/√max(step, warm-up) as a share of its highest value: the peak for `warmup_steps`,
    from then on peak · √(warm-up / step) (Raffel et al. 2020, 3.1.2: the peak 0.01, 10,000 steps of it).

    With the others warm-up rises in a straight line and reaches the peak at step `warmup_steps`. After it the
    rate stays, or falls, in a straight line or half a cosine, from the peak towards zero, which step
    `steps` + 1 would have.
    """
    peak, warmup = wanted.learning_rate, wanted.warmup_steps
    if wanted.schedule == "inverse_sqrt":
        return peak * math.sqrt(max(warmup, 1) / max(step, warmup))
    if step <= warmup:
        return peak * step / warmup
    if wanted.schedule == "constant":
        return peak
    # 0 at the first step after warm-up, below 1 at the last: no step is spent on a rate of zero.
    passed = (step - warmup - 1) / max(1, steps - warmup)
    if wanted.schedule == "linear":
        return peak * (1 - passed)
    return peak * (1 + math.cos(math.pi * passed)) / 2


def set_learning_rate(optimizer: TorchOptimizer, rate: float) -> None:
    """Use `rate` for the next update of every weight."""
    for group in optimizer.param_groups:
        group["lr"] = rate
