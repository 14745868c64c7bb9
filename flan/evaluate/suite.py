"""An evaluation, from the run directory to results.json: tasks × answer templates × rows.

One rank. It keeps nothing between attempts: one that was stopped begins anew, and being deterministic
arrives at the same figures.
"""

import gzip
import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from flan import rundir
from flan.data.compared import unclean_rows
from flan.data.resolve import open_pinned_rows, pinned_tasks
from flan.data.rows import Places, Rows
from flan.data.shots import Shots
from flan.evaluate.answering import Answered, answer
from flan.evaluate.questions import Question, ask, rows_of, scoring_of, templates_of
from flan.evaluate.results import CleanResult, Results, TaskResult
from flan.evaluate.summary import Measured, summarise
from flan.model.load import Model, load_model
from flan.rundir import EventWriter
from flan.spec import EvaluateSpec, canonical_json
from flan.stopping import WishReader
from flan.store import Store, sync_directory, write_atomically
from flan.tasks.task import Task, load_collection
from flan.tasks.taxonomy import Verdict, load_taxonomy, verdict

RESULTS, SAMPLES = "results.json", "samples.jsonl.gz"
PROGRESS_EVERY_S = 1.0


class _Stopped(Exception):
    """Something else than running is wished for: no error, but the way out of the loops."""


def evaluate(spec: EvaluateSpec, directory: Path, events: EventWriter) -> Literal["done", "stopped"]:
    """Measure the pinned model on the pinned tasks; writes results.json and samples.jsonl.gz.

    `spec` is resolved. Between two batches the wish is read. Raises what loading the model and opening the
    rows raise, NoChoices, ContextExceeded, NothingMeasured.
    """
    settings = rundir.read_settings(directory)
    store = Store(Path(settings.store))
    places = Places(Path(settings.data) if settings.data else None, store)
    events.append("run.started", kind=spec.kind, ranks=1, device=settings.device, resumed_from=0)
    events.append("stage.changed", stage="prepare")
    tasks = pinned_tasks(spec, store)
    rows = open_pinned_rows(spec, tasks, spec.split, places)
    solved = open_pinned_rows(spec, tasks, spec.few_shot.split, places) if spec.few_shot else {}
    assert spec.pins is not None and spec.pins.model is not None, "resolve() refuses a preset here"
    model = load_model(store.verify_tree(spec.pins.model), device=settings.device)
    events.append("stage.changed", stage="evaluate")
    wishes = WishReader(directory, reads_file=True)
    total = sum(_num_questions(spec, tasks[name], rows[name]) for name in tasks)
    pauses = _Pauses(events, wishes, total)
    try:
        with wishes.listening(), _samples(directory / SAMPLES) as samples:
            measured = [
                _without_unclean(
                    task,
                    *_measure(spec, task, rows[name], model, _shots(spec, task, solved), pauses, samples),
                    unclean_rows(store, model.card.lineage, f"{name}/{spec.split}", rows[name].digest),
                )
                for name, task in tasks.items()
            ]
    except _Stopped:
        events.append("run.stopped", wish=wishes.read(), step=pauses.done)
        return "stopped"
    events.append("stage.changed", stage="finalize")
    results = _results(spec, model, tasks, rows, measured)
    write_atomically(directory / RESULTS, (results.model_dump_json(indent=1) + "\n").encode())
    events.append("results.written", path=RESULTS, summary={one.task: one.mean for one in measured})
    return "done"


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


def _num_questions(spec: EvaluateSpec, task: Task, rows: Rows) -> int:
    return len(rows_of(spec, task, len(rows))) * len(templates_of(spec, task))


def _shots(spec: EvaluateSpec, task: Task, solved: Mapping[str, Rows]) -> Shots | None:
    return Shots(spec, spec.few_shot, task, solved[task.name]) if spec.few_shot else None


def _measure(
    spec: EvaluateSpec,
    task: Task,
    rows: Rows,
    model: Model,
    shots: Shots | None,
    pauses: _Pauses,
    samples: gzip.GzipFile,
) -> tuple[Measured, list[Answered]]:
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
    for one in answered:
        samples.write(canonical_json(_sample(task, one)).encode() + b"\n")
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


def _sample(task: Task, answered: Answered) -> dict[str, Any]:
    question = answered.question
    sample = {
        "task": task.name,
        "template": question.template,
        "row": question.row,
        "prompt": question.prompt,
        "was_cut": question.was_cut,
        "num_exemplars": question.num_exemplars,
        "references": question.references,
        "metrics": answered.metrics,
    }
    if answered.logprobs:
        return sample | {
            "options": question.choices,
            "logprobs": answered.logprobs,
            "num_tokens": answered.num_tokens,
            "choice": answered.text,
        }
    return sample | {"output": answered.text, "is_finished": answered.is_finished}


def _results(
    spec: EvaluateSpec,
    model: Model,
    tasks: dict[str, Task],
    rows: Mapping[str, Rows],
    measured: Sequence[TaskResult],
) -> Results:
    assert spec.pins is not None and spec.pins.model is not None
    lineage = model.card.lineage
    return Results(
        model=model.card.name,
        model_digest=spec.pins.model,
        lineage=lineage,
        verdicts=_verdicts(spec, model, tasks),
        unclean={name: lineage.num_shared(f"{name}/{spec.split}", rows[name].digest) for name in tasks},
        tasks=tuple(measured),
        spec_digest=spec.digest(),
        contract_digest=model.card.contract.digest(),
        seed=spec.seed,
        options=spec.options,
        prompt_format=spec.prompt_format,
        few_shot=spec.few_shot,
    )


def _verdicts(spec: EvaluateSpec, model: Model, tasks: dict[str, Task]) -> dict[str, Verdict]:
    taxonomy, collection = load_taxonomy(spec.collection), load_collection(spec.collection)
    known = list((collection | tasks).values())
    return {name: verdict(model.card.lineage, task, taxonomy, known) for name, task in tasks.items()}


@contextmanager
def _samples(path: Path) -> Iterator[gzip.GzipFile]:
    """A gzip file that is at `path` when all of it was written. Equal samples, equal bytes: no time, no name."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("wb") as file:
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as samples:
            yield samples
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    sync_directory(path.parent)
