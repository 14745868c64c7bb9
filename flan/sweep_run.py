"""A sweep without a server: its children one after another, each in a folder, and what they found out.

HOME/sweep.json           what was asked
HOME/store/               artifacts of all children
HOME/children/NAME/       as flan/local.py lays it out: run/, checkpoints/
HOME/results.json, .md    every figure; written after each child
HOME/report.md, .json     at the end, the whole report, and the picture of the experiment: figure.svg, .png

Started again in the same folder it redoes no child that is done: one whose outcome says so, and whose spec, with
all names pinned anew, is the one that was carried out. A child that was cut off goes on from its last checkpoint.
"""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from flan import rundir
from flan.card import ModelCard
from flan.data.bases import import_base
from flan.data.resolve import resolve
from flan.data.rows import Places
from flan.errors import Conflict, FlanError, NotFound
from flan.evaluate.results import Results
from flan.evaluate.sweep_results import ChildState, Ended, SweepResults, sweep_markdown, sweep_results
from flan.local import LocalLibrary, RunFailed, lay_out, watch
from flan.spec import Spec, parse
from flan.store import Store, write_atomically
from flan.sweep_presets import expanded
from flan.sweep_spec import SweepSpec
from flan.sweeps import Child, Expansion, Need, expand
from flan.warm import WarmRanks

State = Literal["waiting", "running", "succeeded", "failed", "stopped"]
SWEEP, CHILDREN, RESULTS, TABLE = "sweep.json", "children", "results.json", "results.md"
REPORT, REPORT_DATA = "report.md", "report.json"
NEED_FAILED = "need_failed"
"""Code of a child whose model could not be made."""
_FOLDERS = {"tuned": "model", "base": "base"}
"""Role of a model → its folder in the run directory."""


class Told(NamedTuple):
    """How a sweep goes on."""

    number: int
    """Of the child, from 1."""
    total: int
    name: str
    state: State
    is_old: bool = False
    """It was done before."""
    message: str | None = None


Tell = Callable[[Told], None]


class SweepFailed(FlanError):
    """Children of a sweep failed; what the others found out is there."""

    code, blame = "sweep_failed", "user"
    exit_status = 1


class ChildModels(LocalLibrary):
    """What names mean in the folder of a sweep: `job:NAME` is the model that the child NAME has made."""

    def __init__(self, home: Path, store: Store, brought: Path | None) -> None:
        super().__init__(store, brought)
        self._home, self._models = home, store

    def model(self, reference: str) -> tuple[str | None, ModelCard | None]:
        """Digest and card of a model. Raises NotFound where a child has not made it."""
        need = Need.of(reference)
        if need is None:
            return super().model(reference)
        folder = self._home / CHILDREN / need.child / "run" / _FOLDERS[need.role]
        if not folder.is_dir():
            raise NotFound(f"{need.child} has made no {need.role} model", hint=f"see {folder.parent}")
        return import_base(str(folder), self._models)


