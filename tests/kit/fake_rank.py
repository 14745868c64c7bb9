"""A rank without torch: the run-directory protocol of flan/rundir.py, and a chain of hashes for weights.

    python fake_rank.py RUN_DIRECTORY

Each step hashes the last hash with the step's row, so the final "weights" tell whether every step was done
exactly once and in order. Ranks above 0 hold a connection to rank 0 and end with it, as gloo's do. What is
to go wrong stands in the spec's metadata: {"faults": '[{"do": "kill9", "at": 23, "attempt": 1, "rank": 0}]'}.

    kill9      SIGKILL itself before the step            exit3      end with status 3, no outcome
    fail       raise an error whose blame is "by"        hang       never do anything again
    wait       wait for the file <control>/go, heeding wishes (to be killed, paused … at a known step)
    deaf       ignore SIGTERM and wishes, having started a grandchild that does so too, in its own session
    forge      announce a checkpoint whose bytes are changed right after
    halve      leave half a checkpoint behind and SIGKILL itself
    talk       write 300 kB to standard output
"""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from flan import rundir
from flan.card import CARD_FILE, Contract, Lineage, ModelCard
from flan.errors import FlanError
from flan.processes import die_with_parent
from flan.rundir import EXIT_STOPPED, EventWriter, Outcome, RunSettings
from flan.spec import EvaluateSpec, ServeSpec, Spec, TuneSpec, canonical_json
from flan.store import MANIFEST, sync_tree, tree_manifest

RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
POLL_S = 0.005


class Told(FlanError):
    """The error that a test asked for."""

    code = "told_to_fail"


class PeerGone(Exception):
    """What gloo raises when another rank has ended."""


