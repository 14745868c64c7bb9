"""The ranks of one attempt: started together, ended together, with everything they started themselves."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from flan.processes import child_of
from flan.rundir import stacks_path
from workers.processes import MARK, kill_all, marked

# What a rank may know of our environment. Addresses and keys of the platform are not among it.
_PASSED = re.compile(
    r"(PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|VIRTUAL_ENV|LD_LIBRARY_PATH|LD_PRELOAD"
    r"|PYTHON\w+|CUDA\w*|NVIDIA\w*|NCCL\w*|GLOO\w*|TORCH\w*|PYTORCH\w*|DS_\w+|DEEPSPEED\w*|CC|CXX|CPATH"
    r"|LIBRARY_PATH|HF_HOME|HF_HUB_CACHE|HF_DATASETS_CACHE|TRANSFORMERS_CACHE|XDG_CACHE_HOME)"
)
_SIGKILL_S = 10.0
_STACKS_S = 3.0
"""How long a rank may take to say where it stands."""
_STACK_LINES = 80


class Exit(NamedTuple):
    """One rank that ended: its exit status, or minus the signal that killed it."""

    rank: int
    status: int


class Standing(NamedTuple):
    """Where a rank stands that is no longer of use."""

    rank: int
    state: str
    """What the kernel says of the process: "T (stopped)", "S (sleeping) in futex_wait"; "ended"."""
    stack: Sequence[str]
    """The Python stacks of its threads; empty where it could not say."""


@dataclass(frozen=True)
class Launch:
    """How the ranks of an attempt are started."""

    command: Sequence[str]
    directory: Path
    """The run directory: the last word of the command."""
    num_ranks: int
    device: str
    """cpu | cuda."""
    gpus: Sequence[str]
    """UUIDs, one a rank; none on the CPU."""
    mark: str
    locks: Sequence[int]
    """File descriptors that every rank inherits."""
    log_cap_bytes: int
    threads: int
    """Of each rank."""


class Ranks:
    """The running ranks of one attempt. Made and ended by the main thread of its supervisor."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        # Whatever else our process has started is none of the attempt's: a supervisor has nothing else.
        self._others = set(psutil.Process().children())
        port = _free_port()
        self._processes = [self._start(rank, port) for rank in range(launch.num_ranks)]
        self._ended: list[Exit] = []

    def exits(self) -> Sequence[Exit]:
        """The ranks that have ended, in the order in which it was seen; signals first where seen at once."""
        seen = {exit_.rank for exit_ in self._ended}
        new = []
        for rank, process in enumerate(self._processes):
            if rank not in seen and (status := process.poll()) is not None:
                new.append(Exit(rank, status))
        self._ended += sorted(new, key=lambda exit_: exit_.status >= 0)
        return self._ended

    @property
    def have_ended(self) -> bool:
        """Whether no rank runs any more."""
        return len(self.exits()) == len(self._processes)

    def have_stopped(self) -> bool:
        """Whether a rank does not run because a signal stopped it."""
        return any(_kernel_state(process).startswith(("T", "t")) for process in self._processes)

    def standings(self) -> Sequence[Standing]:
        """Where each rank stands now. To be asked before the ranks are killed: a stopped one is woken for it."""
        states = [_kernel_state(process) for process in self._processes]
        paths = [stacks_path(self._launch.directory, rank) for rank in range(self._launch.num_ranks)]
        asked = [
            (process, path, _size(path))
            for process, path in zip(self._processes, paths, strict=True)
            if process.poll() is None and _answers(process)
        ]
        for process, _, _ in asked:
            process.send_signal(signal.SIGUSR2)
            process.send_signal(signal.SIGCONT)  # a stopped process receives signals when it goes on
        deadline = time.monotonic() + _STACKS_S
        while time.monotonic() < deadline and any(
            _size(path) == before and process.poll() is None for process, path, before in asked
        ):
            time.sleep(0.02)
        return [
            Standing(rank, state, _lines(path, _STACK_LINES))
            for rank, (state, path) in enumerate(zip(states, paths, strict=True))
        ]

    def terminate(self) -> None:
        """Ask every rank to stop: SIGTERM, for those that do not read the wish."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End whatever is left of the attempt, and see it gone. Raises TimeoutError if something stays.

        Ranks, what they started (ours, for we adopt orphans), and what carries the mark without being ours.
        """
        kill_all(self._alive, patience_s=_SIGKILL_S)
        for process in self._processes:
            process.wait()
        self.exits()
        self._bury_orphans()

    def rotate_logs(self) -> None:
        """Set aside each log that has grown over its cap; the piece before that is dropped."""
        for rank in range(self._launch.num_ranks):
            path = log_path(self._launch.directory, rank)
            if path.stat().st_size > self._launch.log_cap_bytes:
                # The rank appends to this very file: it is copied and emptied, not moved.
                shutil.copyfile(path, path.with_suffix(".log.1"))
                os.truncate(path, 0)

    def _alive(self) -> list[psutil.Process]:
        ours = self._children()
        return [
            *ours,
            *(below for child in ours for below in _descendants(child)),
            *marked(self._launch.mark),
        ]

    def _children(self) -> list[psutil.Process]:
        """Ranks, and orphans of theirs that we have adopted."""
        return [child for child in psutil.Process().children() if child not in self._others]

    def _bury_orphans(self) -> None:
        """Collect the status of adopted processes, so that none stays as a zombie."""
        # Those below a zombie become ours when it is buried.
        while orphans := self._children():
            for orphan in orphans:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(orphan.pid, 0)

    def _start(self, rank: int, port: int) -> subprocess.Popen[bytes]:
        launch = self._launch
        with log_path(launch.directory, rank).open("ab") as log:
            return subprocess.Popen(
                [*launch.command, str(launch.directory)],
                env=_environment(launch, rank, port),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=child_of(os.getpid()),
                pass_fds=tuple(launch.locks),
            )


def log_path(directory: Path, rank: int) -> Path:
    """Where standard output and error of a rank go."""
    return directory / "logs" / f"rank-{rank}.log"


def log_tail(directory: Path, rank: int, *, num_lines: int = 50) -> list[str]:
    """The last lines a rank wrote, for the failure record."""
    return _lines(log_path(directory, rank), num_lines)


def _lines(path: Path, num_lines: int) -> list[str]:
    """The last lines of a file; none when it is not there."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64 * 1024))
        lines = file.read().decode(errors="replace").splitlines()
    return [line[:2000] for line in lines[-num_lines:]]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _kernel_state(process: subprocess.Popen[bytes]) -> str:
    """What the kernel says of a process, and in which of its functions it waits."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        place = Path(f"/proc/{process.pid}/wchan").read_text()
    except FileNotFoundError:
        return "ended"
    state = re.search(r"^State:\s*(.+)$", status, re.MULTILINE)
    return (state[1] if state else "unknown") + (f" in {place}" if place not in ("", "0") else "")


def _answers(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has something to do with SIGUSR2 but to die of it."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGUSR2 - 1) & 1)


def _environment(launch: Launch, rank: int, port: int) -> Mapping[str, str]:
    passed = {name: value for name, value in os.environ.items() if _PASSED.fullmatch(name)}
    ours = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(launch.num_ranks),
        "LOCAL_WORLD_SIZE": str(launch.num_ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(launch.threads),
        # Threads that wait leave the core to others: spinning makes all that runs beside several times slower.
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        MARK: launch.mark,
    }
    if launch.device == "cuda":
        return passed | ours | {"CUDA_VISIBLE_DEVICES": ",".join(launch.gpus)}
    return passed | ours | {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
