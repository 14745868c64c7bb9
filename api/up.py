"""`flan up`: the whole platform on one machine, as a handful of processes that live and die together.

    up ─┬─ python -m workers.embedded postgres    unless DATABASE_URL is set
        ├─ python -m workers.embedded redis       unless REDIS_URL is set
        ├─ python -m api
        └─ python -m workers ── supervisors ── ranks

It imports none of them. A child that dies is started again after 1, 2, 4 … 30 s. Ctrl-C or SIGTERM stops all,
the worker first and with time to save; if this process itself is killed, the kernel ends the others.
"""

import fcntl
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, NamedTuple

from flan.errors import FlanError
from flan.processes import DIE_WITH_PARENT, child_of, die_with_parent

START_S = 180.0
"""How long a part may take to say that it is ready; a machine that is busy with other things takes half of it."""
STABLE_S = 60.0
"""A child that lived for so long starts again without delay."""
LONGEST_PAUSE_S = 30.0


class UpFailed(FlanError):
    """The platform could not be started."""

    code: ClassVar[str] = "up_failed"
    blame = "user"


class Part(NamedTuple):
    """One process of the platform."""

    name: str
    module: tuple[str, ...]
    patience_s: float
    """How long it may take to stop before it is killed."""
    announces: bool = False
    """Whether it says in one line on standard output that it is ready."""


POSTGRES = Part("postgres", ("workers.embedded", "postgres"), 30, announces=True)
REDIS = Part("redis", ("workers.embedded", "redis"), 30, announces=True)
WORKER = Part("worker", ("workers",), 120)


