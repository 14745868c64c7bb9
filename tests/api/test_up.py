"""`flan up`: one command, one key, nothing left behind."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest

from tests.serve.lively import wait_until


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that PostgreSQL's own user may enter."""
    with tempfile.TemporaryDirectory(prefix="flan-up-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "home"


class Up(NamedTuple):
    """A running `flan up`."""

    process: subprocess.Popen[str]
    said: list[str]
    url: str
    home: Path

    @property
    def key(self) -> str:
        return (self.home / "key").read_text().strip()

    def child(self, *words: str) -> psutil.Process:
        """The one child whose command line holds `words`."""
        (found,) = [
            each for each in psutil.Process(self.process.pid).children() if set(words) <= set(each.cmdline())
        ]
        return found

    def answers(self) -> bool:
        """Whether the platform is ready."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(home: Path) -> Iterator[Up]:
    """`flan up` on `home`, until it has said how to stop it; stopped at the end, with everything below it."""
    port = _free_port()
    environment = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    process = subprocess.Popen(
        [sys.executable, "-m", "api.cli", "up", "--port", str(port)],
        env=environment | {"FLAN_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = []
        for line in process.stdout:
            said.append(line.strip())
            if line.startswith("to stop"):
                break
        yield Up(process, said, f"http://127.0.0.1:{port}", home)
    finally:
        process.terminate()
        process.stdout.read()
        process.wait(timeout=60)
        process.stdout.close()


def _alive_below(home: Path) -> list[list[str]]:
    """Command lines of processes that work for `home`."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(home) in process.environ().get("FLAN_HOME", "") or str(home) in " ".join(
                process.cmdline()
            ):
                found.append(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [command for command in found if command]


def test_up_starts_everything_stops_everything_and_goes_on_where_it_was(home: Path) -> None:
    """The key is printed once and kept for its owner alone; a second start finds what the first left."""
    with running(home) as up:
        assert any(up.key in line for line in up.said)
        assert any(up.url in line for line in up.said)
        assert stat.S_IMODE((home / "key").stat().st_mode) == 0o600
        headers = {"Authorization": f"Bearer {up.key}"}
        made = httpx.post(f"{up.url}/keys", json={"name": "a", "scopes": ["generate"]}, headers=headers)
        assert made.status_code == 201
        wait_until(lambda: len(httpx.get(f"{up.url}/nodes", headers=headers).json()["data"]) == 1)
        second = subprocess.run(
            [sys.executable, "-m", "api.cli", "up", "--port", str(_free_port())],
            env=os.environ | {"FLAN_HOME": str(home)},
            capture_output=True,
            text=True,
        )
        assert second.returncode == 2
        assert "already runs" in second.stderr
        key = up.key
    assert _alive_below(home) == []

    with running(home) as up:
        assert up.key == key
        assert not any(line.startswith("your key") for line in up.said)
        names = [each["name"] for each in httpx.get(f"{up.url}/keys", headers=headers).json()["data"]]
        assert sorted(names) == ["a", "first"]
    assert up.process.returncode == 0
    assert _alive_below(home) == []


@pytest.mark.slow
def test_what_dies_is_started_again(home: Path) -> None:
    """API, Redis, PostgreSQL and worker, one after the other."""
    with running(home) as up:
        for words in (["api"], ["workers.embedded", "redis"], ["workers.embedded", "postgres"], ["workers"]):
            before = up.child(*words)
            before.kill()
            wait_until(lambda words=words, before=before: _is_another(up, words, before), 60)  # type: ignore[misc]
            wait_until(up.answers, 60)
    assert _alive_below(home) == []


def _is_another(up: Up, words: list[str], before: psutil.Process) -> bool:
    try:
        return up.child(*words).pid != before.pid
    except (ValueError, psutil.NoSuchProcess):
        return False


def test_when_up_itself_is_killed_nothing_stays(home: Path) -> None:
    """The kernel ends the children; the next start needs no cleaning."""
    with running(home) as up:
        os.kill(up.process.pid, signal.SIGKILL)
        wait_until(lambda: _alive_below(home) == [], 60)
    with running(home) as up:
        assert up.answers()


def test_a_taken_port_is_said_before_anything_starts(home: Path) -> None:
    """With the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = subprocess.run(
            [sys.executable, "-m", "api.cli", "up", "--port", str(taken.getsockname()[1])],
            env=os.environ | {"FLAN_HOME": str(home)},
            capture_output=True,
            text=True,
        )

    assert ended.returncode == 2
    assert "choose another --port" in ended.stderr
