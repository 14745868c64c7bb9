"""A tune job, as each of its ranks carries it out: prepare, train, finalize.

Rank 0 does alone what is done once: choosing the checkpoint to go on from, training a preset's tokenizer,
telling what happens, writing models. It does the slow part before the process group exists, so that no
collective waits for it.
"""

import random
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flan.data.batches import Stream
from flan.data.compared import read_report, record_of, without_leaks
from flan.data.examples import Examples
from flan.data.members import TRAIN
from flan.data.packing import pack_lengths
from flan.data.resolve import open_pinned_rows, pinned_tasks
from flan.data.rows import Places, Rows
from flan.data.tokens import Fitted
from flan.model.adapters import Adapter
from flan.model.export import export
from flan.model.load import Model, make_card
from flan.rundir import EventWriter, RunSettings, read_settings
from flan.spec import Document, Pins, Sha256, TuneSpec
from flan.stopping import WishReader
from flan.store import Store
from flan.tasks.task import Task
from flan.train import checkpoint, leaks, preflight, resume, selftest
from flan.train.base import fit_tokenizer, load_base, recompute_layers, tuned_lineage
from flan.train.checkpoint import CheckpointState
from flan.train.flops import training_costs
from flan.train.loop import Ending, train
from flan.train.memory import MemoryPlan, out_of_memory_is_told, plan_memory
from flan.train.methods import tuned_model, with_method
from flan.train.objective import Objective
from flan.train.progress import Progress
from flan.train.ranks import Ranks, meet, process_group
from flan.train.report import Report, drops
from flan.train.saver import Saver
from flan.train.step import Sources
from flan.train.watchdog import Watchdog
from flan.train.zero import ACCUMULATION, make_engine, trained_weights

TUNED, BASE, TOKENIZER = "model", "base", "tokenizer"
"""Folders in the run directory."""
TESTED, MANY = 8, 64
"""Examples whose ids are compared before step 1, and draws among which they are looked for."""


@dataclass(frozen=True)
class Run:
    """One attempt at a tune spec, at one rank."""

    spec: TuneSpec
    directory: Path
    settings: RunSettings
    ranks: Ranks
    events: EventWriter | None
    """At rank 0."""

    @property
    def store(self) -> Store:
        """Artifacts the pins refer to."""
        return Store(Path(self.settings.store))

    @property
    def places(self) -> Places:
        """Where rows are found."""
        return Places(data=Path(self.settings.data) if self.settings.data else None, store=self.store)

    @property
    def pins(self) -> Pins:
        """What the names in the spec mean."""
        assert self.spec.pins is not None, "a run has a resolved spec"
        return self.spec.pins

    @property
    def checkpoints(self) -> Path:
        """Shared by all attempts."""
        return Path(self.settings.checkpoints)

    def say(self, type_: str, **data: Any) -> None:
        """Append an event, once for all ranks."""
        if self.events is not None:
            self.events.append(type_, **data)


class Start(Document):
    """What rank 0 tells the others before they begin."""

    checkpoint: str | None
    """Folder to go on from; None = from step 0."""
    tokenizer: str | None
    """Folder of a preset's tokenizer."""
    leakage: Sha256 | None
    """The report on what training rows share with held-out rows, in the store; None = nothing is held out."""


def tune(spec: TuneSpec, directory: Path, events: EventWriter | None) -> Ending:
    """Carry out `spec` in `directory`; "stopped" when a wish ended it. Every rank calls it, rank 0 with `events`.

    Leaves checkpoints beside, `model/` (and `base/`, of a preset) in the run directory.
    """
    settings = read_settings(directory)
    ranks = meet(settings.device)
    run = Run(spec, directory, settings, ranks, events)
    wishes = WishReader(directory, reads_file=ranks.is_first)
    with wishes.listening(), out_of_memory_is_told(spec):
        return carry_out(run, wishes, process_group(ranks))


