"""What a sweep asks for: jobs, and axes along which fields of their specs change. One cell for each combination.

    kind: sweep
    name: held-out
    jobs:
      tuned: {kind: tune, base: some/model, mixture: {hold_out: {clusters: []}}}
      measured: {kind: evaluate, model: "job:tuned", tasks: []}
    axes:
      - name: held_out
        settings:
          - label: entailment
            set: {/tuned/mixture/hold_out/clusters: [entailment], /measured/tasks: ["cluster:entailment"]}

flan/sweeps.py makes it into the specs of its jobs, flan/sweep_presets.py holds the paper's.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, JsonValue, TypeAdapter, model_validator

from flan.faults import Wrong, refuse
from flan.spec import Document, Name, Reference, Spec
from flan.spec.document import validated

Label = Annotated[str, Field(min_length=1, max_length=64)]
Pointer = Annotated[str, Field(pattern=r"^(/[^/]*){2,}$", max_length=512)]
"""A JSON pointer: the job, then the place in its spec. `/tuned/mixture/hold_out/clusters`."""
PresetName = Literal[
    "cluster-sweep", "num-clusters", "instructions", "templates-per-task", "scale", "few-shot", "soft-prompt"
]
Scale = Literal["tiny", "small", "full"]
MAX_PARALLEL = 4


class Setting(Document):
    """One value of an axis: what of the jobs' specs it sets."""

    label: Label
    """What tables and plots call it."""
    set: dict[Pointer, JsonValue] = Field(default={}, max_length=256)
    """JSON pointer → value. The first step names the job; objects on the way are made, lists are not."""


class Axis(Document):
    """One thing that is varied."""

    name: Name
    """What tables and plots call it."""
    settings: tuple[Setting, ...] = Field(min_length=1, max_length=256)
    """Its values, in order."""

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        labels = [setting.label for setting in self.settings]
        refuse(
            "Axis",
            (
                Wrong(("settings", i, "label"), "label_twice", f"another setting is called {label!r} too")
                for i, label in enumerate(labels)
                if label in labels[:i]
            ),
        )
        return self


class SweepSpec(Document):
    """Jobs for each combination of settings; what comes out the same is done once.

    A sweep says its `jobs` and `axes`, or takes those of a `preset` at a `scale`.
    """

    kind: Literal["sweep"] = "sweep"
    """A job that hands in others."""
    name: Name
    """What the sweep is called."""
    jobs: dict[Name, dict[str, JsonValue]] = Field(default={}, max_length=16)
    """Name → spec of a tune or evaluate job, without a name, as it is before settings are applied. Its `base` or
    `model` may be `job:NAME`, the model that another job of the same cell makes; `job:NAME@base` is that job's
    model of step 0, where it starts from a preset."""
    axes: tuple[Axis, ...] = Field(default=(), max_length=8)
    """What is varied; every combination is a cell. None: one cell."""
    preset: PresetName | None = None
    """Instead of jobs and axes, an experiment of the paper."""
    scale: Scale | None = None
    """Of a preset: tiny, on self-made data in minutes; small, on real data overnight; full, as published."""
    bases: tuple[Reference, ...] = Field(default=(), max_length=16)
    """Of a preset: models to start from, instead of the scale's own. One; the preset `scale` takes several."""
    experiment: PresetName | None = None
    """Which experiment of the paper it is: whoever draws its figure looks here. Presets say it."""
    max_parallel: int = Field(default=MAX_PARALLEL, ge=1, le=1024)
    """At most this many of its jobs run at a time."""
    on_failure: Literal["continue", "stop"] = "continue"
    """When a job fails: go on with all that do not need it, or begin nothing more."""
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] = Field(
        default={}, max_length=16
    )
    """Words of yours, kept and shown with the sweep; they change nothing."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        refuse("SweepSpec", self._faults())
        return self

    def _faults(self) -> Iterator[Wrong]:
        names = [axis.name for axis in self.axes]
        for i, name in enumerate(names):
            if name in names[:i]:
                yield Wrong(("axes", i, "name"), "axis_twice", f"another axis is called {name!r} too")
        if self.preset is None:
            if not self.jobs:
                said = "a sweep needs jobs, or a preset"
                yield Wrong(("jobs",), "missing", said, "preset: cluster-sweep, scale: tiny is the smallest")
            for field in ("scale", "bases"):
                if getattr(self, field):
                    yield Wrong((field,), "contradiction", "it is for presets", "leave it out")
            return
        if self.scale is None:
            yield Wrong(("scale",), "missing", "a preset needs a scale", "tiny, small or full")
        for field in ("jobs", "axes", "experiment"):
            if getattr(self, field):
                said = f"the preset {self.preset} says its {field} itself"
                yield Wrong((field,), "contradiction", said, "leave one of the two out")


_ASKED: TypeAdapter[Spec | SweepSpec] = TypeAdapter(Annotated[Spec | SweepSpec, Field(discriminator="kind")])


def parse_asked(value: Any) -> Spec | SweepSpec:
    """What `POST /jobs` is asked for: the spec of a job, or of a sweep. Raises InvalidDocument naming every fault."""
    return cast(Spec | SweepSpec, validated(_ASKED, value, "job spec"))
