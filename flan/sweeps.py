"""A sweep → the specs of its jobs: pure, the same list for the same document.

Every combination of settings is a cell, and a cell has each of the sweep's jobs once. Jobs that come out equal,
whatever cell they stand in, are one child. A child is known by the digest of its content: its spec without name
and metadata, with the content of the child whose model it needs in that model's place.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Literal, NamedTuple

from flan.errors import InvalidDocument, Problem, did_you_mean, problem
from flan.spec import EvaluateSpec, TuneSpec, canonical_json, parse_spec
from flan.sweep_spec import Setting, SweepSpec

MAX_CHILDREN = 1_000
"""Jobs of all cells together, before equal ones are found."""
Role = Literal["tuned", "base"]
ChildSpec = TuneSpec | EvaluateSpec
MODEL_FIELD: Mapping[str, str] = {"tune": "base", "evaluate": "model"}
"""Kind → the field that names the model it starts from."""
_JOB = re.compile(r"job:(?P<name>[^@]*)(?P<base>@base)?")
_MAX_PROBLEMS = 20
_DIGEST_CHARS = 10
_NAME_CHARS = 64


class Need(NamedTuple):
    """A model that a child waits for."""

    child: str
    """Name of the child that makes it."""
    role: Role

    @property
    def reference(self) -> str:
        """As specs write it."""
        return f"job:{self.child}" + ("@base" if self.role == "base" else "")

    @classmethod
    def of(cls, reference: str) -> "Need | None":
        """What a spec that names `reference` waits for; None where it names a model that is there."""
        found = _JOB.fullmatch(reference)
        return cls(found["name"], "base" if found["base"] else "tuned") if found else None


class Child(NamedTuple):
    """One job of a sweep."""

    name: str
    """Readable, and with the digest of its content: equal content, equal name."""
    job: str
    """Which of the sweep's jobs it is."""
    labels: Mapping[str, str]
    """Axis → setting, for the axes that shape it; of the first cell it stands in."""
    spec: ChildSpec
    need: Need | None


class Cell(NamedTuple):
    """One combination of settings."""

    labels: Mapping[str, str]
    """Axis → setting."""
    children: Mapping[str, str]
    """Job of the sweep → name of the child that is it."""


class Expansion(NamedTuple):
    """A sweep, job by job."""

    cells: tuple[Cell, ...]
    children: tuple[Child, ...]
    """Each once, behind the one it needs; otherwise in the order of cells."""


class _Chosen(NamedTuple):
    """A setting, where it stands, and its axis."""

    axis: str
    pointer: str
    setting: Setting


