"""`flan up` under test: the whole platform as people start it, seen from its HTTP side and from inside."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from flan import rundir
from tests.kit.machine import QUICK, Machine
from workers.settings import read_servers

T = TypeVar("T")
PATIENCE_S = 240.0
PARTS = {
    "worker": ["-m", "workers"],
    "api": ["-m", "api"],
    "redis": ["-m", "workers.embedded", "redis"],
    "postgres": ["-m", "workers.embedded", "postgres"],
}
"""What `flan up` keeps alive, and the words by which each is started."""
SERVERS = ("redis", "postgres")
ENDED = ("succeeded", "failed", "cancelled")


class Platform:
    """One `flan up`, started and stopped as often as a test likes."""

    def __init__(self, home: Path, settings: Mapping[str, str]) -> None:
        self.home = home
        self._settings = QUICK | dict(settings)
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.up: subprocess.Popen[bytes] | None = None
        self._connections = ExitStack()

    # -- what people do --------------------------------------------------------------------------------

    def start(self) -> None:
        """Returns when it has said how to stop it."""
        self.home.mkdir(exist_ok=True)
        log = self.home / "up.log"
        log.unlink(missing_ok=True)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("FLAN_") and name not in ("DATABASE_URL", "REDIS_URL")
        }
        with log.open("wb") as output:
            self.up = subprocess.Popen(
                [sys.executable, "-m", "api.cli", "up", "--port", str(self._port), "--no-dashboard"],
                env=inherited | self._settings | {"FLAN_HOME": str(self.home)},
                stdout=output,
                stderr=output,
            )
        self.until(lambda: "to stop" in log.read_text(), "the platform to be up")
        key = (self.home / "key").read_text().strip()
        self.http = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE_S
        )
        servers = read_servers(self.home)
        self.machine = Machine(self.home, servers["DATABASE_URL"], servers["REDIS_URL"], {})
        self._connections.callback(self.http.close)
        self._connections.callback(self.machine.close)

    def stop(self) -> int:
        """Ctrl-C; the exit status."""
        assert self.up is not None
        self._connections.close()
        self.up.send_signal(signal.SIGINT)
        return self.up.wait(timeout=PATIENCE_S)

    def post(self, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """The JSON that a request is answered with, which must have gone well."""
        answer = self.http.post(path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def get(self, path: str, **parameters: str | int) -> dict[str, Any]:
        """The JSON at `path`."""
        answer = self.http.get(path, params=parameters)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def submit(self, spec: Mapping[str, Any], **headers: str) -> str:
        """Hand in a job; its id."""
        return str(self.post("/jobs", spec, **headers)["id"])

    # -- what is seen ----------------------------------------------------------------------------------

    def until(self, look: Callable[[], T | None], what: str) -> T:
        """The first true value that `look` gives. Fails, with the logs, when none comes or `flan up` ends."""
        deadline = time.monotonic() + PATIENCE_S
        while not (seen := look()):
            assert self.up is not None and self.up.poll() is None, f"flan up has ended\n{self.logs()}"
            assert time.monotonic() < deadline, f"waited {PATIENCE_S:.0f} s for {what}\n{self.logs()}"
            time.sleep(0.02)
        return seen

    def job(self, job_id: str) -> dict[str, Any] | None:
        """A job as the API shows it; None while the API or its database is away."""
        try:
            answer = self.http.get(f"/jobs/{job_id}", timeout=10)
        except httpx.TransportError:
            return None
        if answer.status_code >= 500:
            return None
        assert answer.is_success, answer.text
        return dict(answer.json())

    def until_job(self, job_id: str, is_so: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """The job, once `is_so`; fails when it ends before."""

        def look() -> dict[str, Any] | None:
            job = self.job(job_id)
            if job is None or is_so(job):
                return job
            assert job["state"] not in ENDED, f"{job['state']} before {what}: {job['error']}\n{self.logs()}"
            return None

        return self.until(look, f"{job_id} {what}")

    def until_ended(self, job_id: str) -> dict[str, Any]:
        """The job, once it has ended well."""
        return self.until_job(job_id, lambda job: job["state"] == "succeeded", "to succeed")

    def until_ready(self) -> None:
        """Returns when API and database answer, and the queue does."""

        def answers() -> bool:
            try:
                return self.http.get("/readyz", timeout=10).status_code == 200
            except httpx.TransportError:
                return False

        self.until(answers, "the platform to be ready")

    def told_step(self, job_id: str, attempt: int) -> int:
        """The last step that the ranks of an attempt have told of, whoever has heard it; 0 = none."""
        path = self.home / "runs" / job_id / f"attempt-{attempt}" / rundir.EVENTS
        events = rundir.read_events(path, after=0) if path.exists() else []
        return max((event.data["step"] for event in events if event.type == "metrics"), default=0)

    def until_step(self, job_id: str, step: int) -> dict[str, Any]:
        """The job, once its running attempt has taken `step` and a checkpoint of it is published."""

        def is_so(job: dict[str, Any]) -> bool:
            has_checkpoint = job["state"] == "running" and job["checkpoint_step"] is not None
            return has_checkpoint and self.told_step(job_id, job["attempt"]) >= step

        return self.until_job(job_id, is_so, f"to be at step {step}")

    def logs(self) -> str:
        """What every process wrote last."""
        paths = [
            self.home / "up.log",
            *sorted(self.home.glob("logs/*")),
            *sorted(self.home.glob("runs/*/supervisor.log")),
            *sorted(self.home.glob("runs/*/*/logs/*")),
        ]
        return "\n".join(f"--- {path}\n{path.read_text(errors='replace')[-2000:]}" for path in paths)

    # -- processes -------------------------------------------------------------------------------------

    def part(self, name: str) -> psutil.Process:
        """The process of a part that `flan up` keeps alive; of a server, the server itself."""
        up, words = self.up, PARTS[name]
        assert up is not None

        def look() -> psutil.Process | None:
            try:
                for child in psutil.Process(up.pid).children():
                    if child.cmdline()[1 : 1 + len(words)] == words:
                        found = child.children()[0] if name in SERVERS else child
                        return None if has_ended(found) else found
            except (psutil.NoSuchProcess, IndexError):
                pass
            return None

        return self.until(look, f"{name} to run")

    def kill(self, name: str) -> None:
        """SIGKILL a part, and see it gone."""
        victim = self.part(name)
        victim.kill()
        self.until(lambda: has_ended(victim), f"{name} to be gone")

    def left(self) -> list[psutil.Process]:
        """Every process that works for this home, as it is now."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        home = str(self.home)
        try:
            known = [*process.cmdline(), *process.environ().values(), process.cwd()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False
        return any(home in each for each in known) and not has_ended(process)

    def close(self) -> None:
        """End everything, and by force what does not end with the rest."""
        if self.up is not None and self.up.poll() is None:
            self.stop()
        self._connections.close()
        for process in self.left():
            process.kill()


@contextmanager
def running_platform(**settings: str) -> Iterator[Platform]:
    """A platform that runs, in a folder that PostgreSQL's own user may enter; ended with everything below it."""
    folder = Path(tempfile.mkdtemp(prefix="flan-whole-", dir="/tmp"))
    folder.chmod(0o711)
    platform = Platform(folder / "home", settings)
    try:
        platform.start()
        yield platform
    finally:
        platform.close()
        shutil.rmtree(folder)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def has_ended(process: psutil.Process) -> bool:
    """Whether nothing runs there any more; its parent may not have noticed yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
