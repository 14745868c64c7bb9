"""The steps, top to bottom.

A step takes the packs of the global stream that are this rank's, in micro-batches of equal number at every
rank; sums the loss of their target tokens, divided by the target tokens of the whole step; and updates the
weights once the ranks have agreed that all of it is finite. They agree on everything in one collective:
loss, norm, losses by task, what is wished, and how far the last checkpoint has been written.
"""

from collections.abc import Callable
from typing import Any, Literal

from flan.data.stream import Stream
from flan.spec import TuneSpec
from flan.stopping import WishReader
from flan.train.optim import learning_rate, set_learning_rate
from flan.train.ranks import Ranks
from flan.train.report import Report
from flan.train.saver import Saver
from flan.train.step import Sources, Told, accumulate, local_batches, not_finite
from flan.train.watchdog import Watchdog

Ending = Literal["done", "stopped"]


def train(
    spec: TuneSpec,
    engine: Any,
    stream: Stream,
    ranks: Ranks,
    report: Report,
    sources: Sources,
    *,
    wishes: WishReader,
    watchdog: Watchdog,
    saver: Saver,
    save: Callable[[], None],
) -> Ending:
    """Take steps until `spec.steps` are done or a wish ends it; "stopped" then.

    A checkpoint is begun by `save` where the spec wants one, after the last step, and before a pause; it is
    written while further steps are taken. Raises NonFiniteLoss, and whatever saving raises.
    """
    while (step := report.progress.step + 1) <= spec.steps:
        with report.waiting_for_data():
            batch = stream.next_step()
        report.show(batch, sources)
        rate = learning_rate(step, spec.steps, spec.optimizer)
        set_learning_rate(engine.optimizer, rate)
        micro_batches = local_batches(batch, sources, ranks, spec.settled_micro_batch)
        told = Told(wishes.read(), saver.writing())
        result = accumulate(engine, ranks, micro_batches, batch.target_tokens, len(sources.tasks), told)
        saver.go_on(result.writing)
        if not result.is_finite:
            saver.finish()
            raise not_finite(step, result, batch, sources)
        engine.step()
        report.count(batch, result.loss, result.losses)
        report.tell(result.loss, result.gradient_norm, rate)
        watchdog.pulse(step)
        is_pausing = result.wish == "pause" and step < spec.steps
        if (spec.has_checkpoint(step) or is_pausing) and result.wish != "cancel":
            with watchdog.resting(), report.saving():
                save()
        if result.wish == "cancel" or is_pausing:
            with watchdog.resting():
                saver.finish()
            report.say_stopped(result.wish)
            return "stopped"
    with watchdog.resting():
        saver.finish()
    return "done"