class _Invalid(Exception):
    """Faults of one cell."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__()
        self.problems = problems


def expand(sweep: SweepSpec) -> Expansion:
    """The cells and children of a sweep that says its jobs (flan/sweep_presets.py makes a preset say them).

    Raises InvalidDocument naming every fault, with the cell it shows in.
    """
    assert sweep.preset is None, "the preset is not expanded"
    num_cells = math.prod(len(axis.settings) for axis in sweep.axes)
    if num_cells * len(sweep.jobs) > MAX_CHILDREN:
        said = f"{num_cells:,} cells of {len(sweep.jobs)} jobs are more than {MAX_CHILDREN:,} jobs"
        hint = "drop settings, or make several sweeps: what they share is done once"
        raise InvalidDocument(
            f"sweep {sweep.name}: {said}", [problem("/axes", "too_many_children", said, hint)]
        )
    children: dict[str, Child] = {}
    cells, problems = [], dict[tuple[str, str], Problem]()
    for chosen in _combinations(sweep):
        try:
            cells.append(_cell(sweep, chosen, children))
        except _Invalid as error:
            for each in error.problems:
                problems.setdefault((each["pointer"], each["code"]), each)
    if problems:
        found = list(problems.values())[:_MAX_PROBLEMS]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        first = found[0]
        raise InvalidDocument(f"sweep {sweep.name}: {first['pointer']}: {first['message']}{more}", found)
    return Expansion(tuple(cells), tuple(children.values()))


def needed_model(spec: ChildSpec) -> Need | None:
    """The child whose model `spec` waits for, where it names one."""
    return Need.of(getattr(spec, MODEL_FIELD[spec.kind]))


def content_digest(spec: ChildSpec, needed: str | None = None) -> str:
    """sha256 of what a job does: its spec but for name and metadata, which change nothing.

    `needed` is the digest of the content that makes its model, where that is not there yet: it stands for the
    model, whatever its maker is called.
    """
    value = spec.model_dump(mode="json", exclude={"name", "metadata"})
    if needed is not None:
        need = needed_model(spec)
        assert need is not None, "it names the model of a job"
        value[MODEL_FIELD[spec.kind]] = Need(needed, need.role).reference
        if value["pins"] is not None:
            value["pins"]["model"] = None  # where the model is there already it is the same job
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def content_digests(children: Iterable[tuple[Child, ChildSpec]]) -> dict[str, str]:
    """Name of a child → digest of its content with all names pinned; needed children come first."""
    digests: dict[str, str] = {}
    for child, resolved in children:
        digests[child.name] = content_digest(resolved, digests[child.need.child] if child.need else None)
    return digests


def _combinations(sweep: SweepSpec) -> Iterator[tuple[_Chosen, ...]]:
    axes = [
        [_Chosen(axis.name, f"/axes/{i}/settings/{k}", setting) for k, setting in enumerate(axis.settings)]
        for i, axis in enumerate(sweep.axes)
    ]
    return product(*axes)


def _cell(sweep: SweepSpec, chosen: Sequence[_Chosen], children: dict[str, Child]) -> Cell:
    """One cell; children that are new are added to `children`, by name. Raises _Invalid."""
    labels = {one.axis: one.setting.label for one in chosen}
    values, sources, touched = _set(sweep, chosen)
    where = (
        f"in the cell {', '.join(f'{axis}={label}' for axis, label in labels.items())}: " if labels else ""
    )
    digests: dict[str, str] = {}
    named: dict[str, str] = {}
    for job in _in_order(values, where):
        spec = _parsed(job, values[job], sources, where)
        need, written = None, needed_model(spec)
        if written is not None:
            # What shapes the model shapes the job that starts from it.
            touched[job] |= touched[written.child]
            need = Need(named[written.child], written.role)
        digest = content_digest(spec, digests[written.child] if written else None)
        shaped_by = {axis: label for axis, label in labels.items() if axis in touched[job]}
        known = next((name for name in children if name.endswith(digest[:_DIGEST_CHARS])), None)
        name = known or _child_name(job, shaped_by, digest)
        digests[job], named[job] = digest, name
        if known is None:
            given = {"name": name} | ({MODEL_FIELD[spec.kind]: need.reference} if need else {})
            children[name] = Child(name, job, shaped_by, spec.model_copy(update=given), need)
    return Cell(labels, {job: named[job] for job in sweep.jobs})


def _set(
    sweep: SweepSpec, chosen: Sequence[_Chosen]
) -> tuple[dict[str, Any], dict[str, str], dict[str, set[str]]]:
    """The jobs with the settings applied, where each set value stands in the sweep, and which axes touch a job."""
    values: dict[str, Any] = {job: _copied(value) for job, value in sweep.jobs.items()}
    sources: dict[str, str] = {}
    touched: dict[str, set[str]] = {job: set() for job in sweep.jobs}
    problems = []
    for axis, place, setting in chosen:
        for pointer, value in setting.set.items():
            stands = f"{place}/set/{_escaped(pointer)}"
            said = _put(values, _steps(pointer), _copied(value))
            if said is not None:
                job = _steps(pointer)[0]
                near = did_you_mean(job, sweep.jobs) if job not in sweep.jobs else None
                hint = near or f"a pointer begins with one of the jobs: /{'/…, /'.join(sweep.jobs)}/…"
                problems.append(problem(stands, "pointer_hits_nothing", f"{pointer}: {said}", hint))
                continue
            sources[pointer] = stands
            touched[_steps(pointer)[0]].add(axis)
    if problems:
        raise _Invalid(problems)
    return values, sources, touched


def _put(values: Any, steps: Sequence[str], value: Any) -> str | None:
    """Set the place at `steps`; else what is wrong with them."""
    if steps[0] not in values:
        return f"there is no job {steps[0]!r}"
    *parents, last = steps
    at: Any = values
    for done, step in enumerate(parents):
        here = "/" + "/".join(steps[: done + 1])
        at = _item(at, step) if isinstance(at, list) else _below(at, step)
        if not isinstance(at, dict | list):
            what = "is not in its list" if at is _NOWHERE else f"is {canonical_json(at)}, which has no places"
            return f"{here} {what}"
    if isinstance(at, list):
        if _item(at, last) is _NOWHERE:
            return f"a list of {len(at)} has no place {last!r}"
        at[int(last)] = value
    else:
        at[last] = value
    return None


_NOWHERE = object()


def _below(value: dict[str, Any], step: str) -> Any:
    """What is called `step` in an object; an empty one is made where nothing is."""
    if value.get(step) is None:
        value[step] = {}
    return value[step]


def _item(items: list[Any], step: str) -> Any:
    return items[int(step)] if step.isdecimal() and int(step) < len(items) else _NOWHERE


def _in_order(values: Mapping[str, Any], where: str) -> list[str]:
    """The jobs, each behind the one whose model it needs. Raises _Invalid on unknown ones and circles."""
    needs: dict[str, str | None] = {}
    problems = []
    for job, value in values.items():
        field = MODEL_FIELD.get(value.get("kind", ""), "model")
        reference = value.get(field)
        need = Need.of(reference) if isinstance(reference, str) else None
        needs[job] = need.child if need else None
        if need is not None and (said := _unmakeable(need, values)) is not None:
            message, hint = said
            problems.append(problem(f"/jobs/{job}/{field}", "unknown_job", f"{where}{message}", hint))
    if problems:
        raise _Invalid(problems)
    ordered: list[str] = []
    for job in values:
        chain: list[str] = []
        step: str | None = job
        while step is not None and step not in ordered:
            if step in chain:
                circle = " → ".join([*chain[chain.index(step) :], step])
                pointer, hint = f"/jobs/{step}", "let one of them start from a model that is there"
                raise _Invalid([problem(pointer, "circle", f"{where}they need each other: {circle}", hint)])
            chain.append(step)
            step = needs[step]
        ordered += reversed(chain)
    return ordered


def _unmakeable(need: Need, values: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why no job of the sweep makes the model that is needed, and the way out."""
    tunes = [job for job, value in values.items() if value.get("kind") == "tune"]
    if need.child not in tunes:
        what = "makes no model" if need.child in values else "is none of the sweep's jobs"
        hint = did_you_mean(need.child, tunes) or f"jobs that tune: {', '.join(tunes) or 'none'}"
        return f"job:{need.child}: {need.child!r} {what}", hint
    base = values[need.child].get("base")
    if need.role == "base" and not str(base).startswith("preset:"):
        return f"job:{need.child}@base: its base is {base!r}, no preset", f"name {base!r} itself"
    return None


