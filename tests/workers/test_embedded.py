"""The embedded servers: real, where they should be, and gone when they should be."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from tests.kit.servers import Servers
from workers.embedded import PathClosed, User, _require_reachable, start_postgres
from workers.ledger.session import engine_of, open_ledger
from workers.settings import NoServers, Settings, read_servers


def test_postgres_comes_back_after_sigkill_with_all_that_was_committed(own_servers: Servers) -> None:
    """A stale pid file, orphaned backends, shared memory: a plain start deals with all of it."""
    url = make_url(own_servers.admin_url).set(drivername="postgresql").render_as_string()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    busy = psycopg.connect(url)
    busy.execute("INSERT INTO kept VALUES (8)")
    # A backend that is stuck outlives its postmaster, and holds the shared memory.
    os.kill(busy.info.backend_pid, signal.SIGSTOP)

    own_servers.kill("postgres")
    # By now the pid may be that of a stranger whom PostgreSQL may signal.
    data = own_servers.home / "postgres"
    stranger = subprocess.Popen(["sleep", "1000"], user=data.stat().st_uid if os.getuid() == 0 else None)
    pid_file = data / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(pid_file.read_text().split()[0], str(stranger.pid), 1))
    own_servers.start("postgres")

    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
    busy.close()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(7,)]
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_pool_survives_a_restart_unseen(own_servers: Servers) -> None:
    """A connection that was cut is replaced before it is used."""
    sessions = open_ledger(own_servers.admin_url)
    with sessions.begin() as session:
        session.execute(text("SELECT 1"))
    own_servers.kill("postgres")
    own_servers.start("postgres")

    with sessions.begin() as session:
        assert session.scalar(text("SELECT 1")) == 1
    engine_of(sessions).dispose()


def test_address_is_readable_by_the_owner_alone(servers: Servers) -> None:
    """Whoever has the address has the database."""
    path = servers.home / "run" / "servers.json"

    assert path.stat().st_mode & 0o777 == 0o600
    assert set(read_servers(servers.home)) == {"DATABASE_URL", "REDIS_URL"}


def test_second_start_on_the_same_data_is_refused(servers: Servers) -> None:
    """Two servers on one folder would destroy it."""
    for name in ("postgres", "redis"):
        again = subprocess.run(
            [sys.executable, "-m", "workers.embedded", name],
            env=os.environ | {"FLAN_HOME": str(servers.home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert again.returncode == 1
        assert f"an embedded {name} already runs" in again.stderr


def test_servers_end_with_whoever_started_them(
    tmp_path_factory: pytest.TempPathFactory, own_servers: Servers
) -> None:
    """SIGKILL of the parent takes the whole tree down: nothing is left over."""
    own_servers.stop()
    code = (
        "import subprocess, sys, signal\n"
        "child = subprocess.Popen([sys.executable, '-m', 'workers.embedded'], stdout=subprocess.PIPE)\n"
        "print(child.stdout.readline(), child.stdout.readline(), flush=True); signal.pause()"
    )
    environment = os.environ | {"FLAN_HOME": str(own_servers.home)}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    assert b"REDIS_URL" in parent.stdout.readline()
    parent.stdout.close()
    family = psutil.Process(parent.pid).children(recursive=True)
    assert {"postgres", "redis-server"} <= {process.name() for process in family}

    parent.send_signal(signal.SIGKILL)
    parent.wait()

    assert not psutil.wait_procs(family, timeout=60)[1]
    for name in ("postgres", "redis"):
        own_servers.start(name)


def test_closed_folder_is_named(tmp_path: Path) -> None:
    """PostgreSQL's own user must reach its data: the folder in the way is told, and the way out."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    stranger = User(uid=54321, gid=54321)

    with pytest.raises(PathClosed) as caught:
        _require_reachable(closed / "home" / "postgres", stranger)
    assert "chmod o+x" in str(caught.value.hint)
    _require_reachable(closed / "home" / "postgres", None)


def test_missing_servers_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing set and nothing started: what to do about it is said."""
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FLAN_HOME", str(tmp_path))

    with pytest.raises(NoServers, match="no DATABASE_URL"):
        Settings().require_database()


def test_environment_wins_over_embedded_servers(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own servers are used where they are named."""
    monkeypatch.setenv("FLAN_HOME", str(servers.home))
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/flan")
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("FLAN_RANK_COMMAND", "python -m 'my rank'")

    settings = Settings()

    assert settings.database_url == "postgresql://elsewhere/flan"
    assert settings.redis_url == servers.redis_url
    assert settings.rank_command == ("python", "-m", "my rank")


def test_root_runs_postgres_below_a_folder_that_nobody_else_may_enter(tmp_path: Path) -> None:
    """PostgreSQL refuses root; in a user namespace it runs all the same, on files that stay ours."""
    home = tmp_path / "closed" / "home"
    home.mkdir(parents=True)
    home.parent.chmod(0o700)
    server = start_postgres(home)
    try:
        with psycopg.connect(
            make_url(server.url).set(drivername="postgresql").render_as_string()
        ) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert (home / "postgres").stat().st_uid == os.getuid()
    finally:
        server.process.send_signal(server.stop_signal)
        server.process.wait(timeout=30)
