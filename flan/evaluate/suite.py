"""An evaluation, from the run directory to results.json: tasks × answer templates × rows.

Ranks share the rows, and what they have found is kept between attempts: one that was stopped or killed goes on where
it was (`flan/evaluate/parts.py`). A task that fails leaves the others their results.
"""

import hashlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch

from flan import rundir
from flan.data.compared import unclean_rows
from flan.data.resolve import open_pinned_rows, pinned_tasks
from flan.data.rows import Places, Rows
from flan.data.shots import Shots
from flan.errors import FlanError
from flan.evaluate.answering import Answered
from flan.evaluate.kept import Kept
from flan.evaluate.parts import (
    OF_THE_TASK,
    FailedElsewhere,
    Found,
    Part,
    Pauses,
    Peers,
    Stopped,
    answer_part,
)
from flan.evaluate.questions import rows_of, scoring_of, templates_of
from flan.evaluate.records import sample_of
from flan.evaluate.results import CleanResult, Results, TaskFailure, TaskResult
from flan.evaluate.samples import SAMPLES, SamplesWriter
from flan.evaluate.summary import Measured, best_template, summarise
from flan.model.load import Model, load_model
from flan.model.room import check_weights
from flan.model.sharding import Turns, shard
from flan.rundir import EventWriter
from flan.spec import EvaluateSpec, canonical_json
from flan.stopping import WishReader
from flan.store import Store, tree_digest, write_atomically
from flan.tasks.task import Task, load_collection
from flan.tasks.taxonomy import Ruling, judge, load_taxonomy

RESULTS = "results.json"
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def evaluate(
    spec: EvaluateSpec, directory: Path, events: EventWriter | None, peers: Peers
) -> Literal["done", "stopped"]:
    """Measure the pinned model on the pinned tasks; rank 0 writes results.json and the samples beside it.

    `spec` is resolved; only rank 0 has `events`. Between two batches the wish is read. Raises what loading the
    model and opening the rows raise; where every task fails (NoChoices, ContextExceeded, NothingMeasured …), what
    the first one did.
    """
    settings = rundir.read_settings(directory)
    store = Store(Path(settings.store))
    places = Places(Path(settings.data) if settings.data else None, store)
    if events is not None:
        ranks, device = peers.world_size, settings.device
        events.append("run.started", kind=spec.kind, ranks=ranks, device=device, resumed_from=0)
        events.append("stage.changed", stage="prepare")
    tasks = pinned_tasks(spec, store)
    parts = {name: _parts(spec, task, places) for name, task in tasks.items()}
    assert spec.pins is not None and spec.pins.model is not None, "resolve() refuses a preset here"
    source = store.verify_tree(spec.pins.model)
    model, turns = _placed(spec, source, settings.device, peers)
    # Every rank reads the file: each stops at the end of its batch, and so all of them do.
    wishes = WishReader(directory, reads_file=True)
    total = sum(part.num_questions for of_task in parts.values() for part in of_task)
    pauses = Pauses(events, wishes, total, peers.world_size)
    kept = Kept(settings, spec, peers.rank)

    def answers(name: str) -> list[Found | None]:
        return [answer_part(part, kept, model, peers, pauses, turns=turns) for part in parts[name]]

    with wishes.listening():
        try:
            if events is None:
                _help(tasks, answers)
                return "done"
            events.append("stage.changed", stage="evaluate")
            results = _measure_all(spec, directory, events, store, model, parts, answers)
        except Stopped:
            if events is not None:
                events.append("run.stopped", wish=wishes.read(), step=pauses.done)
            return "stopped"
    events.append("stage.changed", stage="finalize")
    write_atomically(directory / RESULTS, (results.model_dump_json(indent=1) + "\n").encode())
    summary = {one.task: one.mean for one in results.tasks}
    events.append("results.written", path=RESULTS, summary=summary)
    kept.remove()
    return "done"


