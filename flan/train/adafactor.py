"""Adafactor as T5X runs it, exact on the flat partitions that ZeRO hands an optimizer.

The t-th update of a matrix W by its gradient G, at the rate η (Shazeer and Stern 2018, algorithms 4 and 5;
settings and order of T5X's `t5x/adafactor.py`, without momentum):

    β = 1 − t^−0.8                                        decay_exponent
    r ← β r + (1 − β) (mean of G² over columns + ε₁)      one number a row; c likewise, one a column
    U = G / √(r cᵀ / mean of r)
    U ← U / max(1, RMS(U) / 1.0)                          update_clip
    W ← (1 − η λ) W − η max(ε₂, RMS(W)) U                 weight_decay, scale_parameter

A vector, and a matrix with a side below `factored_from`, keeps v ← β v + (1 − β) (G² + ε₁) instead, and
U = G / √v. A weight of more than two dimensions is a stack of matrices, each by itself: T5X's BATCH axes.
The decay is T5X's with `weight_decay_rate_lr_exponent` 1: proportional to the rate, as AdamW's is.

Hugging Face's Adafactor differs: it factors every matrix, however small, takes the RMS of a whole stack, and
multiplies λ by RMS(W) too. On ZeRO's partitions it would see a vector: no rows, no columns, one RMS for many
weights.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer as TorchOptimizer

from flan.spec import Optimizer
from flan.train.partitions import Partition, Plan, Slice, make_plan


class Adafactor(TorchOptimizer):
    """The rule above, for weights and gradients in fp32. A gradient is overwritten by its update.

    Sums over a matrix go over the ranks that share it, in two collectives for a partition: the second is of
    U², and U needs the first. Every rank then holds the factors of all matrices, and of other moments those
    of its own partition.
    """

    def __init__(self, weights: Iterable[Parameter], wanted: Optimizer) -> None:
        super().__init__(weights, {"lr": wanted.learning_rate})
        self._wanted = wanted
        self._plans: dict[Tensor, Plan] = {}

    def place(self, partitions: Mapping[Tensor, Partition]) -> None:
        """Say what each flat tensor holds. One of which nothing is said is a whole weight."""
        for flat, partition in partitions.items():
            self._plans[flat] = make_plan(partition, self._wanted.factored_from, flat.device)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient. At a partition, a collective."""
        assert closure is None, "gradients are there before the update"
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group["lr"])

    def _update(self, weight: Tensor, gradient: Tensor, rate: float) -> None:
        assert weight.dtype == gradient.dtype == torch.float32, "weights and gradients are fp32"
        plan, state = self._plan_of(weight), self.state[weight]
        if not state:
            state["step"] = 0
            state["factors"] = weight.new_zeros(len(plan.counts))
            state["squares"] = weight.new_zeros(plan.num_squares)
        state["step"] += 1
        decay = 1 - state["step"] ** -self._wanted.decay_exponent
        flat, update = weight.detach().view(-1), gradient.reshape(-1)

        factor_sums, weight_sums = _sums(plan, flat, update)
        means = factor_sums / plan.counts + self._wanted.square_epsilon
        state["factors"].mul_(decay).add_(means.float(), alpha=1 - decay)
        update_sums = self._precondition(plan, state, update, decay)
        rates = self._rates(rate, (weight_sums / plan.numels).sqrt(), (update_sums / plan.numels).sqrt())
        flat.mul_(1 - rate * self._wanted.weight_decay)
        for tile in plan.tiles:
            tile.of(flat).sub_(tile.of(update).mul_(rates[tile.matrix]))

    def _plan_of(self, weight: Tensor) -> Plan:
        if weight not in self._plans:
            whole = Slice(tuple(weight.shape), 0, weight.numel(), 0)
            self.place({weight: Partition((whole,), None)})
        return self._plans[weight]

    def _precondition(self, plan: Plan, state: dict[str, Any], update: Tensor, decay: float) -> Tensor:
        """Turn the gradient into U, before clipping; the sum of its squares for each matrix."""
        sums = torch.zeros_like(plan.numels)
        for tile in plan.tiles:
            part = tile.of(update)
            if tile.is_factored:
                rows, all_rows = state["factors"][tile.rows], state["factors"][tile.all_rows]
                part.mul_((rows / all_rows.mean()).rsqrt()[:, None])
                part.mul_(state["factors"][tile.columns].rsqrt())
            else:
                moments = state["squares"][tile.squares]
                moments.mul_(decay).add_(part[0].square() + self._wanted.square_epsilon, alpha=1 - decay)
                part.mul_(moments.rsqrt())
            sums[tile.matrix] += part.square().sum()
        return _over_ranks(sums, plan)

    def _rates(self, rate: float, weight_rms: Tensor, update_rms: Tensor) -> Tensor:
        """What each matrix's U is multiplied by."""
        rates = torch.full_like(update_rms, rate)
        if self._wanted.scale_parameter:
            rates *= weight_rms.clamp(min=self._wanted.scale_epsilon)
        if self._wanted.update_clip > 0:
            rates /= (update_rms / self._wanted.update_clip).clamp(min=1)
        return rates


def _sums(plan: Plan, weights: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of squares, over ranks: of gradients for each factor, of weights for each matrix."""
    sums = torch.zeros(len(plan.counts) + len(plan.numels), dtype=torch.float64, device=weights.device)
    factors, matrices = sums[: len(plan.counts)], sums[len(plan.counts) :]
    for tile in plan.tiles:
        if tile.is_factored:
            squares = tile.of(gradient).square()
            factors[tile.rows] += squares.sum(1)
            factors[tile.columns] += squares.sum(0)
        matrices[tile.matrix] += tile.of(weights).square().sum()
    _over_ranks(sums, plan)
    return factors, matrices


def _over_ranks(sums: Tensor, plan: Plan) -> Tensor:
    # In float64, so that the order in which ranks are added does not show in fp32.
    if plan.group is not None:
        dist.all_reduce(sums, group=plan.group)
    return sums
