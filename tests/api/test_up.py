"""`flan up`: one command, one key, nothing left behind."""

import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.platform import Platform, free_port
from tests.serve.lively import wait_until


@pytest.fixture
def platform() -> Iterator[Platform]:
    """A platform that was never started, in a folder that PostgreSQL's own user may enter."""
    with tempfile.TemporaryDirectory(prefix="flan-up-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        platform = Platform(Path(folder) / "home", {})
        yield platform
        platform.close()


def said(platform: Platform) -> str:
    """What `flan up` printed."""
    return (platform.home / "up.log").read_text()


def up_beside(platform: Platform, port: int) -> subprocess.CompletedProcess[str]:
    """A second `flan up` on the same folder."""
    return subprocess.run(
        [sys.executable, "-m", "api.cli", "up", "--port", str(port), "--no-dashboard"],
        env=os.environ | {"FLAN_HOME": str(platform.home)},
        capture_output=True,
        text=True,
    )


def test_up_starts_everything_stops_everything_and_goes_on_where_it_was(platform: Platform) -> None:
    """The key is printed once and kept for its owner alone; a second start finds what the first left."""
    platform.start()
    key_file = platform.home / "key"
    key = key_file.read_text().strip()
    assert key in said(platform)
    assert platform.url in said(platform)
    assert f"export FLAN_SERVER={platform.url} FLAN_API_KEY=$(cat {key_file})\n" in said(platform)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    platform.post("/keys", {"name": "a", "scopes": ["generate"]})
    platform.until(lambda: len(platform.get("/nodes")["data"]) == 1, "the worker to report")
    second = up_beside(platform, port=free_port())
    assert (second.returncode, "already runs" in second.stderr) == (2, True)
    assert platform.stop() == 0
    assert platform.left() == []

    platform.start()
    assert key_file.read_text().strip() == key
    assert "your key" not in said(platform)
    assert sorted(each["name"] for each in platform.get("/keys")["data"]) == ["a", "first"]
    assert platform.stop() == 0
    assert platform.left() == []


@pytest.mark.slow
def test_what_dies_is_started_again(platform: Platform) -> None:
    """API, Redis, PostgreSQL and worker, one after the other."""
    platform.start()
    for name in ("api", "redis", "postgres", "worker"):
        before = platform.part(name)
        platform.kill(name)
        assert platform.part(name) != before
        platform.until_ready()
    assert platform.stop() == 0
    assert platform.left() == []


def test_when_up_itself_is_killed_nothing_stays(platform: Platform) -> None:
    """The kernel ends the children; the next start needs no cleaning."""
    platform.start()
    assert platform.up is not None
    platform.up.kill()
    platform.up.wait()
    wait_until(lambda: platform.left() == [], 60)

    platform.start()
    platform.until_ready()


def test_a_taken_port_is_said_before_anything_starts(platform: Platform) -> None:
    """With the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = up_beside(platform, port=taken.getsockname()[1])

    assert ended.returncode == 2
    assert "choose another --port" in ended.stderr
