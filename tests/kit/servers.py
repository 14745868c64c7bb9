"""A real PostgreSQL and a real Redis, started the way `flan up` starts them."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psutil
import psycopg
from sqlalchemy.engine import make_url

import migrations
from workers.settings import read_servers

TEMPLATE = "flan_template"
_numbers = count(1)


class Servers:
    """Both servers under one folder; each may be killed and started again alone."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("postgres", "redis"):
            self.start(name)

    def start(self, name: str) -> None:
        """Start a server; returns when it accepts connections."""
        environment = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.embedded", name],
            env=environment | {"FLAN_HOME": str(self.home)},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline(), f"{name} did not start: {(self.home / f'{name}.log').read_text()}"
        process.stdout.close()
        self._processes[name] = process

    def kill(self, name: str) -> None:
        """SIGKILL the server itself, as the kernel would when memory runs out, and see it gone."""
        (server,) = psutil.Process(self._processes[name].pid).children()
        server.kill()
        assert self._processes[name].wait(timeout=30) == 1

    def stop(self) -> None:
        """Stop both, in order."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            process.wait(timeout=60)

    @property
    def admin_url(self) -> str:
        """The database nobody writes to."""
        return read_servers(self.home)["DATABASE_URL"]

    @property
    def redis_url(self) -> str:
        return read_servers(self.home)["REDIS_URL"]

    def make_template(self) -> None:
        """An empty database with all tables, of which every test gets a copy."""
        self._administer(f"CREATE DATABASE {TEMPLATE}")
        migrations.upgrade(self.url_of(TEMPLATE))

    @contextmanager
    def fresh_database(self) -> Iterator[str]:
        """URL of a copy of the template."""
        name = f"test_{next(_numbers)}"
        self._administer(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield self.url_of(name)
        self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    def url_of(self, database: str) -> str:
        return make_url(self.admin_url).set(database=database).render_as_string(hide_password=False)

    def _administer(self, statement: str) -> None:
        url = make_url(self.admin_url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def running_servers() -> Iterator[Servers]:
    """Servers with a template database, in a folder that PostgreSQL's own user may enter."""
    home = Path(tempfile.mkdtemp(prefix="flan-test-", dir="/tmp"))
    home.chmod(0o711)
    servers = Servers(home)
    try:
        servers.make_template()
        yield servers
    finally:
        servers.stop()
        shutil.rmtree(home)