def _placed(spec: EvaluateSpec, source: Path, device: str, peers: Peers) -> tuple[Model, Turns | None]:
    """The model in `source` on the devices of the ranks: on each the whole of it, or a part of every weight."""
    # First on the CPU, where ranks read one file without a copy each; no device need hold all of it.
    model = load_model(source, dtype=_DTYPES[spec.precision])
    check_weights(model.card.num_parameters, spec.precision, spec.zero_stage, peers.world_size, device)
    if spec.zero_stage == 3:
        return model, shard(model.network, torch.device(device))
    model.network.to(device)
    return model, None


def _help(tasks: Mapping[str, Task], answers: Callable[[str], list[Found | None]]) -> None:
    """What the ranks behind the first do. A task that failed anywhere is left by all."""
    for name in tasks:
        with suppress(FailedElsewhere):
            answers(name)


def _measure_all(
    spec: EvaluateSpec,
    directory: Path,
    events: EventWriter,
    store: Store,
    model: Model,
    parts: Mapping[str, Sequence[Part]],
    answers: Callable[[str], list[Found | None]],
) -> Results:
    """The results of all tasks, and their samples, written."""
    measured: list[TaskResult] = []
    failed: dict[str, TaskFailure] = {}
    with SamplesWriter(directory / SAMPLES) as samples:
        for name, of_task in parts.items():
            digest = of_task[0].rows.digest
            unclean = unclean_rows(store, model.card.lineage, f"{name}/{spec.split}", digest)
            try:
                found = [each for each in answers(name) if each is not None]
                measured.append(_measure(of_task, found, unclean, samples))
            except OF_THE_TASK as error:
                failed[name] = _failure(error, is_last_hope=len(failed) + 1 == len(parts))
                events.append("warning", code="task_failed", message=f"{name}: {failed[name].message}")
    tasks = {name: of_task[0].task for name, of_task in parts.items()}
    rows = {name: of_task[0].rows for name, of_task in parts.items()}
    results = _results(spec, model, tasks, rows, measured)
    return results.model_copy(update={"failed": failed, "samples": tree_digest(directory / SAMPLES)})


def _parts(spec: EvaluateSpec, task: Task, places: Places) -> list[Part]:
    """What is asked of a task: the reported rows, and behind them those of dev, if there are any."""
    assert spec.pins is not None
    only = {task.name: task}
    few_shot = spec.few_shot
    solved = open_pinned_rows(spec, only, few_shot.split, places)[task.name] if few_shot else None
    specs = [spec]
    if spec.dev and spec.dev.split in spec.pins.tasks[task.name].rows:
        specs.append(spec.model_copy(update={"split": spec.dev.split, "limit": spec.dev.limit}))
    return [
        Part(
            task,
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


def _measure(
    parts: Sequence[Part], found: Sequence[Found], unclean: frozenset[int] | None, samples: SamplesWriter
) -> TaskResult:
    """The figures of a task; its samples are written when all of them are there."""
    task = parts[0].task
    reported, *dev = [(_how(part, each), each.answered) for part, each in zip(parts, found, strict=True)]
    result = _without_unclean(task, *reported, unclean)
    if dev:
        result = result.model_copy(update={"best": best_template(task, dev[0], reported)})
    for how, answered in (reported, *dev):
        samples.write(sample_of(task, how.split, one) for one in answered)
    return result


def _how(part: Part, found: Found) -> Measured:
    task, spec, rows, _ = part
    num_shots = spec.few_shot.shots if spec.few_shot else 0
    asked = _asked_digest(spec, task, rows)
    return Measured(spec.split, scoring_of(spec, task), len(rows), found.num_skipped, asked, num_shots)


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
        choose_by=spec.choose_by,
        precision=spec.precision,
        suite=spec.suite,
        prompt_format=spec.prompt_format,
        few_shot=spec.few_shot,
    )


def _rulings(spec: EvaluateSpec, model: Model, tasks: dict[str, Task]) -> dict[str, Ruling]:
    taxonomy, collection = load_taxonomy(spec.collection), load_collection(spec.collection)
    known = list((collection | tasks).values())
    return {name: judge(model.card.lineage, task, taxonomy, known) for name, task in tasks.items()}