def carry_out(run: Run, wishes: WishReader, group: AbstractContextManager[None]) -> Ending:
    """The three stages; `group` opens the process group when preparation is over."""
    chosen = _begin(run) if run.ranks.is_first else None
    tasks, rows = _open_tasks(run)
    if run.ranks.is_first:
        run.ranks.tell(_start_key(run), _prepare_start(run, chosen, tasks, rows).canonical())
    start = Start.model_validate_json(run.ranks.hear(_start_key(run)))
    rows = _trained_on(run, start.leakage, rows)
    model = with_method(_load_base(run, start), run.spec)
    state = checkpoint.read_state(Path(start.checkpoint)) if start.checkpoint else None
    examples = Examples(run.spec, tasks, rows)
    _check(run, model, examples)
    if state is None and start.tokenizer is not None:
        _write_model(run, model, BASE)
    plan = _plan(run, model, state)
    stream_state = state.stream if state else None
    with (
        Stream(run.spec, tasks, rows, model.tokenizer, model.card.contract, stream_state) as stream,
        group,
    ):
        costs = training_costs(model.network)  # of whole weights: ZeRO-3 leaves none
        # As it was settled before step 1; what the run is known by stays the spec as it was asked.
        settled = run.spec.model_copy(update={"micro_batch": plan.micro_batch})
        engine = _make_engine(run, model, settled, start)
        report = Report(
            run.spec,
            state.progress if state else Progress(),
            {task: run.pins.clusters[task] for task in run.pins.train},
            stream,
            costs,
            run.ranks,
            run.events,
        )
        ending = _train(
            run, settled, engine, model, stream, report, Sources(examples, tasks), wishes, start.leakage
        )
        if ending == "done":
            run.say("stage.changed", stage="finalize")
            _warn_of_drops(run, stream)
            _write_tuned(run, trained_weights(engine), start, report.progress)
    return ending


def _open_tasks(run: Run) -> tuple[dict[str, Task], dict[str, Rows]]:
    pinned = pinned_tasks(run.spec, run.store)
    tasks = {name: pinned[name] for name in run.pins.train}
    return tasks, open_pinned_rows(run.spec, tasks, TRAIN, run.places)


def _trained_on(run: Run, leakage: str | None, rows: Mapping[str, Rows]) -> dict[str, Rows]:
    report = read_report(run.store, leakage) if leakage else None
    return without_leaks(run.spec, report, rows)


def _load_base(run: Run, start: Start) -> Model:
    return load_base(run.spec, run.store, Path(start.tokenizer) if start.tokenizer else None)


def _start_key(run: Run) -> str:
    return f"start of {run.directory}"


def _begin(run: Run) -> Path | None:
    """Say that the run has begun, and from which checkpoint."""
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    checkpoint.sweep(run.checkpoints, run.settings.attempt)
    chosen = resume.choose(
        run.settings,
        run.spec,
        run.ranks.world_size,
        lambda code, message: run.say("warning", code=code, message=message),
    )
    state = checkpoint.read_state(chosen) if chosen else None
    run.say(
        "run.started",
        kind=run.spec.kind,
        ranks=run.ranks.world_size,
        device=run.settings.device,
        resumed_from=state.step if state else 0,
        accumulation=ACCUMULATION,
    )
    run.say("stage.changed", stage="prepare")
    if state and state.environment != resume.environment(run.ranks):
        run.say("warning", code="resume_inexact", message=_differences(state, resume.environment(run.ranks)))
    return chosen


def _prepare_start(
    run: Run, chosen: Path | None, tasks: Mapping[str, Task], rows: Mapping[str, Rows]
) -> Start:
    """What takes long and is done once: rows are compared, a preset's tokenizer is trained, any other base verified."""
    leakage = leaks.compare(run.spec, run.places, rows, run.say)
    if chosen is not None:
        resume.check_left_out(run.spec, checkpoint.read_state(chosen), leakage)
    checkpoint_folder, tokenizer = str(chosen) if chosen else None, None
    if run.pins.model is not None:
        run.store.verify_tree(run.pins.model)
    elif chosen is not None:
        tokenizer = chosen / checkpoint.TOKENIZER
    else:
        tokenizer = run.directory / TOKENIZER
        fit_tokenizer(run.spec, tasks, _trained_on(run, leakage, rows)).save_pretrained(tokenizer)
    return Start(
        checkpoint=checkpoint_folder, tokenizer=str(tokenizer) if tokenizer else None, leakage=leakage
    )


def _differences(state: CheckpointState, now: Mapping[str, str]) -> str:
    changed = [
        f"{key} {state.environment.get(key)} → {now[key]}"
        for key in now
        if state.environment.get(key) != now[key]
    ]
    return f"not bit-exact: since the checkpoint was written, {', '.join(changed)}"


