"""Ranks started by hand: N processes that find each other through the environment, as a launcher would do.

A rank costs five seconds of imports, so one start should carry many cells of a matrix: give a program that
works through a list of them in one process group.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flan.processes import DIE_WITH_PARENT

PATIENCE_S = 240.0


@contextmanager
def ranks(program: Sequence[str], world_size: int, log: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """`python -m program…` as each of `world_size` ranks; whatever is left of them is killed at the end.

    One rank alone gets no rendezvous: that is how a person starts it. `log` receives what they print.
    """
    with log.open("ab") as output:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", *program],
                env=_environment(rank, world_size, port) if world_size > 1 else _surroundings(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            for port in [free_port()]
            for rank in range(world_size)
        ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def run_ranks(program: Sequence[str], world_size: int, log: Path, patience_s: float = PATIENCE_S) -> None:
    """Start ranks and see all of them end well; what they printed is in the failure."""
    with ranks(program, world_size, log) as processes:
        statuses = [process.wait(patience_s) for process in processes]
    assert statuses == [0] * world_size, f"{program} ended with {statuses}:\n{log.read_text()[-4000:]}"


def kill(processes: Sequence[subprocess.Popen[bytes]], rank: int) -> None:
    """SIGKILL one rank; returns when the others have noticed and ended too."""
    processes[rank].send_signal(signal.SIGKILL)
    for process in processes:
        process.wait(PATIENCE_S)


def wait_until(
    is_true: Callable[[], bool],
    what: str,
    alive: Sequence[subprocess.Popen[bytes]] = (),
    *,
    patience_s: float = PATIENCE_S,
) -> None:
    """Return once `is_true`; fails when that takes too long or a process of `alive` has ended before."""
    deadline = time.monotonic() + patience_s
    while not is_true():
        ended = [process.args for process in alive if process.poll() is not None]
        assert not ended or is_true(), f"ended before {what}: {ended}"
        assert time.monotonic() < deadline, f"not within {patience_s:.0f} s: {what}"
        time.sleep(0.01)


def free_port() -> int:
    """A TCP port that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _environment(rank: int, world_size: int, port: int) -> dict[str, str]:
    return _surroundings() | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _surroundings() -> dict[str, str]:
    return os.environ | {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        # A test session that is killed leaves no rank behind.
        DIE_WITH_PARENT: "1",
    }
