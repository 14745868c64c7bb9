"""What Linux offers for process trees that die whole.

A supervisor adopts the orphans of its ranks; every process of a run carries the mark of its attempt in its
environment, so that whatever escaped can be found and killed. See also flan/processes.py.
"""

import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

MARK = "FLAN_RUN_MARK"
"""Environment variable that every process below a supervisor inherits."""
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Become the parent of any descendant whose own parent ends."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def identity(pid: int | None = None) -> str:
    """Names one process for ever: boot, pid namespace, pid, start time.

    A pid alone is used again after a reboot, or after 32,768 other processes.
    """
    process = pid or os.getpid()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    namespace = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116
    return f"{boot}/{namespace}/{process}/{_started(process)}"


def is_surely_dead(owner: str) -> bool:
    """Whether the process called `owner` has certainly ended. False also when we cannot know from here."""
    boot, namespace, pid, started = owner.split("/")
    here_boot, here_namespace, *_ = identity().split("/")
    if boot != here_boot:
        return True  # only ever asked about our own node: it has been restarted
    if namespace != here_namespace:
        return False
    try:
        return _started(int(pid)) != int(started) or _is_zombie(int(pid))
    except ProcessLookupError:
        return True


def marked(mark: str) -> Iterator[psutil.Process]:
    """Every process but us that carries `mark`. A process that wiped its environment is not found."""
    needle = f"{MARK}={mark}".encode()
    for process in psutil.process_iter():
        try:
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        except OSError:  # gone, or another user's
            continue
        if process.pid != os.getpid() and needle in environment.split(b"\0"):
            yield process


def kill_marked(mark: str, *, patience_s: float = 10) -> None:
    """Kill every process that carries `mark`, and see them gone. Raises TimeoutError."""
    kill_all(lambda: list(marked(mark)), patience_s=patience_s)


def kill_all(alive: Callable[[], list[psutil.Process]], *, patience_s: float) -> None:
    """SIGKILL what `alive` finds until it finds nothing: a dying tree may still fork. Raises TimeoutError."""
    deadline = time.monotonic() + patience_s
    while processes := [process for process in alive() if not _has_ended(process)]:
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        if time.monotonic() > deadline:
            raise TimeoutError(f"pids {[process.pid for process in processes]} survive SIGKILL")
        # Not psutil.wait_procs: it would take the exit status of our own children from their owners.
        time.sleep(0.02)


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory: in our control group, else on this machine."""
    counts = [_count(path, "oom_kill") for path in _memory_counters()]
    return next((count for count in counts if count is not None), 0)


def _memory_counters() -> Iterator[Path]:
    groups = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    root = Path("/sys/fs/cgroup")
    if "memory" in groups:  # version 1
        yield root / "memory" / groups["memory"].lstrip("/") / "memory.oom_control"
        yield root / "memory" / "memory.oom_control"
    yield root / groups.get("", "").lstrip("/") / "memory.events"
    yield Path("/proc/vmstat")


def _count(path: Path, name: str) -> int | None:
    """The number behind `name` in a file of counters; None where there is none."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return None
    return next((int(value) for key, value in lines if key == name), None)


def require_linux() -> None:
    """Stop at once where process trees cannot be guarded."""
    if sys.platform != "linux":
        sys.exit("flan workers need Linux: process trees are tied together with prctl and /proc")


def _started(pid: int) -> int:
    """Start time of a process, in clock ticks since boot. Raises ProcessLookupError."""
    try:
        # The second field, the command, may hold spaces and brackets: count from the last bracket.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessLookupError(pid) from error
    return int(fields[19])


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"


def _has_ended(process: psutil.Process) -> bool:
    try:
        return bool(process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
    except psutil.NoSuchProcess:
        return True
