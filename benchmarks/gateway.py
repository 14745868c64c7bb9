"""What the API adds to a question: the same ones through it and straight to the rank, in turns.

    python benchmarks/gateway.py [--questions 400] [--beside CHECKOUT] [--smoke]

`flan up` runs in a folder of its own, tunes the smallest preset for one step and serves it: every process is the real
one. This one asks on kept connections, one question at a time, in turns: whatever else the machine does meets both.

    generate     one token after three words
    long         one token after 500 words
    classify     which of four options
    stream       the first event of a stream of eight tokens

For each: `overhead_ms`, the median through the API less the median straight at the rank (3 is wanted), and
`overhead_p99_ms`, the same of the 99th percentiles. `api_cpu_ms` is the API's process time for a question.
--beside names a checkout of another version, whose API is asked in turns with this one's, on the same platform and the
same rank: its figures end in `_beside`.

The last line is JSON.
"""

import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from workers.settings import read_servers

NAME = "asked"
SKIPPED = 50
"""Questions of each kind, at the beginning, that are not counted."""
PATIENCE_S = 300.0
_OPTIONS = ["good", "bad", "neither good nor bad", "no idea"]
QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "generate": ("/generate", {"prompt": "hello there you", "temperature": 0, "max_new_tokens": 1}),
    "long": ("/generate", {"prompt": "word " * 500, "temperature": 0, "max_new_tokens": 1}),
    "classify": ("/classify", {"prompt": "A warm film.\nGood or bad?", "options": _OPTIONS}),
    "stream": ("/generate", {"prompt": "hello", "stream": True, "temperature": 0, "max_new_tokens": 8}),
}


class Side(NamedTuple):
    """Somebody who is asked."""

    name: str
    connection: http.client.HTTPConnection
    headers: dict[str, str]
    pid: int | None
    """Of the process whose time counts."""

    def ask(self, path: str, body: bytes) -> float:
        """Seconds until the answer, or the first event of it, is here."""
        begin = time.perf_counter()
        self.connection.request("POST", path, body, self.headers)
        answer = self.connection.getresponse()
        is_stream = answer.headers.get_content_type() == "text/event-stream"
        first = answer.readline() if is_stream else answer.read()
        seconds = time.perf_counter() - begin
        assert answer.status == 200, first.decode()
        answer.read()
        return seconds

    def cpu_s(self) -> float:
        """What its process has computed."""
        if self.pid is None:
            return 0.0
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)


def side(name: str, url: str, token: str, pid: int | None) -> Side:
    """A kept connection to `url`."""
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return Side(name, connection, headers, pid)


def measure(sides: list[Side], num_questions: int) -> dict[str, float]:
    """All figures, `sides` being the rank and those before it."""
    figures = {}
    for kind, (path, question) in QUESTIONS.items():
        seconds: dict[str, list[float]] = defaultdict(list)
        cpu_s: dict[str, float] = defaultdict(float)
        body = json.dumps(question).encode()
        for number in range(SKIPPED + num_questions):
            if number == SKIPPED:
                seconds.clear()
                before = {each.name: each.cpu_s() for each in sides}
            for each in sides:
                seconds[each.name].append(each.ask(path, body))
        rank, *others = sides
        for other in others:
            suffix = "" if other.name == "api" else f"_{other.name}"
            for figure, percent in (("overhead_ms", 50), ("overhead_p99_ms", 99)):
                more = np.percentile(seconds[other.name], percent) - np.percentile(
                    seconds[rank.name], percent
                )
                figures[f"{kind}_{figure}{suffix}"] = round(1e3 * float(more), 2)
            cpu_s[other.name] = other.cpu_s() - before[other.name]
            figures[f"{kind}_api_cpu_ms{suffix}"] = round(1e3 * cpu_s[other.name] / num_questions, 2)
        figures[f"{kind}_rank_ms"] = round(1e3 * float(np.median(seconds[rank.name])), 2)
    return figures


class Platform:
    """A `flan up` with one served model."""

    def __init__(self, home: Path, port: int, up: subprocess.Popen[bytes]) -> None:
        self._home, self._port, self._up = home, port, up
        self.key = (home / "key").read_text().strip()

    def sides(self) -> list[Side]:
        """The rank and the API."""
        spec = {"kind": "tune", "name": NAME, "base": "preset:nano", "mixture": {"collection": "synthetic"}}
        tuned = self._call("POST", "/jobs", spec | {"steps": 1})["id"]
        self._until(lambda: self._call("GET", f"/jobs/{tuned}")["state"] == "succeeded")
        spec = {"kind": "serve", "name": NAME, "model": NAME, "cache_bytes": 2**26}
        job = self._call("POST", "/jobs", spec)["id"]
        self._until(lambda: self._call("GET", "/deployments")["data"][0]["num_answering"] == 1)
        events = self._call("GET", f"/jobs/{job}/events?limit=100")["data"]
        (url,) = (event["data"]["url"] for event in events if event["type"] == "serve.ready")
        token = (self._home / "runs" / job / "attempt-1" / "token").read_text().strip()
        (api,) = (each for each in psutil.Process(self._up.pid).children() if "api" in each.cmdline())
        return [
            side("rank", url, token, None),
            side("api", f"http://127.0.0.1:{self._port}", self.key, api.pid),
        ]

    @contextmanager
    def beside(self, checkout: Path) -> Iterator[Side]:
        """The API of another version on the same platform."""
        port = _free_port()
        servers = read_servers(self._home)
        environment = os.environ | servers | {"PYTHONPATH": str(checkout), "FLAN_HOME": str(self._home)}
        command = [sys.executable, "-m", "api", "--port", str(port)]
        with subprocess.Popen(command, cwd=checkout, env=environment) as process:
            try:
                _until_listening(port)
                yield side("beside", f"http://127.0.0.1:{port}", self.key, process.pid)
            finally:
                process.terminate()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status < 300, text.decode()
        return json.loads(text)

    @staticmethod
    def _until(is_so: Any) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.5)


@contextmanager
def platform() -> Iterator[Platform]:
    """A platform in a folder of its own, which PostgreSQL's user may enter."""
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        home = Path(folder) / "home"
        kept = {
            name: value
            for name, value in os.environ.items()
            if not re.match("FLAN_|(DATABASE|REDIS)_URL", name)
        }
        command = [sys.executable, "-m", "api.cli", "up", "--port", str(port), "--no-dashboard"]
        with subprocess.Popen(command, env=kept | {"FLAN_HOME": str(home)}, stdout=subprocess.PIPE) as up:
            try:
                assert up.stdout is not None
                for line in up.stdout:
                    if b"to stop" in line:
                        break
                yield Platform(home, port, up)
            finally:
                up.send_signal(signal.SIGINT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_listening(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"nobody listens on port {port}")


def main() -> None:
    """Run it and print the figures, then the line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="a checkout of another version")
    parser.add_argument("--smoke", action="store_true", help="twenty questions of each kind")
    given = parser.parse_args()
    # Told to end, it ends its platform as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with ExitStack() as stack:
        running = stack.enter_context(platform())
        sides = running.sides()
        if given.beside:
            sides.append(stack.enter_context(running.beside(given.beside.absolute())))
        figures = measure(sides, 20 if given.smoke else given.questions)
    for name, value in figures.items():
        print(f"{name:32} {value}")
    settings = {key: str(value) for key, value in vars(given).items()}
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
    print(json.dumps({"benchmark": "gateway", "figures": figures, "settings": settings, "machine": machine}))


if __name__ == "__main__":
    main()