class SweepRun:
    """One sweep in one folder."""

    def __init__(self, sweep: SweepSpec, home: Path, data: Path | None, brought: Path | None = None) -> None:
        self._sweep = expanded(sweep)
        self._home = home
        self._store = Store(home / "store")
        # Its children read much the same rows, and are to read the same ones.
        self._places = Places(data=data, store=self._store, opened={})
        self._library = ChildModels(home, self._store, brought)
        self.expansion: Expansion = expand(self._sweep)
        self._states = {
            child.name: ChildState(name=child.name, job=child.job, state="waiting")
            for child in self.expansion.children
        }

    def carry_out(self, tell: Tell) -> SweepResults:
        """Every child that is not done, in order; what all of them found out. Calls `tell` as they begin and end.

        A stopped child (Ctrl-C) ends it: what is left waits for the next call. Raises Conflict when another
        process is at work in the folder.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        with _alone(self._home):
            write_atomically(self._home / SWEEP, (self._sweep.model_dump_json(indent=1) + "\n").encode())
            with WarmRanks() as ranks:
                for child in self.expansion.children:
                    self._one(child, ranks, tell)
                    found = self._write()
                    state = self._states[child.name].state
                    if state == "stopped" or (state == "failed" and self._sweep.on_failure == "stop"):
                        break
            if not found.partial:
                self._report()
        return found

    def _report(self) -> None:
        """The report of all evaluations, and the experiment's picture where there is anything to draw."""
        # Here: the picture's library is slow to load, and only the end needs it.
        from flan.evaluate.plots import NothingToDraw
        from flan.evaluate.sweep_figure import draw_sweep
        from flan.evaluate.sweep_report import Measured, sweep_report
        from flan.evaluate.tables import markdown

        by_name = {child.name: child for child in self.expansion.children}
        made = sweep_report(
            [
                Measured(
                    by_name[one.state.name].job, by_name[one.state.name].labels, parse(Results, one.results)
                )
                for one in self._ended()
                if one.results is not None
            ]
        )
        write_atomically(self._home / REPORT, markdown(made).encode())
        write_atomically(self._home / REPORT_DATA, (made.model_dump_json(indent=1) + "\n").encode())
        with contextlib.suppress(NothingToDraw):
            draw_sweep(self._sweep.experiment, made, self._home)

    def _one(self, child: Child, ranks: WarmRanks, tell: Tell) -> None:
        """Carry out one child, unless it is done or what it needs has failed."""
        if child.need is not None and self._states[child.need.child].state != "succeeded":
            message = f"{child.need.child}, whose model it needs, has failed"
            self._enter(child, "failed", tell, code=NEED_FAILED, message=message)
            return
        out = self._home / CHILDREN / child.name
        try:
            spec = resolve(child.spec, self._library, self._places).spec
            if is_done(out / "run", spec):
                self._enter(child, "succeeded", tell, is_old=True)
                return
            if _is_of_another(out / "run", spec):
                shutil.rmtree(out)  # rows or a model have changed: nothing of it may be gone on from
            self._enter(child, "running", tell)
            outcome = watch(lay_out(spec, out, self._store, self._places.data), ranks.start)
        except FlanError as error:
            said = rundir.read_outcome(out / "run") if isinstance(error, RunFailed) else None
            code = said.code if said and said.code else error.code
            self._enter(child, "failed", tell, code=code, message=error.message)
            return
        self._enter(child, "succeeded" if outcome.status == "done" else "stopped", tell)

    def _enter(
        self,
        child: Child,
        state: State,
        tell: Tell,
        *,
        is_old: bool = False,
        code: str | None = None,
        message: str | None = None,
    ) -> None:
        entered = ChildState(name=child.name, job=child.job, state=state, code=code, message=message)
        self._states[child.name] = entered
        number = list(self._states).index(child.name) + 1
        tell(Told(number, len(self._states), child.name, state, is_old, message))

    def _write(self) -> SweepResults:
        """What is known so far, for whoever looks, and for the one who is asked at the end."""
        cells, experiment = self.expansion.cells, self._sweep.experiment
        found = sweep_results(self._sweep.name, experiment, cells, list(self._ended()))
        write_atomically(self._home / RESULTS, (found.model_dump_json(indent=1) + "\n").encode())
        write_atomically(self._home / TABLE, sweep_markdown(found).encode())
        return found

    def _ended(self) -> Iterator[Ended]:
        for child in self.expansion.children:
            state = self._states[child.name]
            path = self._home / CHILDREN / child.name / "run" / "results.json"
            has_results = child.spec.kind == "evaluate" and state.state == "succeeded"
            yield Ended(state, child.spec.kind, json.loads(path.read_text()) if has_results else None)


def is_done(directory: Path, spec: Spec) -> bool:
    """Whether the run directory holds the finished run of exactly this resolved spec."""
    outcome = rundir.read_outcome(directory)
    if outcome is None or outcome.status != "done":
        return False
    return rundir.read_spec(directory).digest() == spec.digest()


def _is_of_another(directory: Path, spec: Spec) -> bool:
    return (directory / rundir.SPEC).is_file() and rundir.read_spec(directory).digest() != spec.digest()


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Within it no other process works in `home`. Raises Conflict."""
    with (home / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            hint = "wait for it, or name another folder with --home"
            raise Conflict(f"another process is at work in {home}", hint=hint) from error
        yield
