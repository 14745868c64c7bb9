"""The first stage of a tune job: where it begins, from which model, and proof that its steps can be taken.

Rank 0 does alone what is done once: choosing the checkpoint to go on from, comparing rows, training a preset's
tokenizer. It does so before the process group exists, so that no collective waits for it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from flan.card import Contract
from flan.data import sides
from flan.data.batches import StreamState
from flan.data.compared import read_report, without_leaks
from flan.data.examples import Examples
from flan.data.members import TRAIN
from flan.data.packing import pack_lengths
from flan.data.resolve import open_pinned_rows, pinned_tasks
from flan.data.rows import Places, Rows
from flan.data.stream import Stream
from flan.data.tokens import Fitted, Tokens
from flan.data.window import Lengths
from flan.model.load import Model
from flan.rundir import EventWriter, RunSettings
from flan.spec import Document, Pins, Sha256, TuneSpec
from flan.store import Store
from flan.tasks.task import Task
from flan.train import checkpoint, leaks, preflight, resume, selftest
from flan.train.base import fit_tokenizer, load_base, recompute_layers
from flan.train.checkpoint import CheckpointState
from flan.train.memory import MemoryPlan, plan_memory
from flan.train.ranks import Ranks
from flan.train.states import sizes_of
from flan.train.zero import ACCUMULATION

TOKENIZER = "tokenizer"
"""Folder in the run directory."""
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


def agree_on_start(run: Run) -> tuple[Start, dict[str, Task], dict[str, Rows]]:
    """Where the run begins, its tasks, and the rows they are trained on. Rank 0 does what is done once."""
    chosen = _begin(run) if run.ranks.is_first else None
    tasks, rows = _open_tasks(run)
    if run.ranks.is_first:
        run.ranks.tell(_start_key(run), _prepare_start(run, chosen, tasks, rows).canonical())
    start = Start.model_validate_json(run.ranks.hear(_start_key(run)))
    return start, tasks, _trained_on(run, start.leakage, rows)


def _open_tasks(run: Run) -> tuple[dict[str, Task], dict[str, Rows]]:
    pinned = pinned_tasks(run.spec, run.store)
    tasks = {name: pinned[name] for name in run.pins.train}
    return tasks, open_pinned_rows(run.spec, tasks, TRAIN, run.places)


def _trained_on(run: Run, leakage: str | None, rows: Mapping[str, Rows]) -> dict[str, Rows]:
    report = read_report(run.store, leakage) if leakage else None
    return without_leaks(run.spec, report, rows)


def open_stream(
    run: Run,
    spec: TuneSpec,
    tasks: Mapping[str, Task],
    rows: Mapping[str, Rows],
    model: Model,
    start: StreamState | None,
) -> Stream:
    """The stream of `spec`, whose sides are settled, from `start` on; rank 0 opens it, the others join."""
    key = f"stream of {run.directory}"
    if not run.ranks.is_first:
        return Stream.join(run.ranks.hear(key), start)
    stream = Stream.open(
        spec,
        tasks,
        rows,
        model.tokenizer,
        model.card.contract,
        start,
        ranks=run.ranks.world_size,
        loaders=int(os.environ.get("FLAN_LOADERS", "1")),
    )
    run.ranks.tell(key, stream.address)
    return stream


def load_start(run: Run, start: Start) -> Model:
    """The base of the run, as it was before any training."""
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


def check(run: Run, model: Model, examples: Examples) -> None:
    """All that can be known before step 1; puts the network on its device. Raises what is wrong."""
    preflight.check_context(run.spec, model.card)
    preflight.check_objective(run.spec, model.card)
    sizes = sizes_of(model.network, run.spec.optimizer)
    preflight.check_memory(run.spec, sizes, run.ranks.world_size, run.ranks.device)
    preflight.check_disk(run.spec, sizes, run.checkpoints)
    model.network.to(run.ranks.device)
    first = _first(examples, model.tokenizer, model.card.contract)

    def continued(tokenizer: PreTrainedTokenizerFast) -> list[Tokens]:
        return [each.tokens for each in _first(examples, tokenizer, model.card.contract)]

    reading = continued if run.spec.objective == "lm" else None
    selftest.check_all(model, first, run.spec.precision, run.ranks.device, reading)


def _first(examples: Examples, tokenizer: PreTrainedTokenizerFast, contract: Contract) -> list[Fitted]:
    """The first examples of the run that can be used."""
    found = examples.fitted(range(MANY), tokenizer, contract)
    return [each for each in found if isinstance(each, Fitted)][:TESTED]


def with_sides(run: Run, model: Model, examples: Examples, state: CheckpointState | None) -> TuneSpec:
    """The spec with the sides of an encoder-decoder's packs settled: as before, where the run goes on."""
    if model.card.contract.architecture == "decoder" or run.spec.pack_target_length != "auto":
        return run.spec
    if state is not None and state.pack_lengths is not None:
        return sides.with_sides(run.spec, Lengths(*state.pack_lengths))
    key = f"sides of {run.directory}"
    if run.ranks.is_first:
        settled = sides.with_measured_sides(run.spec, examples, model.tokenizer, model.card.contract)
        run.ranks.tell(key, json.dumps(pack_lengths(model.card.contract, settled)))
    return sides.with_sides(run.spec, Lengths(*json.loads(run.ranks.hear(key))))


def plan_steps(run: Run, spec: TuneSpec, model: Model, state: CheckpointState | None) -> MemoryPlan:
    """How the steps of `spec`, whose sides are settled, are to be taken: as before, where they go on."""
    if run.spec.gradient_checkpointing:
        recompute_layers(model.network)
    if state is not None:
        spec = spec.model_copy(update={"micro_batch": state.micro_batch})
    lengths = pack_lengths(model.card.contract, spec)
    plan = plan_memory(spec, model, lengths, run.ranks, str(run.directory))
    told = {"is_auto": run.spec.micro_batch == "auto", "pack_lengths": [n for n in lengths if n]}
    run.say("memory.planned", **plan.model_dump() | told)
    return plan
