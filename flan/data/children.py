"""Processes that prepare data for a rank: how they start, how they are heard, how they end.

A child is a fresh interpreter, never a fork: a rank has threads and perhaps a GPU. It gets one end of a
socket and what it needs to know as a pickle in anonymous memory. It dies with its parent. What goes wrong in
it is raised at the parent, with the child's traceback behind it.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from flan.errors import FlanError
from flan.processes import die_with_parent

END_S = 10.0
"""Seconds within which a process that has closed its socket must have ended."""


class LoaderDied(FlanError):
    """A process that prepares data ended without a word."""

    code, blame = "loader_died", "infra"


class LoaderBroken(FlanError):
    """A process that prepares data met a fault of ours."""

    code, blame = "internal", "system"


class ChildTraceback(Exception):
    """Where an error was raised, in another process."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class Unheard(Exception):
    """Whoever a child works for has gone."""


class Failure(NamedTuple):
    """The last message of a child that cannot go on."""

    error: FlanError
    told: str
    """Its traceback."""


def share_pickle(value: Any) -> int:
    """`value` in anonymous memory that children can read: a file descriptor."""
    handle = os.memfd_create("flan-setup")
    with os.fdopen(os.dup(handle), "wb") as file:
        pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)
    return handle


def read_pickle(handle: int) -> Any:
    """What `share_pickle` put there. Several processes may read it at once."""
    return pickle.loads(os.pread(handle, os.fstat(handle).st_size, 0))  # noqa: S301 - from our own parent


class Child:
    """A process of ours that runs `main` of a module, and the socket to it.

    It finds its setup, and further file descriptors, in what `begin` gives it. Close it.
    """

    def __init__(self, module: str, setup: int, *, handles: Sequence[int] = ()) -> None:
        mine, its = socket.socketpair()
        passed = [its.fileno(), setup, *handles]
        with its:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    f"from {module} import main; main()",
                    *map(str, (os.getpid(), *passed)),
                ],
                pass_fds=passed,
                # One core each: how many there are is for the caller to say.
                env=os.environ | {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"},
            )
        self.connection = Connection(mine.detach())

    def send(self, message: Any) -> None:
        """Send it a message. Raises LoaderDied when it is gone."""
        try:
            self.connection.send(message)
        except ConnectionError as error:
            raise _died(self._ended()) from error

    def receive(self) -> Any:
        """Its next message. Raises what it failed with; LoaderDied when it is gone."""
        return receive(self.connection, self._ended)

    def close(self) -> None:
        """End it; returns when it has ended. It has nothing to finish."""
        self.connection.close()
        self.process.kill()
        self.process.wait()

    def _ended(self) -> str:
        status = self.process.wait(END_S)
        return f"with signal {signal.Signals(-status).name}" if status < 0 else f"with status {status}"


def receive(connection: Connection, how: Callable[[], str] = lambda: "") -> Any:
    """The next message of a child. Raises what it failed with; LoaderDied, with `how` it ended, when it is gone."""
    try:
        message = connection.recv()
    except (EOFError, ConnectionError) as error:
        raise _died(how()) from error
    if isinstance(message, Failure):
        raise message.error from ChildTraceback(message.told)
    return message


def _died(how: str) -> LoaderDied:
    return LoaderDied(
        f"the process that prepares examples ended {how}".rstrip(),
        hint="the log of the rank says why; SIGKILL is often the kernel's when memory is short",
    )


class Told(NamedTuple):
    """What a child was started with."""

    connection: Connection
    setup: int
    """File descriptor of its setup."""
    handles: list[int]


def begin() -> Told:
    """Be a child: tie this process to its parent, and take what it was given on the command line."""
    parent, connection, setup, *handles = map(int, sys.argv[1:])
    die_with_parent(parent=parent)
    # They go to every process of a group, where the parent may have something to finish first: it ends us.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    return Told(Connection(connection), setup, handles)


def hear(connection: Connection) -> Any:
    """The next message of whoever this child works for. Raises Unheard when it has gone."""
    try:
        return connection.recv()
    except (EOFError, ConnectionError) as error:
        raise Unheard from error


def tell(connection: Connection, message: Any) -> None:
    """Send a message to whoever this child works for. Raises Unheard when it has gone."""
    try:
        connection.send(message)
    except ConnectionError as error:
        raise Unheard from error


@contextmanager
def telling(connections: Iterable[Connection]) -> Iterator[None]:
    """Within it, whatever goes wrong is told to all who listen; that nobody does any more is no fault."""
    try:
        yield
    except Unheard:
        return
    except Exception as error:  # noqa: BLE001 - whatever it was, it is raised at the other end
        failure = Failure(_ours(error), traceback.format_exc())
        for connection in connections:
            _send_last(connection, failure)


def _ours(error: Exception) -> FlanError:
    return error if isinstance(error, FlanError) else LoaderBroken(f"{type(error).__name__}: {error}")


def _send_last(connection: Connection, failure: Failure) -> None:
    try:
        connection.send(failure)
    except OSError:
        return  # it has gone before us
