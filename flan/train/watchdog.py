"""Watching the steps: a rank that stands still far longer than steps take ends itself, and says where it stood.

What makes a rank stand still is seldom its own fault: a peer was stopped, a link broke, a file system hangs.
No collective tells; it waits. So each rank has a thread that knows how long steps take here and gives up when
one takes ten times as long, whatever it waits in. The first step has no limit but that of the collectives
(flan/train/ranks.py): kernels are compiled, caches filled.
"""

import faulthandler
import os
import statistics
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from flan import rundir
from flan.errors import FlanError

FACTOR = 10
"""So many median steps are too long."""
REMEMBERED = 101
"""Steps whose median counts."""
TICK_S = 0.5
EXIT_HUNG = 70
"""Exit status of a rank that gave up (EX_SOFTWARE)."""


class Hung(FlanError):
    """A step took far longer than steps take."""

    code, blame = rundir.HUNG, "infra"


def limit(durations: Collection[float], minimum_s: float) -> float:
    """How long a step may take where the last ones took so long, in seconds."""
    return max(minimum_s, FACTOR * statistics.median(durations or [0.0]))


class Watchdog:
    """Watches one rank while `watching`; `directory` is the run directory, `minimum_s` the shortest limit."""

    def __init__(self, directory: Path, rank: int, minimum_s: float) -> None:
        self._directory, self._rank, self._minimum_s = directory, rank, minimum_s
        self._durations: deque[float] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._step: int | None = None
        self._pulsed_at = 0.0
        self._waited_s = 0.0
        self._is_resting = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it, from the first pulse on, this rank is watched."""
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def pulse(self, step: int) -> None:
        """`step` was taken."""
        now = time.monotonic()
        with self._lock:
            if self._step is not None:
                self._durations.append(now - self._pulsed_at)
            self._step, self._pulsed_at, self._waited_s = step, now, 0.0

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Within it something may take as long as it likes, and counts for no step."""
        self._is_resting = True
        try:
            yield
        finally:
            with self._lock:
                self._is_resting, self._pulsed_at, self._waited_s = False, time.monotonic(), 0.0

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(TICK_S):
            now = time.monotonic()
            with self._lock:
                # Only ticks count: a machine that slept, or a rank that was stopped and goes on, is not hung.
                self._waited_s += min(now - last, 2 * TICK_S)
                is_watched = self._step is not None and not self._is_resting
                limit_s = limit(self._durations, self._minimum_s)
            last = now
            if is_watched and self._waited_s > limit_s:
                self._bark(limit_s)

    def _bark(self, limit_s: float) -> None:
        """Say where this rank stands and end it, for the others and the supervisor to see."""
        with rundir.stacks_path(self._directory, self._rank).open("ab") as file:
            faulthandler.dump_traceback(file, all_threads=True)
        error = Hung(
            f"rank {self._rank} has waited {self._waited_s:.0f} s for the step after {self._step}; it may take "
            f"{limit_s:.0f} s",
            hint=f"see {rundir.stacks_path(self._directory, self._rank).name} of every rank: the one that is "
            "not in a collective is where it began",
            step=self._step,
            limit_s=limit_s,
        )
        print(f"{error.code}: {error.message}", flush=True)
        if rundir.read_outcome(self._directory) is None:
            rundir.write_outcome(self._directory, rundir.failure(error))
        os._exit(EXIT_HUNG)
