"""A sweep before it runs: its children with their names pinned, and what they will take.

A child that starts from the model of another is resolved while that model is not there: everything but the model
is pinned. Sizes and times are estimates, to tell minutes from weeks; counts are exact.
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import add
from typing import NamedTuple, TypeVar

from flan.card import ModelCard
from flan.data.bases import PRESETS
from flan.data.plan import FLOAT_BYTES, Plan, room_of
from flan.data.resolve import Resolved, resolve
from flan.data.rows import Places
from flan.data.selectors import Library
from flan.errors import FlanError
from flan.spec import Document, EvaluateSpec, TuneSpec
from flan.sweeps import Child, ChildSpec, Expansion, Need
from flan.tasks.task import Collection, DatasetSource, Task

CPU_FLOPS, GPU_FLOPS = 5e10, 1e14
"""Arithmetic a second that a run gets out of one core (a 2.5M Llama, measured) and of one H100 (a quarter of its
peak in bf16), within a factor of three."""
START_S = 8.0
"""Until a rank has imported what it needs."""
N = TypeVar("N", int, float)


class PlannedChild(Document):
    """One job of a sweep, before it runs."""

    name: str
    """What it is called in the sweep, with the digest of what it does."""
    job: str
    """Which of the sweep's jobs it is."""
    kind: str
    """tune or evaluate."""
    labels: dict[str, str]
    """Axis → setting, for the axes that shape it."""
    needs: str | None = None
    """The child whose model it starts from."""
    steps: int | None = None
    """Optimizer updates."""
    token_slots: int | None = None
    """Of a tune job: tokens it trains on, padding included."""
    num_prompts: int | None = None
    """Of an evaluation: rows, each through each template."""
    num_parameters: int | None = None
    """Of its model; null = not known before it is there."""
    memory_bytes: int | None = None
    """Of a rank, for weights, gradients and moments; activations come on top."""
    disk_bytes: int | None = None
    """Its checkpoints and models at most."""
    cpu_s: float | None = None
    """On one core."""
    gpu_s: float | None = None
    """On one GPU."""
    missing: dict[str, float | None] = {}
    """Task that is not here → the share of the examples it would have had; null where that is not known."""
    warnings: tuple[str, ...] = ()
    """What may not be as you meant it."""
    refused: str | None = None
    """Why it could not be handed in as things are."""
    reuses: str | None = None
    """The job that does the same already, or has done it."""


class SweepPlan(Document):
    """The plan of a sweep: all its children, and their sums."""

    kind: str = "sweep"
    """Of the job."""
    num_cells: int
    """Combinations of its axes' settings."""
    children: tuple[PlannedChild, ...]
    """Its jobs; those of equal content are one."""
    steps: int
    """Optimizer updates of all children."""
    token_slots: int
    """Tokens that are trained on, padding included."""
    num_prompts: int
    """Prompts that are asked."""
    memory_bytes: int | None
    """Of the rank that needs most, without activations."""
    disk_bytes: int | None
    """Of all children; null = that of some child is not known."""
    cpu_s: float | None
    """All children, one after another, on one core."""
    gpu_s: float | None
    """All children, one after another, on one GPU."""
    missing: dict[str, float | None] = {}
    """Every task that some child names and this machine lacks → the largest share it would have had."""
    warnings: tuple[str, ...] = ()
    """What may not be as you meant it."""


class Awaiting:
    """A library in which the models that jobs of a sweep will make are nothing yet, and no fault."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def tasks(self, collection: Collection) -> Mapping[str, Task]:
        """Every task of a collection."""
        return self._library.tasks(collection)

    def task(self, reference: str) -> Task:
        """An uploaded task."""
        return self._library.task(reference)

    def names(self) -> Iterable[str]:
        """What the tasks are called that are no collection's."""
        return self._library.names()

    def dataset(self, reference: str) -> DatasetSource:
        """An uploaded dataset."""
        return self._library.dataset(reference)

    def model(self, reference: str) -> tuple[str | None, ModelCard | None]:
        """Digest and card, neither for a model that is not made yet."""
        return (None, None) if Need.of(reference) else self._library.model(reference)


class ResolvedChild(NamedTuple):
    """A child with its names pinned, but for a model that is not there yet."""

    child: Child
    spec: ChildSpec


def resolve_children(expansion: Expansion, library: Library, places: Places) -> list[ResolvedChild]:
    """Every child, resolved. Raises what resolve() does, with the child's name before it."""
    waiting, done = Awaiting(library), []
    places = places._replace(opened={})  # the children of a sweep read much the same rows
    for child in expansion.children:
        try:
            done.append(_resolved(child, resolve(child.spec, waiting, places)))
        except FlanError as error:
            error.message = f"{child.name}: {error.message}"
            error.args = (error.message,)
            error.pointer = f"/jobs/{child.job}{error.pointer or ''}"
            raise
    return done


