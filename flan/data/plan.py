"""What a resolved job will do, in figures, before it does it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal, NamedTuple

from flan.card import ModelCard
from flan.data.bases import PRESETS
from flan.data.mixture import leaf_tasks, part_name, size_of, usable_templates
from flan.data.rates import mixing_rates
from flan.errors import FlanError, more_tasks
from flan.spec import Document, EvaluateSpec, HoldOut, Mixture, ServeSpec, Spec, TuneSpec
from flan.tasks.task import Task
from flan.tasks.taxonomy import load_taxonomy

FLOAT_BYTES = 4


class ContextTooShort(FlanError):
    """The lengths asked for exceed what the model can read at once."""

    code, blame = "context_too_short", "user"


class PromptedBase(FlanError):
    """A model with a soft prompt cannot be tuned further."""

    code, blame = "base_has_soft_prompt", "user"


class PlannedTask(Document):
    """A task that will be read."""

    name: str
    """Name of the task."""
    cluster: str
    """Its cluster."""
    part: str | None = None
    """Which part of the mixture draws it, where there are several; a task may be in more than one."""
    num_rows: int
    """Rows of the split that is read."""
    num_used: int
    """Of these, how many the cap or limit leaves: a seeded sample."""
    num_templates: int
    """How many of its templates are used."""
    rate: float | None = None
    """Probability that a training example comes from this task."""


class Plan(Document):
    """The plan of a job. Sizes are estimates, everything else is exact."""

    kind: Literal["tune", "evaluate", "serve"]
    """Of the job."""
    tasks: tuple[PlannedTask, ...] = ()
    """What is read, task by task."""
    cluster_rates: dict[str, float] = {}
    """Cluster → probability that a training example comes from it."""
    excluded: dict[str, str] = {}
    """Task → why it is left out."""
    missing: dict[str, float | None] = {}
    """Task that is not here → the share of the examples it would have had; null where its size is not known."""
    compared: dict[str, int] = {}
    """Held-out task/split → its rows, with which the training rows will be compared before the first step."""
    not_compared: dict[str, str] = {}
    """Held-out task → why its rows, or some of them, cannot be compared."""
    steps: int | None = None
    """Optimizer updates."""
    pack_length: int | None = None
    """Tokens of a packed sequence."""
    packs_per_step: int | None = None
    """Packed sequences of one optimizer update, over all ranks."""
    token_slots_per_step: int | None = None
    """Both multiplied."""
    token_slots: int | None = None
    """Of the whole job, padding included."""
    memory_bytes_per_rank: int | None = None
    """Weights, gradients and moments of a tune job, in each process; activations come on top, and ZeRO shares them.
    None where the size of the model is not known yet."""
    disk_bytes: int | None = None
    """Checkpoints and models together at most; None where the size of the model is not known yet."""
    weight_bytes_per_rank: int | None = None
    """What an evaluation's weights take on each device: where that is more than it has, set zero_stage: 3, which
    shares them among the ranks. None where the size of the model is not known yet."""
    warnings: tuple[str, ...] = ()
    """What may not be as you meant it."""


class Room(NamedTuple):
    """What a tune job takes, at most."""

    memory_bytes: int
    """Of a rank, for weights, gradients and moments; activations come on top."""
    disk_bytes: int
    """Checkpoints and models together."""


def make_plan(
    spec: Spec, tasks: Mapping[str, Task], card: ModelCard | None, warnings: Sequence[str] = ()
) -> Plan:
    """The plan of a resolved spec, with `warnings` about its rows before its own.

    Raises ContextTooShort, PromptedBase.
    """
    assert spec.pins is not None
    if isinstance(spec, ServeSpec):
        return Plan(kind="serve")
    if isinstance(spec, EvaluateSpec):
        _check_evaluate_context(spec, tasks, card)
        planned, excluded = _evaluated(spec, tasks), spec.pins.excluded
        return Plan(
            kind="evaluate",
            tasks=planned,
            excluded=excluded,
            weight_bytes_per_rank=_weight_bytes_per_rank(spec, card),
            warnings=tuple(warnings),
        )
    _check_base(card)
    _check_context(card, spec.input_length, "target_length", spec.target_length, "/target_length")
    planned = _trained(spec, tasks)
    clusters = sorted({task.cluster for task in planned})
    slots = spec.packs_per_step * spec.packed_length
    room = room_of(spec, card.num_parameters if card else None)
    return Plan(
        kind="tune",
        tasks=planned,
        cluster_rates={
            name: sum(task.rate or 0 for task in planned if task.cluster == name) for name in clusters
        },
        excluded=spec.pins.excluded,
        missing=spec.pins.missing,
        compared={
            f"{name}/{split}": num_rows
            for name, pin in spec.pins.held_out.items()
            for split, num_rows in pin.num_rows.items()
        },
        not_compared=spec.pins.not_compared,
        steps=spec.steps,
        pack_length=spec.packed_length,
        packs_per_step=spec.packs_per_step,
        token_slots_per_step=slots,
        token_slots=slots * spec.steps,
        memory_bytes_per_rank=room.memory_bytes if room else None,
        disk_bytes=room.disk_bytes if room else None,
        warnings=(*warnings, *_warnings(spec, card)),
    )


def _trained(spec: TuneSpec, tasks: Mapping[str, Task]) -> tuple[PlannedTask, ...]:
    assert spec.pins is not None
    num_rows = {name: spec.pins.tasks[name].num_rows["train"] for name in spec.pins.train}
    leaves, asked = spec.mixture.leaves, leaf_tasks(spec, tasks)
    sizes = [
        {name: size_of(task, num_rows[name], leaf) for name, task in among.items()}
        for leaf, among in zip(leaves, asked, strict=True)
    ]
    rates = mixing_rates(spec.mixture, sizes)
    return tuple(
        PlannedTask(
            name=name,
            cluster=task.cluster,
            part=part_name(spec.mixture, i),
            num_rows=num_rows[name],
            num_used=min(num_rows[name], leaf.examples_cap),
            num_templates=len(usable_templates(task, leaf)),
            rate=rates[i][name],
        )
        for i, leaf in enumerate(leaves)
        for name, task in asked[i].items()
    )


def _evaluated(spec: EvaluateSpec, tasks: Mapping[str, Task]) -> tuple[PlannedTask, ...]:
    assert spec.pins is not None
    num_rows = {name: pin.num_rows[spec.split] for name, pin in spec.pins.tasks.items()}
    return tuple(
        PlannedTask(
            name=name,
            cluster=task.cluster,
            num_rows=num_rows[name],
            num_used=min(num_rows[name], spec.limit or num_rows[name]),
            num_templates=len(task.answer_templates[: spec.templates_per_task]),
        )
        for name, task in tasks.items()
    )


def _check_evaluate_context(spec: EvaluateSpec, tasks: Mapping[str, Task], card: ModelCard | None) -> None:
    writes = spec.scoring == "generate" or (
        spec.scoring == "auto" and any(not task.has_choices for task in tasks.values())
    )
    num_new = spec.max_new_tokens if writes else 0
    _check_context(card, spec.input_length, "max_new_tokens", num_new, "/input_length")


def _check_base(card: ModelCard | None) -> None:
    if card is not None and card.contract.soft_prompt_ids:
        raise PromptedBase(
            f"{card.name} has a soft prompt, which was learnt for its weights as they are",
            hint=f"tune {card.lineage.base} instead, which has the same weights",
            pointer="/base",
        )


def _check_context(card: ModelCard | None, num_input: int, name: str, num_target: int, pointer: str) -> None:
    """A decoder reads input and target as one sequence; an encoder-decoder reads them apart."""
    if card is None:
        return
    is_decoder = card.contract.architecture == "decoder"
    needed = num_input + num_target if is_decoder else max(num_input, num_target)
    if needed > card.context_length:
        raise ContextTooShort(
            f"input_length {num_input} with {name} {num_target} needs {needed} tokens; the context of "
            f"{card.name} has {card.context_length}",
            hint=f"lower input_length or {name}, or take a model with a longer context",
            pointer=pointer,
            needed=needed,
            context_length=card.context_length,
        )


def room_of(spec: TuneSpec, num_parameters: int | None) -> Room | None:
    """What a job takes with a model of so many weights, in fp32 throughout; None where they are not known.

    A rank keeps the weights, and for each that is trained a gradient and, with AdamW, two moments; checkpoints hold
    what is trained and its moments; the model it makes lies beside, with the one that it starts from where that is a
    preset. What LoRA or a soft prompt adds is small beside the weights, and left out.
    """
    if num_parameters is None:
        return None
    trained = num_parameters if spec.method.kind == "full" else 0
    moments = 2 * trained if spec.optimizer.name == "adamw" else 0
    models = (2 if spec.base in PRESETS else 1) * num_parameters
    return Room(
        memory_bytes=FLOAT_BYTES * (num_parameters + trained + moments),
        disk_bytes=FLOAT_BYTES * (most_checkpoints(spec) * (trained + moments) + models),
    )


def _weight_bytes_per_rank(spec: EvaluateSpec, card: ModelCard | None) -> int | None:
    if card is None:
        return None
    num_weights = card.num_parameters // (spec.resources.ranks if spec.zero_stage == 3 else 1)
    return num_weights * (2 if spec.precision == "bf16" else 4)


def most_checkpoints(spec: TuneSpec) -> int:
    """How many checkpoints lie on the disk at most: the newest, the best, the pinned, and one that is written."""
    written = sum(1 for step in {*spec.pinned_steps, spec.steps} if step % spec.checkpoint_every)
    written += spec.steps // spec.checkpoint_every
    return min(written, max(spec.keep_checkpoints, 2) + 1 + len(spec.pinned_steps) + 1)


def _held_out(mixture: Mixture) -> HoldOut:
    """The clusters and tasks that it holds out anywhere."""
    below = [mixture.hold_out, *map(_held_out, mixture.parts)]
    return HoldOut(
        clusters=tuple(sorted({name for each in below for name in each.clusters})),
        tasks=tuple(sorted({name for each in below for name in each.tasks})),
    )


def step_warnings(spec: TuneSpec) -> list[str]:
    """What of a step may not be as it was meant, whatever it is that is trained on."""
    warnings = []
    slots, packs, ranks = spec.packs_per_step * spec.packed_length, spec.packs_per_step, spec.resources.ranks
    if slots != spec.tokens_per_step:
        warnings.append(
            f"a step has {slots:,} token slots, not {spec.tokens_per_step:,}: {packs} packs of {spec.packed_length:,}"
        )
    if packs % ranks:
        warnings.append(f"{packs} packs do not divide among {ranks} ranks: {-packs % ranks} a step are empty")
    return warnings


def _warnings(spec: TuneSpec, card: ModelCard | None) -> list[str]:
    warnings = step_warnings(spec)
    held_out = _held_out(spec.mixture)
    if not (held_out.clusters or held_out.tasks):
        return warnings
    return [*warnings, *_unproven(spec, held_out, card)]


def _unproven(spec: TuneSpec, held_out: HoldOut, card: ModelCard | None) -> Iterator[str]:
    """Why what is held out could not be proven unseen afterwards."""
    unplaced = spec.pins.unplaced if spec.pins is not None else {}
    for name, why in islice(unplaced.items(), 1):
        more = more_tasks(len(unplaced) - 1)
        yield f"what is held out cannot be proven unseen: {name} is trained on, and {why}{more}"
    if card is None:
        return
    if card.lineage.tasks_seen is None or card.lineage.clusters_seen is None:
        yield f"what {spec.base} was trained on is not on record: what is held out cannot be proven unseen"
        return
    taxonomy = load_taxonomy(spec.mixture.collection)
    seen = {
        held
        for held in held_out.clusters
        if any(taxonomy.are_alike(cluster, held) for cluster in card.lineage.clusters_seen)
    }
    seen.update({*held_out.tasks}.intersection(card.lineage.tasks_seen))
    if seen:
        yield f"{spec.base} has already been trained on {', '.join(sorted(seen))}, held out here"
