"""Jobs without a server: the same specs, resolved against files, carried out in a folder.

OUT/store/        artifacts
OUT/run/          the run directory
OUT/checkpoints/  checkpoints, found again by the next call
"""

import difflib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Literal, Protocol

from rich.progress import Progress, TaskID, TextColumn

from flan import rundir
from flan.card import ModelCard
from flan.data.bases import import_base
from flan.data.resolve import resolve
from flan.data.rows import Places
from flan.errors import FlanError, NotFound
from flan.processes import DIE_WITH_PARENT, child_of
from flan.rundir import Event, Outcome, RunSettings
from flan.spec import Spec
from flan.store import Store
from flan.tasks.task import Collection, DatasetSource, Task, load_collection, load_task


class RunFailed(FlanError):
    """A run in a folder ended in an error."""

    code, blame = "run_failed", "user"
    exit_status = 1


class LocalLibrary:
    """What names mean on a machine without a server: collection tasks, YAML files, model directories.

    `brought` is a folder of tasks, each in a file of its name: `flan import` writes such ones. The rows of one
    that has a dataset lie beside it, `NAME.jsonl`, all of them to train on.
    """

    def __init__(self, store: Store, brought: Path | None = None) -> None:
        self._store, self._brought = store, brought
        self._collections: dict[Collection, Mapping[str, Task]] = {}

    def tasks(self, collection: Collection) -> Mapping[str, Task]:
        """Every task of a collection."""
        if collection not in self._collections:
            self._collections[collection] = load_collection(collection)
        return self._collections[collection]

    def task(self, reference: str) -> Task:
        """The task in the YAML file `reference`, or of that name in the folder of tasks. Raises NotFound."""
        path = self._brought / f"{reference}.yaml" if self._brought is not None else None
        if path is None or reference not in self.names():
            return find_task(reference)
        task, rows = load_task(path), path.with_suffix(".jsonl")
        if not isinstance(task.source, DatasetSource) or not rows.is_file():
            return task
        source = task.source.model_copy(
            update={"splits": {"train": self._store.put_bytes(rows.read_bytes())}}
        )
        return task.model_copy(update={"source": source})

    def names(self) -> Iterable[str]:
        """What the tasks are called that lie in the folder of tasks."""
        return () if self._brought is None else sorted(path.stem for path in self._brought.glob("*.yaml"))

    def dataset(self, reference: str) -> DatasetSource:
        """There are none: uploads belong to a server."""
        hint = "put it into the folder of datasets as corpus/<name>.txt or .jsonl, and give its name"
        raise NotFound(f"no dataset {reference!r}: uploads belong to a server", hint=hint)

    def model(self, reference: str) -> tuple[str | None, ModelCard | None]:
        """Digest and card of a model directory, a hub model on this machine or a preset (no digest)."""
        return import_base(reference, self._store)


def prepare(spec: Spec, out: Path, data: Path | None, brought: Path | None = None) -> Path:
    """Resolve `spec` and lay its run directory under `out`; the run directory.

    `brought` is a folder of tasks that names may mean, besides those of the collections.

    Where checkpoints of the same spec lie already, the run goes on from the newest that verifies.
    """
    store = Store(out / "store")
    resolved = resolve(spec, LocalLibrary(store, brought), Places(data=data, store=store))
    return lay_out(resolved.spec, out, store, data)


def lay_out(spec: Spec, out: Path, store: Store, data: Path | None) -> Path:
    """The run directory of a resolved spec under `out`, ready for its ranks."""
    directory = out / "run"
    settings = RunSettings(
        attempt=_next_attempt(directory),
        store=str(store.root.absolute()),
        data=str(data.absolute()) if data else None,
        checkpoints=str((out / "checkpoints").absolute()),
        resume_from="latest",
        ranks=spec.resources.ranks,
        device=_device(spec),
    )
    (directory / rundir.OUTCOME).unlink(missing_ok=True)
    (directory / rundir.EVENTS).unlink(missing_ok=True)
    rundir.prepare(directory, spec, settings)
    return directory


class Ranks(Protocol):
    """The ranks of a run directory, as whoever started them sees them."""

    returncode: int | None
    """Exit status, negative for a signal; None while they run."""

    def wait(self, timeout: float | None = None) -> int:
        """Their exit status. Raises TimeoutExpired after `timeout` seconds."""

    def end(self) -> None:
        """Kill them; returns when they have ended."""