def _resolved(child: Child, found: Resolved) -> ResolvedChild:
    assert isinstance(found.spec, TuneSpec | EvaluateSpec), "what a sweep's jobs are"
    return ResolvedChild(child, found.spec)


def plan_sweep(
    expansion: Expansion, library: Library, places: Places
) -> tuple[SweepPlan, list[ResolvedChild]]:
    """What the children of a sweep will take, and those that can be resolved. One that cannot says why in the plan."""
    waiting = Awaiting(library)
    places = places._replace(opened={})
    parameters: dict[str, int | None] = {}
    planned, done = [], []
    for child in expansion.children:
        parameters[child.name] = _parameters(child, parameters, library)
        try:
            resolved = resolve(child.spec, waiting, places)
            plan, refused = resolved.plan, None
            done.append(_resolved(child, resolved))
        except FlanError as error:
            plan, refused = None, error.message
        planned.append(_planned(child, plan, parameters[child.name], refused))
    missing: dict[str, float | None] = {}
    for one in planned:
        for task, share in one.missing.items():
            missing[task] = max(filter(None, (missing.get(task), share)), default=None)
    plan_of_all = SweepPlan(
        num_cells=len(expansion.cells),
        children=tuple(planned),
        steps=sum(one.steps or 0 for one in planned),
        token_slots=sum(one.token_slots or 0 for one in planned),
        num_prompts=sum(one.num_prompts or 0 for one in planned),
        memory_bytes=max((one.memory_bytes for one in planned if one.memory_bytes), default=None),
        disk_bytes=_sum(one.disk_bytes for one in planned if one.kind == "tune"),
        cpu_s=_sum(one.cpu_s for one in planned),
        gpu_s=_sum(one.gpu_s for one in planned),
        missing=dict(sorted(missing.items())),
        warnings=tuple(dict.fromkeys(f"{one.job}: {each}" for one in planned for each in one.warnings)),
    )
    return plan_of_all, done


def _planned(child: Child, plan: Plan | None, parameters: int | None, refused: str | None) -> PlannedChild:
    spec = child.spec
    flops: float | None = None
    told = PlannedChild(
        name=child.name,
        job=child.job,
        kind=spec.kind,
        labels=dict(child.labels),
        needs=child.need.child if child.need else None,
        num_parameters=parameters,
        refused=refused,
        missing=plan.missing if plan else {},
        warnings=plan.warnings if plan else (),
    )
    if isinstance(spec, TuneSpec):
        slots = spec.steps * spec.packs_per_step * spec.packed_length
        flops = 6.0 * parameters * slots if parameters else None
        room = room_of(spec, parameters)
        more = {"steps": spec.steps, "token_slots": slots, **(room._asdict() if room else {})}
    else:
        prompts = sum(task.num_used * task.num_templates for task in plan.tasks) if plan else None
        # A prompt is as long as it may be, at most, and is read once.
        flops = 2.0 * parameters * prompts * spec.input_length if parameters and prompts else None
        more = {"num_prompts": prompts, "memory_bytes": FLOAT_BYTES * parameters if parameters else None}
    seconds = (None, None) if flops is None else (START_S + flops / CPU_FLOPS, START_S + flops / GPU_FLOPS)
    return told.model_copy(update={**more, "cpu_s": seconds[0], "gpu_s": seconds[1]})


def _parameters(child: Child, known: Mapping[str, int | None], library: Library) -> int | None:
    """Weights of a child's model: counted for a preset, told by a card, or those of the child it comes from."""
    spec = child.spec
    if child.need is not None:
        return known[child.need.child]
    if isinstance(spec, TuneSpec) and spec.base in PRESETS:
        return _of_preset(spec)
    try:
        _, card = library.model(spec.model if isinstance(spec, EvaluateSpec) else spec.base)
    except FlanError:
        return None  # the child says why it is refused
    return card.num_parameters if card else None


def _of_preset(spec: TuneSpec) -> int:
    """Embeddings, tied; attention (4 D²) and gated feed-forward (3 · 8/3 D²) of each layer."""
    preset = PRESETS[spec.base]
    width, vocabulary = preset.hidden, spec.vocabulary_size or preset.vocabulary
    # Of the two sides of an encoder-decoder, one also reads the other.
    blocks = preset.layers * (12 if preset.architecture == "decoder" else 2 * 12 + 4)
    return vocabulary * width + blocks * width * width


def _sum(values: Iterable[N | None]) -> N | None:
    """The sum, where every value is known."""
    found = list(values)
    known = [value for value in found if value is not None]
    return None if len(known) < len(found) or not known else reduce(add, known)
