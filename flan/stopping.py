"""What is wanted of a rank: wish.json, or SIGTERM, which means pause.

The signal handler sets a flag and nothing else: whatever it interrupts is in the middle of something. The
flag of whichever rank it reached, and what rank 0 read, are joined where the ranks next agree.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from flan.rundir import Wish, read_wish


class WishReader:
    """What this rank has heard. Only rank 0 reads the file: the others might see another version of it."""

    def __init__(self, directory: Path, *, reads_file: bool) -> None:
        self._directory = directory
        self._reads_file = reads_file
        self._was_terminated = False

    def read(self) -> Wish:
        """The wish as this rank knows it now."""
        wish = read_wish(self._directory) if self._reads_file else "run"
        return "pause" if wish == "run" and self._was_terminated else wish

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it SIGTERM is a wish to pause. Outside the main thread signals are left alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        self._was_terminated = True
