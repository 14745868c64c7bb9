"""The steps, top to bottom.

A step takes the packs of the global stream that are this rank's, in micro-batches of equal number at every
rank; sums the loss of their target tokens, divided by the target tokens of the whole step; and updates the
weights once the ranks have agreed that all of it is finite.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch

from flan.data.batches import StepBatch, Stream, TaskCounts, share
from flan.errors import FlanError
from flan.model.masks import Batch, to_tensors
from flan.rundir import EventWriter, Wish
from flan.spec import TuneSpec
from flan.stopping import WishReader
from flan.train.optim import learning_rate, set_learning_rate
from flan.train.ranks import Ranks
from flan.train.zero import local_squares

Ending = Literal["done", "stopped"]


class NonFiniteLoss(FlanError):
    """A step's loss or gradient is not a number; the weights were not touched."""

    code, blame = "loss_nan", "user"


class StepResult(NamedTuple):
    """What the ranks agreed on in a step."""

    loss: float
    """Nats per target token."""
    gradient_norm: float
    """Global, before clipping."""
    wish: Wish


@dataclass
class Progress:
    """Where training stands; what a checkpoint continues from."""

    step: int = 0
    target_tokens: int = 0


@dataclass
class Meter:
    """Throughput since the last look."""

    started: float = field(default_factory=time.monotonic)
    steps: int = 0
    tokens: int = 0

    def count(self, tokens: int) -> None:
        """One more step, of so many tokens."""
        self.steps += 1
        self.tokens += tokens

    def read(self) -> tuple[float, float]:
        """Tokens per second and seconds per step; starts anew."""
        elapsed = max(time.monotonic() - self.started, 1e-9)
        figures = self.tokens / elapsed, elapsed / max(self.steps, 1)
        self.started, self.steps, self.tokens = time.monotonic(), 0, 0
        return figures


def train(
    spec: TuneSpec,
    engine: Any,
    stream: Stream,
    ranks: Ranks,
    progress: Progress,
    *,
    wishes: WishReader,
    save: Callable[[], None],
    events: EventWriter | None,
) -> Ending:
    """Take steps until `spec.steps` are done or a wish ends it; "stopped" then.

    A checkpoint is saved every `spec.checkpoint_every` steps, after the last, and before a pause.
    Raises NonFiniteLoss, and whatever `save` raises.
    """
    meter = Meter()
    while progress.step < spec.steps:
        batch = stream.next_step()
        step = progress.step + 1
        rate = learning_rate(step, spec.steps, spec.optimizer)
        set_learning_rate(engine.optimizer, rate)
        micro_batches = [
            to_tensors(micro_batch, ranks.device)
            for micro_batch in share(batch, ranks.rank, ranks.world_size, spec.micro_batch)
        ]
        gradients = accumulate(engine, ranks, micro_batches, batch.target_tokens, wishes.read())
        if not math.isfinite(gradients.loss) or not math.isfinite(gradients.gradient_norm):
            raise _not_finite(step, gradients, batch)
        engine.step()
        progress.step, progress.target_tokens = step, progress.target_tokens + batch.target_tokens
        meter.count(batch.num_tokens)
        if events is not None and (step % spec.log_every == 0 or step in (1, spec.steps)):
            _report(events, spec, progress, gradients, rate, stream, meter)
        is_pausing = gradients.wish == "pause" and step < spec.steps
        if gradients.wish != "cancel" and (
            step % spec.checkpoint_every == 0 or step == spec.steps or is_pausing
        ):
            save()
        if gradients.wish == "cancel" or is_pausing:
            if events is not None:
                events.append("run.stopped", wish=gradients.wish, step=step)
            return "stopped"
    return "done"


def accumulate(
    engine: Any, ranks: Ranks, micro_batches: Sequence[Batch], target_tokens: int, wish: Wish
) -> StepResult:
    """Sum the gradient of a step in `engine`, ready for the update, and agree on loss, norm and wish.

    DeepSpeed averages gradients over ranks: the factor `world_size` turns that back into a sum. Its division
    by the number of micro-batches is off.
    """
    losses = torch.zeros((), dtype=torch.float64, device=ranks.device)
    for i, micro_batch in enumerate(micro_batches):
        if i > 0:
            engine.step()  # counts the micro-batch before; updates nothing until the last
        loss = engine(micro_batch)
        engine.backward(loss * (ranks.world_size / target_tokens), scale_wrt_gas=False)
        losses += loss.detach()
    loss_sum, squares, num_pause, num_cancel = ranks.sum(
        float(losses), local_squares(engine), wish == "pause", wish == "cancel"
    )
    agreed: Wish = "cancel" if num_cancel > 0 else "pause" if num_pause > 0 else "run"
    return StepResult(loss_sum / target_tokens, math.sqrt(squares) if squares >= 0 else math.nan, agreed)


def _not_finite(step: int, gradients: StepResult, batch: StepBatch) -> NonFiniteLoss:
    draws = sorted(draw for pack in batch.draws for draw in pack)
    return NonFiniteLoss(
        f"step {step}: loss {gradients.loss}, gradient norm {gradients.gradient_norm}, in {len(draws)} examples "
        f"of draws {draws[0]} to {draws[-1]}; the weights were not touched",
        hint="lower optimizer.learning_rate, add warmup_steps or gradient_clip, or look at those draws",
        step=step,
        draws=draws,
    )


def _report(
    events: EventWriter,
    spec: TuneSpec,
    progress: Progress,
    gradients: StepResult,
    rate: float,
    stream: Stream,
    meter: Meter,
) -> None:
    tokens_per_s, seconds_per_step = meter.read()
    values = {
        "train/loss": gradients.loss,
        "train/learning_rate": rate,
        "train/gradient_norm": gradients.gradient_norm,
        "train/tokens_per_s": round(tokens_per_s, 1),
        "train/target_tokens": progress.target_tokens,
    }
    totals = _totals(stream)
    counts = {f"data/{name}": count for name, count in totals.items()}
    events.append("metrics", step=progress.step, values=values | counts)
    events.append(
        "progress",
        step=progress.step,
        total_steps=spec.steps,
        eta_s=round(seconds_per_step * (spec.steps - progress.step), 1),
        loss=round(gradients.loss, 4),
        tokens_per_s=round(tokens_per_s),
        **totals,
    )


def _totals(stream: Stream) -> dict[str, int]:
    """What became of the draws so far, over all tasks: anything dropped or cut is shown."""
    totals: Counter[str] = Counter()
    for counts in stream.counts().values():
        totals.update(drawn=counts.drawn, cut=counts.cut, dropped=sum(drops(counts).values()))
    return dict(totals)


def drops(counts: TaskCounts) -> dict[str, int]:
    """Reason → how many draws of a task could not be used for it, where there are some."""
    reasons = ("input_too_long", "target_too_long", "bad_row")
    return {reason: getattr(counts, reason) for reason in reasons if getattr(counts, reason) > 0}