class Peers:
    """Rank 0 listens, the others connect; whoever ends closes the connection."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        if WORLD == 1:
            return
        address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        if RANK == 0:
            with socket.create_server(address) as server:
                self._sockets = [server.accept()[0] for _ in range(WORLD - 1)]
        else:
            self._sockets = [_connect(address)]

    def check(self) -> None:
        """Raise PeerGone when a peer has ended."""
        for peer in self._sockets:
            peer.setblocking(False)
            try:
                if not peer.recv(1, socket.MSG_PEEK):
                    raise PeerGone("Connection closed by peer")
            except BlockingIOError:
                continue
            except ConnectionResetError as error:
                raise PeerGone("Connection reset by peer") from error

    def dismiss(self, status: int) -> None:
        """Tell the others how to end."""
        for peer in self._sockets:
            peer.setblocking(True)
            peer.sendall(bytes([status]))

    def follow(self) -> int:
        """What rank 0 says at its end."""
        told = self._sockets[0].recv(1)
        if not told:
            raise PeerGone("Connection closed by peer")
        return told[0]


def main(directory: Path) -> int:
    """Carry out the spec in `directory`; the exit status."""
    die_with_parent(signal.SIGKILL)
    spec, settings = rundir.read_spec(directory), rundir.read_settings(directory)
    stop_asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stop_asked.append(number))
    faults = Faults(spec, settings, stop_asked)
    peers = Peers()
    if RANK > 0:
        faults.strike(0)
        return peers.follow()
    events = EventWriter(directory)
    try:
        stopped = _carry_out(spec, settings, directory, events, faults, peers)
    except (FlanError, PeerGone) as error:
        rundir.write_outcome(directory, rundir.failure(error))
        print(f"{type(error).__name__}: {error}")
        return 1
    rundir.write_outcome(directory, Outcome(status="stopped" if stopped else "done"))
    events.close()
    status = EXIT_STOPPED if stopped else 0
    peers.dismiss(status)
    return status


class Faults:
    """What a test wants to go wrong in this attempt and rank."""

    def __init__(self, spec: Spec, settings: RunSettings, stop_asked: list[int]) -> None:
        faults: list[dict[str, Any]] = json.loads(spec.metadata.get("faults", "[]"))
        self._here = [
            fault
            for fault in faults
            if fault.get("attempt", settings.attempt) == settings.attempt and fault.get("rank", 0) == RANK
        ]
        self._control = Path(spec.metadata.get("control", "/nowhere"))
        self._stop_asked = stop_asked
        self.is_deaf = False
        self._directory: Path | None = None

    def at(self, step: int) -> list[dict[str, Any]]:
        """The faults of a step."""
        return [fault for fault in self._here if fault["at"] == step]

    def is_to(self, do: str, step: int) -> bool:
        """Whether `do` is to happen at `step`."""
        return any(fault["do"] == do for fault in self.at(step))

    def wish(self, directory: Path) -> str:
        """What is wanted: by file, or by SIGTERM."""
        if self.is_deaf:
            return "run"
        wish = rundir.read_wish(directory)
        return "pause" if wish == "run" and self._stop_asked else wish

    def strike(self, step: int, directory: Path | None = None) -> None:
        """Let go wrong what is to go wrong before `step`."""
        for fault in self.at(step):
            match fault["do"]:
                case "kill9":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "exit3":
                    print("leaving without a word")
                    sys.exit(3)
                case "fail":
                    error = Told("told to", hint="do not ask for it")
                    type(error).blame = fault["by"]
                    raise error
                case "hang":
                    while True:
                        time.sleep(1)
                case "talk":
                    print("talk " * 60_000, flush=True)
                case "deaf":
                    self.is_deaf = True
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    _start_grandchild()
                case "wait":
                    while not (self._control / "go").exists():
                        if directory is not None and self.wish(directory) != "run":
                            return
                        time.sleep(POLL_S)


def _carry_out(
    spec: Spec, settings: RunSettings, directory: Path, events: EventWriter, faults: Faults, peers: Peers
) -> bool:
    """Do what the kind of job asks; whether it was stopped."""
    match spec:
        case TuneSpec():
            return _tune(spec, settings, directory, events, faults, peers)
        case EvaluateSpec():
            events.append("run.started", kind="evaluate", ranks=WORLD, device=settings.device, resumed_from=0)
            events.append("stage.changed", stage="evaluate")
            faults.strike(1, directory)
            (directory / "results.json").write_text(json.dumps({"model": spec.model, "tasks": []}))
            events.append("results.written", path="results.json", summary={"tasks": 0})
            return False
        case ServeSpec():
            return _serve(settings, directory, events, faults)


def _tune(
    spec: TuneSpec,
    settings: RunSettings,
    directory: Path,
    events: EventWriter,
    faults: Faults,
    peers: Peers,
) -> bool:
    folder = Path(settings.checkpoints)
    step, weights = 0, "0" * 64
    if settings.resume_from:
        state = json.loads((folder / settings.resume_from / "state.json").read_text())
        step, weights = state["step"], state["weights"]
    started_from = step
    events.append("run.started", kind="tune", ranks=WORLD, device=settings.device, resumed_from=step)
    if step == 0:
        _write_model(directory / "base", spec, f"{spec.name}-base", weights, step)
        events.append("model.written", name=f"{spec.name}-base", role="base", path="base")
    events.append("stage.changed", stage="train")
    while step < spec.steps:
        faults.strike(step + 1, directory)
        peers.check()
        wish = faults.wish(directory)
        if wish == "cancel":
            events.append("run.stopped", wish=wish, step=step)
            return True
        if wish == "pause":
            if step % spec.checkpoint_every and step > started_from:
                _write_checkpoint(folder, settings.attempt, step, weights, events, faults)
            events.append("run.stopped", wish=wish, step=step)
            return True
        step += 1
        weights = hashlib.sha256(f"{weights} row {step}".encode()).hexdigest()
        events.append("metrics", step=step, values={"train/loss": int(weights[:8], 16) / 2**32})
        events.append("progress", step=step, total_steps=spec.steps, eta_s=0.0)
        if step % spec.checkpoint_every == 0 or step == spec.steps:
            _write_checkpoint(folder, settings.attempt, step, weights, events, faults)
    events.append("stage.changed", stage="finalize")
    _write_model(directory / "model", spec, spec.name, weights, step)
    events.append("model.written", name=spec.name, role="tuned", path="model")
    return False


def _serve(settings: RunSettings, directory: Path, events: EventWriter, faults: Faults) -> bool:
    with socket.create_server((settings.serve_host, settings.serve_port)) as server:
        events.append("run.started", kind="serve", ranks=WORLD, device=settings.device, resumed_from=0)
        events.append("stage.changed", stage="serve")
        events.append("serve.ready", url=f"http://{settings.serve_host}:{server.getsockname()[1]}")
        while faults.wish(directory) == "run":
            faults.strike(1, directory)
            time.sleep(POLL_S)
    events.append("run.stopped", wish=faults.wish(directory), step=0)
    return True


def _write_checkpoint(
    folder: Path, attempt: int, step: int, weights: str, events: EventWriter, faults: Faults
) -> None:
    name = f"step-{step:08d}-a{attempt}"
    unfinished = folder / f".{name}.tmp"
    unfinished.mkdir()
    (unfinished / "state.json").write_text(json.dumps({"step": step, "weights": weights}))
    if faults.is_to("halve", step):
        os.kill(os.getpid(), signal.SIGKILL)
    text = canonical_json(tree_manifest(unfinished)).encode()
    (unfinished / MANIFEST).write_bytes(text)
    sync_tree(unfinished)
    unfinished.rename(folder / name)
    if faults.is_to("forge", step):
        state = folder / name / "state.json"
        state.write_text(state.read_text().replace(weights, weights[::-1]))
    size = sum(path.stat().st_size for path in (folder / name).iterdir())
    digest = hashlib.sha256(text).hexdigest()
    events.append("checkpoint.written", step=step, path=name, manifest_sha256=digest, size_bytes=size)


def _write_model(directory: Path, spec: TuneSpec, name: str, weights: str, step: int) -> None:
    directory.mkdir()
    (directory / "weights.txt").write_text(weights)
    contract = Contract(
        architecture="decoder", tokenizer="0" * 64, prefix_ids=(), separator_ids=(1,), end_ids=(2,)
    )
    lineage = Lineage(base=spec.base, tasks_seen=(), clusters_seen=(), steps=step)
    card = ModelCard(name=name, contract=contract, context_length=8, num_parameters=1, lineage=lineage)
    (directory / CARD_FILE).write_text(card.model_dump_json())


def _start_grandchild() -> None:
    code = (
        "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile 1: signal.pause()"
    )
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()


def _connect(address: tuple[str, int]) -> socket.socket:
    deadline = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(address)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
