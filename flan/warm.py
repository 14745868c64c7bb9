"""Ranks that start in a moment: forked from a process that has imported what ranks import.

Importing torch, transformers and DeepSpeed takes a rank longer than a tiny run takes. Here it is done once, in a
process that computes nothing and has one thread. For every run directory it is told it forks, and the fork is the rank,
with session, log and signals of its own. That process dies with whoever started it, and a rank dies with that process.

Runs of several ranks or threads, and those on a GPU, start as ever: torchrun makes its processes itself, and CUDA
outlives no fork.
"""

import gc
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

from flan import rundir
from flan.local import Ranks, log_of, rank_environment, start_ranks
from flan.processes import die_with_parent
from flan.run import run

_LOST = -signal.SIGKILL
"""Status of a rank whose process took it along."""


class WarmRanks:
    """Starts the ranks of one run directory after another. Close it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, directory: Path) -> Ranks:
        """Start the ranks of a run directory; one after another, each when the one before has ended."""
        settings = rundir.read_settings(directory)
        threads = rundir.read_spec(directory).resources.threads
        if settings.ranks > 1 or settings.device != "cpu" or threads > 1:
            return start_ranks(directory)
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._begin(directory)
        assert self._process is not None and self._connection is not None
        return WarmRank(self._process, self._connection, directory)

    def close(self) -> None:
        """End the process, and a rank that still runs."""
        if self._process is None or self._connection is None:
            return
        self._connection.close()
        self._process.kill()
        self._process.wait()
        self._process = self._connection = None

    def _begin(self, directory: Path) -> None:
        mine, its = socket.socketpair()
        with its, log_of(directory) as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "from flan.warm import main; main()",
                    str(its.fileno()),
                    str(os.getpid()),
                ],
                # The allocator of pyarrow, which is imported too, runs a thread: a fork is to leave none behind.
                env=rank_environment("cpu") | {"JE_ARROW_MALLOC_CONF": "background_thread:false"},
                pass_fds=[its.fileno()],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._connection = Connection(mine.detach())


class WarmRank:
    """The rank of one run directory: its pid comes first, then its exit status."""

    def __init__(self, process: subprocess.Popen[bytes], connection: Connection, directory: Path) -> None:
        self.returncode: int | None = None
        self._process, self._connection = process, connection
        self._pid: int | None = None
        with suppress(ConnectionError):  # it has just died: wait() says so
            connection.send(str(directory.absolute()))

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, negative for a signal. Raises TimeoutExpired after `timeout` seconds."""
        while self.returncode is None:
            if not self._connection.poll(timeout):
                raise subprocess.TimeoutExpired("rank", timeout or 0)
            try:
                told = self._connection.recv()
            except (EOFError, ConnectionError):
                self.returncode = _LOST
            else:
                self._pid, self.returncode = (told, None) if self._pid is None else (self._pid, told)
        return self.returncode

    def end(self) -> None:
        """Kill it; returns when it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        if self.returncode is None:
            if self._pid is None:
                self._process.kill()  # it has not begun
            else:
                os.kill(self._pid, signal.SIGKILL)
            self.wait()


def main() -> None:
    """Import what ranks need, then fork one for each run directory; each ends with the status of its run."""
    # Not as it is started: a starter that holds much memory could not be copied to say so before our first line.
    die_with_parent(parent=int(sys.argv[2]))
    # What a rank imports as it goes along.
    import deepspeed  # noqa: F401

    import flan.evaluate.suite
    import flan.train.tune  # noqa: F401

    # What is here already is never collected: a collection would copy its pages into every rank.
    gc.collect()
    gc.freeze()
    directory = _forked(Connection(int(sys.argv[1])))
    if directory is not None:
        raise SystemExit(run(directory))


def _forked(connection: Connection) -> Path | None:
    """In a forked process the run directory that it is to carry out; None at the end."""
    here = os.getpid()
    while True:
        try:
            directory = Path(connection.recv())
        except EOFError:
            return None
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            die_with_parent(parent=here)
            connection.close()
            os.setsid()
            with log_of(directory) as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            return directory
        connection.send(pid)
        _, status = os.waitpid(pid, 0)
        connection.send(os.waitstatus_to_exitcode(status))
