"""One step up to its update: this rank's micro-batches, their gradient, and what the ranks agree on.

# B packs, L positions, N supervised positions of a micro-batch, T tasks
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flan.data.batches import StepBatch, shares
from flan.data.examples import Examples
from flan.data.packing import PackedDecoder, select
from flan.errors import FlanError
from flan.model.masks import Batch, to_tensors
from flan.rundir import Wish
from flan.train.ranks import Ranks
from flan.train.saver import Writing
from flan.train.zero import local_squares

MAX_NAMED = 256
"""Rows that an error names."""


class NonFiniteLoss(FlanError):
    """A step's loss or gradient is not a number; the weights were not touched."""

    code, blame = "loss_nan", "user"


class Sources:
    """Which task, row and template each draw is."""

    def __init__(self, examples: Examples, tasks: Iterable[str]) -> None:
        self.draw, self.asked, self.template = examples.draw, examples.asked, examples.template
        self.tasks = sorted(tasks)
        self._numbers = {task: i for i, task in enumerate(self.tasks)}

    def task_ids(self, batch: StepBatch) -> npt.NDArray[np.int64]:
        """(packs, L): the number of the task that each place belongs to; padding says 0."""
        packs = batch.packs
        segments_BL = packs.segment_ids if isinstance(packs, PackedDecoder) else packs.decoder_segment_ids
        rows = [
            np.array([0, *(self._numbers[self.draw(draw).task] for draw in draws)])[segments_L]
            for draws, segments_L in zip(batch.draws, segments_BL, strict=True)
        ]
        return np.stack(rows)


class Losses(NamedTuple):
    """Nats and supervised tokens of a step by task, in the order of `Sources.tasks`."""

    nats: list[float]
    tokens: list[float]


class Told(NamedTuple):
    """What a rank has to say besides its gradient."""

    wish: Wish
    writing: Writing
    """Of the last checkpoint."""


class StepResult(NamedTuple):
    """What the ranks agreed on in a step."""

    loss: float
    """Nats per target token."""
    gradient_norm: float
    """Global, before clipping."""
    losses: Losses
    wish: Wish
    writing: Writing

    @property
    def is_finite(self) -> bool:
        """Whether the weights may be updated."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


def local_batches(batch: StepBatch, sources: Sources, ranks: Ranks, micro_batch: int) -> list[Batch]:
    """This rank's micro-batches of a step, with the task of each place."""
    task_ids_BL = sources.task_ids(batch)
    return [
        to_tensors(select(batch.packs, packs), ranks.device)
        | {"task_ids": torch.from_numpy(task_ids_BL[packs]).to(ranks.device)}
        for packs in shares(len(batch.draws), ranks.rank, ranks.world_size, micro_batch)
    ]


def accumulate(
    engine: Any, ranks: Ranks, micro_batches: Sequence[Batch], target_tokens: int, num_tasks: int, told: Told
) -> StepResult:
    """Sum the gradient of a step in `engine`, ready for the update, and agree on all else.

    DeepSpeed averages gradients over ranks: the factor `world_size` turns that back into a sum. Its division
    by the number of micro-batches is off.
    """
    loss_sum = torch.zeros((), dtype=torch.float64, device=ranks.device)
    by_task_2T = torch.zeros((2, num_tasks), dtype=torch.float64, device=ranks.device)
    for i, micro_batch in enumerate(micro_batches):
        if i > 0:
            engine.step()  # counts the micro-batch before; updates nothing until the last
        loss = engine(micro_batch)
        engine.backward(loss * (ranks.world_size / target_tokens), scale_wrt_gas=False)
        loss_sum += loss.detach()
        _add_by_task(by_task_2T, micro_batch, engine.module.token_losses)
    total, squares, num_pause, num_cancel, busy, failed, full, *by_task = ranks.sum(
        float(loss_sum), local_squares(engine), told.wish == "pause", told.wish == "cancel", *told.writing,
        *by_task_2T.flatten().tolist(),
    )  # fmt: skip
    return StepResult(
        loss=total / target_tokens,
        gradient_norm=math.sqrt(squares) if squares >= 0 else math.nan,
        losses=Losses(by_task[:num_tasks], by_task[num_tasks:]),
        wish="cancel" if num_cancel > 0 else "pause" if num_pause > 0 else "run",
        writing=Writing(busy, failed, full),
    )


def not_finite(step: int, result: StepResult, batch: StepBatch, sources: Sources) -> NonFiniteLoss:
    """The error of a step that is not finite: the rows in which the fault may lie.

    Where the losses of some tasks are not finite, those of the other tasks are left out.
    """
    nats = zip(sources.tasks, result.losses.nats, strict=True)
    wrong = [task for task, sum_ in nats if not math.isfinite(sum_)]
    draws = [(number, sources.asked(number)) for pack in batch.draws for number in pack]
    suspects = sorted((number, draw) for number, draw in draws if not wrong or draw.task in wrong)
    tasks = Counter(draw.task for _, draw in suspects).most_common()
    named = ", ".join(f"{count} of {task}" for task, count in tasks[:5]) + (", …" if len(tasks) > 5 else "")
    return NonFiniteLoss(
        f"step {step}: loss {result.loss:.4g}, gradient norm {result.gradient_norm:.4g}; {len(suspects)} of its "
        f"{len(draws)} examples are suspected: {named}; the weights were not touched",
        hint="lower optimizer.learning_rate, add warmup_steps or gradient_clip, or look at the rows named",
        step=step,
        tasks=wrong,
        rows=[{"draw": number, **draw._asdict()} for number, draw in suspects[:MAX_NAMED]],
    )


def _add_by_task(sums_2T: Tensor, batch: Batch, losses_N: Tensor) -> None:
    tasks_N = batch["task_ids"][batch["loss_weights"] > 0]
    sums_2T[0].index_add_(0, tasks_N, losses_N.double())
    sums_2T[1].index_add_(0, tasks_N, torch.ones_like(losses_N, dtype=torch.float64))