def _parsed(job: str, value: Mapping[str, Any], sources: Mapping[str, str], where: str) -> ChildSpec:
    """The spec of a job of a cell. Raises _Invalid."""
    pointer = f"/jobs/{job}"
    if value.get("kind") not in MODEL_FIELD:
        said = f"kind {value.get('kind')!r} cannot be part of a sweep"
        raise _Invalid([problem(f"{pointer}/kind", "kind", said, "tune or evaluate")])
    given = [field for field in ("name", "pins") if field in value]
    if given:
        said = f"the {given[0]} of a sweep's job is written by the platform"
        raise _Invalid([problem(f"{pointer}/{given[0]}", "not_to_be_given", said, "leave it out")])
    try:
        spec = parse_spec({**value, "name": job})
    except InvalidDocument as error:
        raise _Invalid(
            [
                {
                    **each,
                    "pointer": _source(f"/{job}{each['pointer']}", sources),
                    "message": where + each["message"],
                }
                for each in error.problems
            ]
        ) from error
    assert isinstance(spec, TuneSpec | EvaluateSpec)
    if isinstance(spec, TuneSpec) and spec.objective == "lm" and needed_model(spec) is not None:
        said = "a corpus is cut into pieces for the model that reads it, and that is not made yet"
        raise _Invalid([problem(f"{pointer}/base", "unknown_length", where + said, "tune it beforehand")])
    return spec


def _source(pointer: str, sources: Mapping[str, str]) -> str:
    """Where in the sweep the value at `pointer` (job, then place) was written: by a setting, or in the job."""
    for written, stands in sources.items():
        if pointer == written or pointer.startswith(f"{written}/"):
            return stands
    return f"/jobs{pointer}"


def _child_name(job: str, labels: Mapping[str, str], digest: str) -> str:
    """`tuned-entailment-3fa81c22d0`."""
    words = re.sub(r"[^a-z0-9.]+", "-", "-".join([job, *labels.values()]).lower())
    return f"{words[: _NAME_CHARS - _DIGEST_CHARS - 1].strip('-')}-{digest[:_DIGEST_CHARS]}"


def _copied(value: Any) -> Any:
    """A value of JSON that can be changed."""
    if isinstance(value, dict):
        return {name: _copied(part) for name, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list | tuple) else value


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _escaped(text: str) -> str:
    return text.replace("~", "~0").replace("/", "~1")