class Child:
    """A part that is kept alive."""

    def __init__(self, part: Part, logs: Path) -> None:
        self.part = part
        self._log = logs / f"{part.name}.log"
        self._pause_s = 1.0
        self._again_at = 0.0
        self._started_at = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin it. Must be called by the main thread: the kernel ties the child to the thread."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.part.module],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.part.announces else log,
                stderr=log,
                env=os.environ | {DIE_WITH_PARENT: "1"},
                # A session of its own: the terminal's Ctrl-C is for us, and we say who stops when.
                start_new_session=True,
                preexec_fn=child_of(os.getpid()),
            )
        self._started_at = time.monotonic()

    def wait_until_announced(self) -> None:
        """Return once it has said that it is ready. Raises UpFailed with what it said instead."""
        assert self.process is not None
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_S)
        if not ready or not self.process.stdout.readline():
            self.stop()
            raise UpFailed(f"{self.part.name} did not start:\n{self.tail()}", hint=f"see {self._log}")

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").strip().splitlines()[-8:])

    def keep_alive(self) -> None:
        """Start it again if it has died and its pause is over."""
        assert self.process is not None
        now = time.monotonic()
        if self.process.poll() is None:
            if now - self._started_at > STABLE_S:
                self._pause_s = 1.0
            return
        if self._again_at < self._started_at:
            _say(
                f"{self.part.name} ended with status {self.process.returncode}; again in {self._pause_s:.0f} s"
            )
            self._again_at = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        elif now >= self._again_at:
            self._close()
            self.start()

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop(self) -> None:
        """See it gone: asked first, killed when its patience is over."""
        if self.process is None:
            return
        self.ask_to_stop()
        try:
            self.process.wait(timeout=self.part.patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close()

    def kill(self) -> None:
        """SIGKILL, and see it gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _close(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()


class Stopped(Exception):
    """We were told to stop."""


def up(home: Path, *, host: str, port: int, dashboard: bool = True) -> None:
    """Run the platform on `home` until Ctrl-C or SIGTERM; `dashboard` = build it where it is missing. Raises UpFailed.

    With FLAN_DIE_WITH_PARENT set, it ends with whoever started it.
    """
    if os.environ.get(DIE_WITH_PARENT):
        die_with_parent()
    home = home.expanduser().absolute()
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    os.environ["FLAN_HOME"] = str(home)
    logs = home / "logs"
    logs.mkdir(mode=0o700, exist_ok=True)
    with _alone(home), _stopping_on_signals():
        _require_free(host, port)
        children: list[Child] = []
        building = None
        try:
            key = _start(children, logs, host, port)
            building = _build_dashboard(logs) if dashboard else None
            _greet(home, host, port, key)
            while True:
                time.sleep(0.2)
                for child in children:
                    child.keep_alive()
        except Stopped:
            _say("stopping: jobs save their last step first (Ctrl-C again: at once)")
        finally:
            if building is not None:
                building.kill()
                building.wait()
            _stop(children)
    _say("stopped")


def _start(children: list[Child], logs: Path, host: str, port: int) -> str | None:
    """Start every part in order into `children`; the first key, if one was made."""
    servers = [part for part, variable in ((POSTGRES, "DATABASE_URL"), (REDIS, "REDIS_URL"))
               if not os.environ.get(variable)]  # fmt: skip
    for part in servers:
        children.append(Child(part, logs))
        children[-1].start()
        children[-1].wait_until_announced()
    _run("migrations")
    key = _run("api.bootstrap")
    api = Part("api", ("api", "--host", host, "--port", str(port)), 15)
    for part in (api, WORKER):
        children.append(Child(part, logs))
        children[-1].start()
    _wait_until_ready(next(child for child in children if child.part is api), host, port)
    return key or None


def _build_dashboard(logs: Path) -> subprocess.Popen[bytes] | None:
    """Begin to build the dashboard where it is missing and can be; the platform does not wait for it."""
    root = Path(__file__).parents[1]
    if (root / "api" / "dist" / "index.html").is_file() or not (root / "web" / "package.json").is_file():
        return None
    _say(f"dashboard      is being built, which takes a minute or two: {logs / 'dashboard.log'}")
    with (logs / "dashboard.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "api.dashboard_build"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=child_of(os.getpid()),
        )


def _stop(children: Sequence[Child]) -> None:
    """Stop all, last started first. A second signal kills what is left."""
    try:
        for child in reversed(children):
            child.stop()
    except Stopped:
        for child in reversed(children):
            child.kill()


def _run(module: str) -> str:
    """Run a module to its end; what it printed. Raises UpFailed."""
    done = subprocess.run(
        [sys.executable, "-m", module],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=child_of(os.getpid()),
    )
    if done.returncode != 0:
        raise UpFailed(f"{module} failed:\n" + "\n".join(done.stderr.strip().splitlines()[-8:]))
    return done.stdout.strip()


def _wait_until_ready(api: Child, host: str, port: int) -> None:
    deadline = time.monotonic() + START_S
    while not _answers(host, port):
        assert api.process is not None
        if api.process.poll() is not None or time.monotonic() > deadline:
            raise UpFailed(f"the API did not start:\n{api.tail()}")
        time.sleep(0.1)


def _answers(host: str, port: int) -> bool:
    """Whether the API says that it is ready."""
    request = f"GET /readyz HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((_reached_at(host), port), timeout=5) as connection:
            connection.sendall(request.encode())
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _require_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UpFailed(
                f"{host}:{port} cannot be used: {error.strerror}", hint="choose another --port"
            ) from error


def _reached_at(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def _greet(home: Path, host: str, port: int, key: str | None) -> None:
    url = f"http://{_reached_at(host)}:{port}"
    _say(f"FLAN is up     {url}     in a browser: the dashboard; reference: {url}/docs")
    if key is not None:
        _say(f"your key       {key}     (shown this once, kept in {home / 'key'})")
    if (home / "key").is_file():
        _say(f"in a shell     export FLAN_SERVER={url} FLAN_API_KEY=$(cat {shlex.quote(str(home / 'key'))})")
    _say(f"logs           {home / 'logs'}")
    _say("to stop        Ctrl-C")


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the right to run the platform on `home`. Raises UpFailed."""
    handle = os.open(home / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise UpFailed(
            f"the platform already runs on {home}", hint="stop the other `flan up`, or set FLAN_HOME"
        ) from error
    try:
        yield
    finally:
        os.close(handle)


@contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """Within, SIGINT, SIGTERM and SIGHUP raise Stopped in the main thread."""

    def stop(_signal: int, _frame: object) -> None:
        raise Stopped

    before = {which: signal.signal(which, stop) for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


def _say(line: str) -> None:
    print(line, flush=True)