def _check(run: Run, model: Model, examples: Examples) -> None:
    preflight.check_context(run.spec, model.card)
    preflight.check_memory(run.spec, model.card.num_parameters, run.ranks.world_size, run.ranks.device)
    preflight.check_disk(run.spec, model.card.num_parameters, run.checkpoints)
    model.network.to(run.ranks.device)
    selftest.check_all(model, _first(model, examples), run.spec.precision, run.ranks.device)


def _first(model: Model, examples: Examples) -> list[Fitted]:
    """The first examples of the run that can be used."""
    found = examples.fitted(range(MANY), model.tokenizer, model.card.contract)
    return [each for each in found if isinstance(each, Fitted)][:TESTED]


def _plan(run: Run, model: Model, state: CheckpointState | None) -> MemoryPlan:
    """How the steps are to be taken: as before, where they go on."""
    if run.spec.gradient_checkpointing:
        recompute_layers(model.network)
    spec = run.spec if state is None else run.spec.model_copy(update={"micro_batch": state.micro_batch})
    lengths = pack_lengths(model.card.contract, spec.packed_length, spec.input_length, spec.target_length)
    plan = plan_memory(spec, model, lengths, run.ranks, str(run.directory))
    run.say("memory.planned", **plan.model_dump() | {"is_auto": run.spec.micro_batch == "auto"})
    return plan


def _make_engine(run: Run, model: Model, settled: TuneSpec, start: Start) -> Any:
    # Dropout differs between ranks, and is the same in every run.
    seed = (run.spec.seed + run.ranks.rank) % 2**32
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    engine = make_engine(Objective(model.network, run.spec.precision), settled, run.ranks.world_size)
    engine.train()
    if start.checkpoint is not None:
        checkpoint.load(engine, run.ranks, Path(start.checkpoint))
    return engine


def _train(
    run: Run,
    settled: TuneSpec,
    engine: Any,
    model: Model,
    stream: Stream,
    report: Report,
    sources: Sources,
    wishes: WishReader,
    leakage: str | None,
) -> Ending:
    saver = Saver(
        run.ranks,
        run.checkpoints,
        run.settings.attempt,
        model.tokenizer,
        lambda written: run.say("checkpoint.written", **written._asdict()),
    )

    def save() -> None:
        state = CheckpointState(
            progress=report.progress,
            spec=run.spec.digest(),
            world_size=run.ranks.world_size,
            micro_batch=settled.settled_micro_batch,
            accumulation=ACCUMULATION,
            environment=resume.environment(run.ranks),
            stream=stream.state(),
            leakage=leakage,
        )
        saver.save(engine, state)

    run.say("stage.changed", stage="train")
    watchdog = Watchdog(run.directory, run.ranks.rank, run.settings.stall_s)
    with watchdog.watching():
        return train(
            settled,
            engine,
            stream,
            run.ranks,
            report,
            sources,
            wishes=wishes,
            watchdog=watchdog,
            saver=saver,
            save=save,
        )


def _warn_of_drops(run: Run, stream: Stream) -> None:
    for task, counts in sorted(stream.counts().items()):
        if dropped := drops(counts):
            told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in dropped.items())
            run.say(
                "warning",
                code="examples_dropped",
                message=f"{task}: of {counts.drawn} draws, dropped: {told}",
            )


def _write_tuned(
    run: Run, weights: Mapping[str, torch.Tensor] | None, start: Start, progress: Progress
) -> None:
    if weights is None:
        return
    # The base anew: under ZeRO the trained network is in shards, and wears the engine's hooks.
    base = _load_base(run, start)
    record = record_of(run.spec, run.store, start.leakage)
    lineage = tuned_lineage(
        run.spec, base, steps=progress.step, target_tokens=progress.target_tokens, leakage=record
    )
    (network, tokenizer, card), adapter = tuned_model(
        base, run.spec, {name.removeprefix("network."): weight for name, weight in weights.items()}
    )
    card = make_card(run.spec.name, network, card.contract, lineage)
    _write_model(run, Model(network, tokenizer, card), TUNED, adapter)


def _write_model(run: Run, model: Model, folder: str, adapter: Adapter | None = None) -> None:
    if not run.ranks.is_first:
        return
    # What an earlier run by hand in the same directory left there.
    shutil.rmtree(run.directory / folder, ignore_errors=True)
    export(model.network, model.tokenizer, model.card, run.directory / folder, adapter)
    role = "tuned" if folder == TUNED else "base"
    run.say("model.written", name=model.card.name, role=role, path=folder)
