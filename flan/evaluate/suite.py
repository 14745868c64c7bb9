"""An evaluation, from the run directory to results.json: tasks × answer templates × rows.

One rank. It keeps nothing between attempts: one that was stopped begins anew, and being deterministic
arrives at the same figures. A task that fails leaves the others their results.
"""

import hashlib
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from flan import rundir
from flan.data.compared import unclean_rows
from flan.data.resolve import open_pinned_rows, pinned_tasks
from flan.data.rows import Places, Rows
from flan.data.shots import Shots
from flan.errors import FlanError
from flan.evaluate.answering import Answered, answer
from flan.evaluate.questions import Question, ask, rows_of, scoring_of, templates_of
from flan.evaluate.records import sample_of
from flan.evaluate.results import CleanResult, Results, TaskFailure, TaskResult
from flan.evaluate.samples import SAMPLES, SamplesWriter
from flan.evaluate.summary import Measured, best_template, summarise
from flan.model.load import Model, load_model
from flan.rundir import EventWriter
from flan.spec import EvaluateSpec, canonical_json
from flan.stopping import WishReader
from flan.store import Store, tree_digest, write_atomically
from flan.tasks.task import Task, load_collection
from flan.tasks.taxonomy import Ruling, judge, load_taxonomy

RESULTS = "results.json"
PROGRESS_EVERY_S = 1.0
OF_THE_TASK = (FlanError, ValueError, TypeError, LookupError, ArithmeticError)
"""What can go wrong with a task, its rows or its metrics. A machine that fails ends the attempt instead."""


class _Stopped(Exception):
    """Something else than running is wished for: no error, but the way out of the loops."""


def evaluate(spec: EvaluateSpec, directory: Path, events: EventWriter) -> Literal["done", "stopped"]:
    """Measure the pinned model on the pinned tasks; writes results.json and the samples beside it.

    `spec` is resolved. Between two batches the wish is read. Raises what loading the model and opening the
    rows raise; where every task fails (NoChoices, ContextExceeded, NothingMeasured …), what the first one did.
    """
    settings = rundir.read_settings(directory)
    store = Store(Path(settings.store))
    places = Places(Path(settings.data) if settings.data else None, store)
    events.append("run.started", kind=spec.kind, ranks=1, device=settings.device, resumed_from=0)
    events.append("stage.changed", stage="prepare")
    tasks = pinned_tasks(spec, store)
    parts = {name: _parts(spec, task, places) for name, task in tasks.items()}
    assert spec.pins is not None and spec.pins.model is not None, "resolve() refuses a preset here"
    model = load_model(store.verify_tree(spec.pins.model), device=settings.device)
    events.append("stage.changed", stage="evaluate")
    wishes = WishReader(directory, reads_file=True)
    total = sum(_num_questions(part, tasks[name]) for name in tasks for part in parts[name])
    pauses = _Pauses(events, wishes, total)
    measured: list[TaskResult] = []
    failed: dict[str, TaskFailure] = {}
    try:
        with wishes.listening(), SamplesWriter(directory / SAMPLES) as samples:
            for name, task in tasks.items():
                rows = parts[name][0].rows
                source = f"{name}/{spec.split}"
                unclean = unclean_rows(store, model.card.lineage, source, rows.digest)
                try:
                    measured.append(_measure(task, parts[name], model, unclean, pauses, samples))
                except OF_THE_TASK as error:
                    failed[name] = _failure(error, is_last_hope=len(failed) + 1 == len(tasks))
                    events.append("warning", code="task_failed", message=f"{name}: {failed[name].message}")
    except _Stopped:
        events.append("run.stopped", wish=wishes.read(), step=pauses.done)
        return "stopped"
    events.append("stage.changed", stage="finalize")
    rows_by_task = {name: parts[name][0].rows for name in tasks}
    results = _results(spec, model, tasks, rows_by_task, measured)
    results = results.model_copy(update={"failed": failed, "samples": tree_digest(directory / SAMPLES)})
    write_atomically(directory / RESULTS, (results.model_dump_json(indent=1) + "\n").encode())
    events.append("results.written", path=RESULTS, summary={one.task: one.mean for one in measured})
    return "done"


class _Part(NamedTuple):
    """The rows of a task that are reported, or those that its best template is chosen on."""

    spec: EvaluateSpec
    """As if they were all there is."""
    rows: Rows
    shots: Shots | None


def _parts(spec: EvaluateSpec, task: Task, places: Places) -> list[_Part]:
    """What is asked of a task: the reported rows, and behind them those of dev, if there are any."""
    assert spec.pins is not None
    only = {task.name: task}
    few_shot = spec.few_shot
    solved = open_pinned_rows(spec, only, few_shot.split, places)[task.name] if few_shot else None
    specs = [spec]
    if spec.dev and spec.dev.split in spec.pins.tasks[task.name].rows:
        specs.append(spec.model_copy(update={"split": spec.dev.split, "limit": spec.dev.limit}))
    return [
        _Part(
            one,
            open_pinned_rows(spec, only, one.split, places)[task.name],
            Shots(one, few_shot, task, solved) if few_shot and solved is not None else None,
        )
        for one in specs
    ]


