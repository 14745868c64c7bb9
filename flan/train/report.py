"""What a run tells while it runs, and where it stands.

Every rank keeps the same account, for the figures of a step are summed over the ranks in the step's one
collective; rank 0 tells it. What is counted over several steps lies in checkpoints with the rest, so a
resumed run tells the very figures that an undisturbed one would.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import psutil
import torch

from flan.data.batches import StepBatch, TaskCounts, by_task
from flan.data.pack_view import first_pack
from flan.data.packing import PackedDecoder
from flan.data.stream import Stream
from flan.data.tokens import AnyTokenizer
from flan.rundir import EventWriter, Wish
from flan.spec import TuneSpec
from flan.train.flops import Costs, peak_flops, training_flops
from flan.train.progress import SMOOTHING, Progress, TaskLoss
from flan.train.ranks import Ranks
from flan.train.step import Losses, Sources


class Report:
    """Counts every step; tells of loss, speed, data, memory every `log_every` and with every checkpoint.

    `clusters` gives the cluster of each task that is trained on.
    """

    def __init__(
        self,
        spec: TuneSpec,
        progress: Progress,
        clusters: Mapping[str, str],
        stream: Stream,
        costs: Costs,
        ranks: Ranks,
        events: EventWriter | None,
        tokenizer: AnyTokenizer,
    ) -> None:
        self.progress = progress
        self._tokenizer = tokenizer
        self._tasks = sorted(clusters)
        self._spec, self._clusters, self._stream, self._ranks = spec, clusters, stream, ranks
        self._events = events
        dtype = torch.bfloat16 if spec.precision == "bf16" else torch.float32
        # Measured once, by the rank that tells of it.
        peak = peak_flops(ranks.device, dtype) * ranks.world_size if events is not None else math.inf
        self._meter = _Meter(costs, peak)

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Within it the step waits for its batch."""
        began = time.monotonic()
        yield
        self._meter.data_wait_s += time.monotonic() - began

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Within it the steps stand still for a checkpoint."""
        began = time.monotonic()
        yield
        self._meter.save_s += time.monotonic() - began

    def show(self, batch: StepBatch, sources: Sources) -> None:
        """Tell what the first pack of the first step holds, token by token."""
        if self._events is None or self.progress.step:
            return
        segments = first_pack(batch, sources.asked, sources.template, self._tokenizer)
        self._events.append(
            "batch.first",
            packs=len(batch.draws),
            target_tokens=batch.target_tokens,
            num_segments=len(batch.draws[0]),
            segments=[
                each._asdict() | {"sides": [side._asdict() for side in each.sides]} for each in segments
            ],
        )

    def count(self, batch: StepBatch, loss: float, losses: Losses) -> None:
        """One more step was taken."""
        before, since = self.progress, dict(self.progress.since_report)
        for task, nats, tokens in zip(self._tasks, *losses, strict=True):
            if tokens:
                told = since.get(task, TaskLoss())
                since[task] = TaskLoss(nats=told.nats + nats, tokens=told.tokens + int(tokens))
        self.progress = Progress(
            step=before.step + 1,
            target_tokens=before.target_tokens + batch.target_tokens,
            num_tokens=before.num_tokens + batch.num_tokens,
            wall_s=before.wall_s + self._meter.lap(batch),
            loss_average=SMOOTHING * before.loss_average + (1 - SMOOTHING) * loss,
            since_report=since,
        )

    def tell(self, loss: float, gradient_norm: float, rate: float) -> None:
        """Tell of the step just counted, if it is one that is told of."""
        step, spec = self.progress.step, self._spec
        if step % spec.log_every and step > 1 and not spec.has_checkpoint(step):
            return
        since = self.progress.since_report
        self.progress = self.progress.model_copy(update={"since_report": {}})
        if self._events is None:
            return
        speed = self._meter.read()
        counts = by_task(self._stream.counts())
        totals = _totals(counts)
        values = {
            "train/loss": loss,
            "train/smoothed_loss": self.progress.smoothed_loss,
            "train/learning_rate": rate,
            "train/gradient_norm": gradient_norm,
            "train/target_tokens": self.progress.target_tokens,
            **{f"train/{name}": figure for name, figure in speed.items()},
            **self._memory(),
            **{f"data/{name}": count for name, count in totals.items()},
            **_by_name("task", since, counts, {task: task for task in self._tasks}),
            **_by_name("cluster", since, counts, self._clusters),
        }
        self._events.append("metrics", step=step, values=values)
        self._events.append(
            "progress",
            step=step,
            total_steps=spec.steps,
            eta_s=round(speed["seconds_per_step"] * (spec.steps - step), 1),
            loss=round(loss, 4),
            tokens_per_s=round(speed["tokens_per_s"]),
            **totals,
        )

    def say_stopped(self, wish: Wish) -> None:
        """Tell that a wish was obeyed."""
        if self._events is not None:
            self._events.append("run.stopped", wish=wish, step=self.progress.step)

    def _memory(self) -> dict[str, float]:
        values = {"memory/rss_bytes": float(psutil.Process().memory_info().rss)}
        if self._ranks.device.type == "cuda":
            values["memory/device_peak_bytes"] = float(torch.cuda.max_memory_allocated(self._ranks.device))
        return values


class _Meter:
    """Speed since the last look. `peak` is what all devices can do, in operations a second."""

    def __init__(self, costs: Costs, peak: float) -> None:
        self._costs, self._peak = costs, peak
        self._lap = time.monotonic()
        self._restart()

    def _restart(self) -> None:
        self.data_wait_s = self.save_s = self._elapsed = self._flops = 0.0
        self._steps = self._tokens = self._target_tokens = self._slots = 0

    def lap(self, batch: StepBatch) -> float:
        """One more step has ended; how long it took, in seconds."""
        now = time.monotonic()
        took, self._lap = now - self._lap, now
        self._elapsed += took
        self._steps += 1
        self._tokens += batch.num_tokens
        self._target_tokens += batch.target_tokens
        packs = batch.packs
        self._flops += training_flops(self._costs, packs)
        self._slots += (
            packs.token_ids.size
            if isinstance(packs, PackedDecoder)
            else packs.encoder_ids.size + packs.decoder_ids.size
        )
        return took

    def read(self) -> dict[str, float]:
        """The figures, by name; starts anew."""
        elapsed, steps = max(self._elapsed, 1e-9), max(self._steps, 1)
        figures = {
            "tokens_per_s": round(self._tokens / elapsed, 1),
            "target_tokens_per_s": round(self._target_tokens / elapsed, 1),
            "mfu": round(self._flops / elapsed / self._peak, 4),
            "seconds_per_step": round(elapsed / steps, 4),
            "data_wait_s": round(self.data_wait_s / steps, 4),
            "save_wait_s": round(self.save_s / steps, 4),
            "packing_fill": round(self._tokens / max(self._slots, 1), 4),
        }
        self._restart()
        return figures


def drops(counts: TaskCounts) -> dict[str, int]:
    """Reason → how many draws of a task could not be used for it, where there are some."""
    reasons = ("input_too_long", "target_too_long", "bad_row")
    return {reason: getattr(counts, reason) for reason in reasons if getattr(counts, reason) > 0}


def _totals(counts: Mapping[str, TaskCounts]) -> dict[str, int]:
    """What became of the draws so far, over all tasks: anything dropped or cut is shown."""
    totals: Counter[str] = Counter()
    for each in counts.values():
        totals.update(drawn=each.drawn, cut=each.cut, dropped=sum(drops(each).values()))
    return dict(totals)


def _by_name(
    kind: Literal["task", "cluster"],
    since: Mapping[str, TaskLoss],
    counts: Mapping[str, TaskCounts],
    names: Mapping[str, str],
) -> dict[str, float]:
    """Since the last report: loss and supervised tokens. So far: share of the examples and of their tokens."""
    nats: dict[str, float] = defaultdict(float)
    tokens, drawn, used = Counter[str](), Counter[str](), Counter[str]()
    for task, name in names.items():
        if task in since:
            nats[name] += since[task].nats
            tokens[name] += since[task].tokens
        if task in counts:
            drawn[name] += counts[task].drawn
            used[name] += counts[task].input_tokens + counts[task].target_tokens
    losses = {f"{kind}/{name}/loss": nats[name] / count for name, count in tokens.items()}
    supervised = {f"{kind}/{name}/target_tokens": count for name, count in tokens.items()}
    shares = {
        f"{kind}/{name}/share": round(count / drawn.total(), 6) for name, count in drawn.items() if count
    }
    of_tokens = {
        f"{kind}/{name}/token_share": round(count / used.total(), 6) for name, count in used.items() if count
    }
    return losses | supervised | shares | of_tokens