class RankProcesses(subprocess.Popen[bytes]):
    """Ranks in a session of their own."""

    def end(self) -> None:
        """Kill them; returns when they have ended."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()


def watch(directory: Path, start: Callable[[Path], Ranks] | None = None) -> Outcome:
    """Run the ranks of `directory` to their end, with a progress bar. Ctrl-C lets them write a checkpoint;
    a second one ends them at once. `start` starts them, where that is to be done otherwise.

    Raises RunFailed with what the ranks said, and the end of their log.
    """
    ranks = (start or start_ranks)(directory)
    try:
        note = TextColumn("{task.fields[note]}", markup=False)
        with Progress(*Progress.get_default_columns(), note) as progress:
            bar = progress.add_task("prepare", total=None, note="")
            with _pausing(directory, lambda: progress.update(bar, note="stopping: writing a checkpoint")):
                _follow(directory, ranks, progress, bar)
    finally:
        ranks.end()
    return _ending(directory, ranks.wait())


def find_task(name: str) -> Task:
    """A task that comes with the platform, or the one in a YAML file. Raises NotFound with the nearest name."""
    tasks = load_collection("synthetic") | load_collection("flan")
    if name in tasks:
        return tasks[name]
    if Path(name).suffix in (".yaml", ".yml", ".json"):
        return load_task(Path(name))
    near = difflib.get_close_matches(name, tasks, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "give a task of the collection or a YAML file"
    raise NotFound(f"there is no task {name!r}", hint=hint)


def start_ranks(directory: Path) -> RankProcesses:
    """Start the ranks of a run directory in a session of their own: directly, or by torchrun when there are several."""
    settings = rundir.read_settings(directory)
    threads = rundir.read_spec(directory).resources.threads
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={settings.ranks}"]
    with log_of(directory) as log:
        return RankProcesses(
            [sys.executable, *(launcher if settings.ranks > 1 else []), "-m", "flan", "run", str(directory)],
            # torchrun starts each rank in a session of its own: they would outlive it.
            env=rank_environment(settings.device, threads) | {DIE_WITH_PARENT: "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=child_of(os.getpid()),
        )


def rank_environment(device: Literal["cpu", "cuda"], threads: int = 1) -> dict[str, str]:
    """Environment of ranks on `device`, each of so many threads."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    return environment | ({"DS_ACCELERATOR": "cpu"} if device == "cpu" else {})


def log_of(directory: Path) -> BinaryIO:
    """The log of the first rank, open to be added to."""
    return (directory / "logs" / "rank-0.log").open("ab")


@contextmanager
def _pausing(directory: Path, say: Callable[[], None]) -> Iterator[None]:
    """Within it the first Ctrl-C is a wish to pause. One that is ignored (nohup, a shell's `&`) stays so."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return

    def wish(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        rundir.write_wish(directory, "pause")
        say()

    signal.signal(signal.SIGINT, wish)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _follow(directory: Path, ranks: Ranks, progress: Progress, bar: TaskID) -> None:
    seen, is_over = 0, False
    while not is_over:
        try:
            is_over = ranks.wait(timeout=0.3) is not None
        except subprocess.TimeoutExpired:
            is_over = False
        for event in rundir.read_events(directory / rundir.EVENTS, after=seen):
            seen = event.line
            _show(progress, bar, event)


def _show(progress: Progress, bar: TaskID, event: Event) -> None:
    data = event.data
    if event.type == "stage.changed":
        progress.update(bar, description=data["stage"])
    elif event.type == "progress":
        done, total = data.get("step", data.get("done")), data.get("total_steps", data.get("total"))
        note = f"loss {data['loss']:.3f}" if "loss" in data else str(data.get("what", ""))
        progress.update(bar, completed=done, total=total, note=note)
    elif event.type == "warning":
        progress.console.print(f"warning: {data['message']}", markup=False)


def _ending(directory: Path, returncode: int) -> Outcome:
    outcome = rundir.read_outcome(directory)
    if outcome is not None and outcome.status != "failed":
        return outcome
    log = directory / "logs" / "rank-0.log"
    excerpt = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-20:])
    said = outcome or Outcome(status="failed", message=f"the ranks ended with status {returncode}")
    raise RunFailed(f"{said.code or 'rank_lost'}: {said.message}\n{excerpt}", hint=said.hint or f"see {log}")


def _next_attempt(directory: Path) -> int:
    if not (directory / rundir.RUN).exists():
        return 1
    return rundir.read_settings(directory).attempt + 1


def _device(spec: Spec) -> Literal["cpu", "cuda"]:
    if spec.resources.device != "auto":
        return spec.resources.device
    return "cuda" if Path("/dev/nvidiactl").exists() else "cpu"