def _failure(error: Exception, *, is_last_hope: bool) -> TaskFailure:
    """What is told of a task that failed. Raises `error` where it is the machine's, or no task would be left."""
    if is_last_hope or (isinstance(error, FlanError) and error.blame == "infra"):
        raise error
    traceback.print_exc()
    told = rundir.failure(error)
    return TaskFailure(code=told.code or "internal", message=told.message or "", hint=told.hint)


class _Pauses:
    """What happens between two rows or batches: progress is told, at most once a second, and the wish is read."""

    def __init__(self, events: EventWriter, wishes: WishReader, total: int) -> None:
        self.done = 0
        self._events, self._wishes, self._total = events, wishes, total
        self._started = self._said = time.monotonic()

    def after(self, count: int, task: str) -> None:
        """`count` more questions are done. Raises _Stopped when the run is to end here."""
        self.done += count
        if count and (self.done == self._total or time.monotonic() - self._said >= PROGRESS_EVERY_S):
            self._said = time.monotonic()
            eta_s = (self._said - self._started) / self.done * (self._total - self.done)
            self._events.append(
                "progress", done=self.done, total=self._total, what=task, eta_s=round(eta_s, 1)
            )
        if self._wishes.read() != "run":
            raise _Stopped


def _num_questions(part: _Part, task: Task) -> int:
    return len(rows_of(part.spec, task, len(part.rows))) * len(templates_of(part.spec, task))


def _measure(
    task: Task,
    parts: Sequence[_Part],
    model: Model,
    unclean: frozenset[int] | None,
    pauses: _Pauses,
    samples: SamplesWriter,
) -> TaskResult:
    """The figures of a task; its samples are written when all of them are there."""
    reported, *dev = [_answered(part, task, model, pauses) for part in parts]
    result = _without_unclean(task, *reported, unclean)
    if dev:
        result = result.model_copy(update={"best": best_template(task, dev[0], reported)})
    for how, answered in (reported, *dev):
        samples.write(sample_of(task, how.split, one) for one in answered)
    return result


def _answered(part: _Part, task: Task, model: Model, pauses: _Pauses) -> tuple[Measured, list[Answered]]:
    """Every question about the rows of a part with its answer, in order of template and row."""
    spec, rows, shots = part
    scoring = scoring_of(spec, task)
    questions: list[Question] = []
    num_skipped: Counter[int] = Counter()
    for asked in ask(spec, task, rows, model, shots):
        questions.extend(asked.questions)
        num_skipped.update(asked.skipped)
        pauses.after(len(asked.skipped), task.name)
    answered: list[Answered] = []
    for batch in answer(spec, task, scoring, questions, model):
        answered.extend(batch)
        pauses.after(len(batch), task.name)
    answered.sort(key=lambda one: (one.question.template, one.question.row))
    num_shots = spec.few_shot.shots if spec.few_shot else 0
    how = Measured(spec.split, scoring, len(rows), num_skipped, _asked_digest(spec, task, rows), num_shots)
    return how, answered


def _without_unclean(
    task: Task, how: Measured, answered: Sequence[Answered], unclean: frozenset[int] | None
) -> TaskResult:
    """The figures of a task, and its mean without the rows in `unclean`, if any of them was asked."""
    result = summarise(task, how, answered)
    clean = [one for one in answered if one.question.row not in (unclean or ())]
    if not clean or len(clean) == len(answered):
        return result
    figure = CleanResult(n=len({one.question.row for one in clean}), mean=summarise(task, how, clean).mean)
    return result.model_copy(update={"clean": figure})


def _asked_digest(spec: EvaluateSpec, task: Task, rows: Rows) -> str:
    asked = {
        "task": task.digest(),
        "rows": rows.digest,
        "numbers": rows_of(spec, task, len(rows)),
        "templates": templates_of(spec, task),
        "options": spec.options,
        "prompt_format": spec.prompt_format,
        "few_shot": spec.few_shot.model_dump(mode="json") if spec.few_shot else None,
    }
    return hashlib.sha256(canonical_json(asked).encode()).hexdigest()


def _results(
    spec: EvaluateSpec,
    model: Model,
    tasks: dict[str, Task],
    rows: Mapping[str, Rows],
    measured: Sequence[TaskResult],
) -> Results:
    assert spec.pins is not None and spec.pins.model is not None
    lineage = model.card.lineage
    rulings = _rulings(spec, model, tasks)
    return Results(
        model=model.card.name,
        model_digest=spec.pins.model,
        num_parameters=model.card.num_parameters,
        lineage=lineage,
        verdicts={name: each.verdict for name, each in rulings.items()},
        why={name: each.why for name, each in rulings.items()},
        unclean={name: lineage.num_shared(f"{name}/{spec.split}", rows[name].digest) for name in tasks},
        tasks=tuple(measured),
        spec_digest=spec.digest(),
        contract_digest=model.card.contract.digest(),
        seed=spec.seed,
        options=spec.options,
        prompt_format=spec.prompt_format,
        few_shot=spec.few_shot,
    )


def _rulings(spec: EvaluateSpec, model: Model, tasks: dict[str, Task]) -> dict[str, Ruling]:
    taxonomy, collection = load_taxonomy(spec.collection), load_collection(spec.collection)
    known = list((collection | tasks).values())
    return {name: judge(model.card.lineage, task, taxonomy, known) for name, task in tasks.items()}
