"""A tune job, as each of its ranks carries it out: prepare (flan/train/prepare.py), train, finalize."""

import os
import random
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flan.data.compared import record_of
from flan.data.composition import Ruler, TuneResults, composition
from flan.data.examples import Examples
from flan.data.packing import pack_lengths
from flan.data.stream import Stream
from flan.model.adapters import Adapter
from flan.model.export import export
from flan.model.load import Model, make_card
from flan.rundir import EventWriter, read_settings
from flan.spec import TuneSpec
from flan.stopping import WishReader
from flan.store import write_atomically
from flan.train import checkpoint, resume
from flan.train.base import tuned_lineage
from flan.train.checkpoint import CheckpointState
from flan.train.compiled import compile_layers, lacks_compiler
from flan.train.flops import training_costs
from flan.train.loop import Ending, train
from flan.train.memory import out_of_memory_is_told
from flan.train.methods import tuned_model, with_method
from flan.train.objective import Objective
from flan.train.prepare import (
    Run,
    Start,
    agree_on_start,
    check,
    load_start,
    open_stream,
    plan_steps,
    with_sides,
)
from flan.train.progress import Progress
from flan.train.ranks import meet, process_group
from flan.train.report import Report, drops
from flan.train.saver import Saver
from flan.train.step import Sources
from flan.train.watchdog import Watchdog
from flan.train.zero import ACCUMULATION, make_engine, trained_weights

TUNED, BASE = "model", "base"
"""Folders in the run directory."""
RESULTS = "results.json"
"""File in it."""


def tune(spec: TuneSpec, directory: Path, events: EventWriter | None) -> Ending:
    """Carry out `spec` in `directory`; "stopped" when a wish ended it. Every rank calls it, rank 0 with `events`.

    Leaves checkpoints beside, `model/` (and `base/`, of a preset) in the run directory.
    """
    settings = read_settings(directory)
    ranks = meet(settings.device, spec.resources.threads)
    run = Run(spec, directory, settings, ranks, events)
    wishes = WishReader(directory, reads_file=ranks.is_first)
    with wishes.listening(), out_of_memory_is_told(spec):
        return carry_out(run, wishes, process_group(ranks))


def carry_out(run: Run, wishes: WishReader, group: AbstractContextManager[None]) -> Ending:
    """The three stages; `group` opens the process group when preparation is over."""
    start, tasks, rows = agree_on_start(run)
    model = with_method(load_start(run, start), run.spec)
    state = checkpoint.read_state(Path(start.checkpoint)) if start.checkpoint else None
    examples = Examples(run.spec, tasks, rows)
    check(run, model, examples)
    if state is None and start.tokenizer is not None:
        _write_model(run, model, BASE)
    # What the run settles before step 1; it stays known by the spec as it was asked.
    settled = with_sides(run, model, examples, state)
    plan = plan_steps(run, settled, model, state)
    settled = settled.model_copy(update={"micro_batch": plan.micro_batch})
    with open_stream(run, settled, tasks, rows, model, state.stream if state else None) as stream, group:
        costs = training_costs(model.network)  # of whole weights: ZeRO-3 leaves none
        engine = _make_engine(run, model, settled, start)
        run.say("data.opened", draws=stream.digest())
        report = Report(
            run.spec,
            state.progress if state else Progress(),
            {task: run.pins.clusters[task] for task in run.pins.train},
            stream,
            costs,
            run.ranks,
            run.events,
            model.tokenizer,
        )
        ending = _train(
            run, settled, engine, model, stream, report, Sources(examples, tasks), wishes, start.leakage
        )
        if ending == "done":
            run.say("stage.changed", stage="finalize")
            _warn_of_drops(run, stream)
            _write_results(run, examples, model, stream)
            _write_tuned(run, trained_weights(engine), start, report.progress, stream.digest())
    return ending


def _make_engine(run: Run, model: Model, settled: TuneSpec, start: Start) -> Any:
    # Dropout differs between ranks, and is the same in every run.
    seed = (run.spec.seed + run.ranks.rank) % 2**32
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if run.spec.compile:
        _compile(run, model)
    objective = Objective(model.network, run.spec.precision, run.spec.z_loss, zero_stage=run.spec.zero_stage)
    engine = make_engine(objective, settled, run.ranks.world_size)
    engine.train()
    if start.checkpoint is not None:
        checkpoint.load(engine, run.ranks, Path(start.checkpoint))
    return engine


def _compile(run: Run, model: Model) -> None:
    if reason := lacks_compiler(run.ranks.device):
        run.say("warning", code="not_compiled", message=f"{reason}; the run goes on without")
    else:
        # Of this attempt alone: files that a killed compiler left half written would fail every later one.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(run.directory / "compiled"))
        compile_layers(model.network)


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
            spec=run.spec,
            world_size=run.ranks.world_size,
            micro_batch=settled.settled_micro_batch,
            pack_lengths=pack_lengths(model.card.contract, settled),
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


def _write_results(run: Run, examples: Examples, model: Model, stream: Stream) -> None:
    """What the mixture was to be, and what it was."""
    if not run.ranks.is_first:
        return
    ruler = Ruler("tokens", model.tokenizer, model.card.contract)
    found = composition(examples, run.pins.clusters, ruler, counts=stream.counts())
    text = TuneResults(mixture=found).model_dump_json(indent=1) + "\n"
    write_atomically(run.directory / RESULTS, text.encode())
    summary = {name: each.realised_tokens for name, each in found.clusters.items()}
    run.say("results.written", path=RESULTS, summary=summary)


def _write_tuned(
    run: Run, weights: Mapping[str, torch.Tensor] | None, start: Start, progress: Progress, draws: str
) -> None:
    if weights is None:
        return
    # The base anew: under ZeRO the trained network is in shards, and wears the engine's hooks.
    base = load_start(run, start)
    record = record_of(run.spec, run.store, start.leakage)
    device = resume.environment(run.ranks)["device"]
    lineage = tuned_lineage(run.spec, base, progress, record, device=device, draws=draws)
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
