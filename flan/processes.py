"""A process dies with its parent: what Linux offers for trees of processes that end whole."""

import ctypes
import os
import signal
from collections.abc import Callable

DIE_WITH_PARENT = "FLAN_DIE_WITH_PARENT"
"""Environment variable: a process that is started with it ends with whoever started it."""
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(sig: signal.Signals = signal.SIGKILL, *, parent: int | None = None) -> None:
    """Have the kernel send `sig` to this process when its parent ends.

    "Parent" is the thread that started us. It may already be gone: then we end here; `parent` is the pid
    that it must have (None = anything but init).
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, int(sig), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent if parent is not None else os.getppid() == 1 != os.getpid():
        os.kill(os.getpid(), sig)


def child_of(parent: int) -> Callable[[], None]:
    """A `preexec_fn` that ties the child to `parent`. Only for a parent with a single thread."""
    return lambda: die_with_parent(signal.SIGKILL, parent=parent)
