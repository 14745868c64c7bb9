"""The leakage check in a run's preparation: rank 0 compares, and says what it does and what it found."""

import time
from collections.abc import Callable, Mapping

from flan.data.compared import LeakageFound, check_leakage, read_report, record_of, told
from flan.data.resolve import open_held_out
from flan.data.rows import Places, Rows
from flan.errors import more_tasks
from flan.spec import TuneSpec

PROGRESS_EVERY_S = 1.0
MOST_PAIRS = 50
"""Pairs of tasks that an event names; the report has them all."""
Say = Callable[..., None]


def compare(spec: TuneSpec, places: Places, rows: Mapping[str, Rows], say: Say) -> str | None:
    """Compare the training `rows` with what is held out, and say so; the digest of the report in the store.

    None where nothing is held out. Raises LeakageFound where the spec refuses what was found.
    """
    assert spec.pins is not None and places.store is not None, "a run has a resolved spec and a store"
    pins, started = spec.pins, time.monotonic()
    if pins.not_compared:
        say("warning", code="not_compared", message=_not_compared(pins.not_compared))
    try:
        digest = check_leakage(
            spec,
            places.store,
            rows,
            lambda: open_held_out(pins, places),
            on_rows=_progress(sum(map(len, rows.values())), say),
        )
    except LeakageFound as error:
        say("leakage.found", policy=spec.leakage.policy, **error.values)
        raise
    if digest is None:
        return None
    report, record = read_report(places.store, digest), record_of(spec, places.store, digest)
    say(
        "leakage.checked",
        seconds=round(time.monotonic() - started, 1),
        train_rows=sum(report.train.values()),
        num_shared=sum(map(len, report.train_rows.values())),
        held_out={source: each.num_shared for source, each in record.held_out.items()},
        **record.model_dump(mode="json", exclude={"held_out", "shared"}),
        shared=[pair.model_dump(mode="json") for pair in record.shared[:MOST_PAIRS]],
    )
    if report.shared:
        done = "they are left out" if spec.leakage.policy == "drop" else "they are trained on all the same"
        say(
            "warning",
            code="leakage",
            message=f"{told(report)}; {done} (leakage.policy: {spec.leakage.policy})",
        )
    return digest


def _progress(total: int, say: Say) -> Callable[[str, int], None]:
    """Tells how many rows were compared, at most once a second."""
    done, started = 0, time.monotonic()
    said = started

    def on_rows(task: str, more: int) -> None:
        nonlocal done, said
        done, now = done + more, time.monotonic()
        if now - said >= PROGRESS_EVERY_S:
            said = now
            eta_s = round((now - started) / done * (total - done), 1)
            say("progress", done=done, total=total, what=f"comparing {task} with held-out rows", eta_s=eta_s)

    return on_rows


def _not_compared(reasons: Mapping[str, str]) -> str:
    first, reason = next(iter(reasons.items()))
    more = more_tasks(len(reasons) - 1)
    return f"training rows are not compared with all that is held out: {first}: {reason}{more}"
