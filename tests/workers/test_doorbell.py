"""Ringing is best effort: it never hurts whoever rings."""

import signal
import time
from pathlib import Path

import psutil

from tests.kit.servers import Servers
from workers.doorbell import TIMEOUT_S, Doorbell


def test_ring_reaches_redis(redis_url: str) -> None:
    """The message left."""
    assert Doorbell(redis_url).ring() is True


def test_ring_without_redis_says_so(tmp_path: Path) -> None:
    """No address, nobody there, an address that is none: no error, no message."""
    for url in ("", f"redis+socket://{tmp_path}/none.sock", "redis://127.0.0.1:1/0"):
        assert Doorbell(url).ring() is False


def test_ring_does_not_wait_for_a_redis_that_hangs(own_servers: Servers) -> None:
    """A stopped server accepts connections and never answers."""
    (redis,) = [
        p for p in psutil.process_iter(["name", "cwd"]) if p.info["cwd"] == str(own_servers.home / "redis")
    ]
    redis.send_signal(signal.SIGSTOP)
    began = time.monotonic()

    assert Doorbell(own_servers.redis_url).ring() is False
    took_s = time.monotonic() - began

    redis.send_signal(signal.SIGCONT)
    assert took_s < 10 * TIMEOUT_S
