"""The paper's experiments as sweeps, at three scales.

`tiny` is the experiment in small on self-made data: two cores, minutes, figures that mean nothing. `small` is on
real rows: one GPU, or a night on a CPU; what is not on the machine is left out and said. `full` is FLAN's recipe
(Wei et al. 2022, 2.4: 30,000 steps of 8,192 tokens, Adafactor at 3e-5, inputs of 1,024 tokens, targets of 256),
from a pretrained model that the request names: the paper's own was never released.

In every cell one job tunes (`model`) and two measure: `tuned` that model, `base` the base beside it. Without a
base of the request's, `start` makes one that has seen no task: at tiny a network with random weights, at small
a language model of plain text.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from flan.errors import InvalidDocument, problem
from flan.spec import FewShot, parse
from flan.sweep_spec import PresetName, Scale, Setting, SweepSpec
from flan.tasks.task import Collection, load_collection

Jobs = dict[str, dict[str, Any]]
Sets = Mapping[str, Any]
"""JSON pointer → value."""

# Clusters whose zero-shot figures are published, those of the main text first.
EVALUATED = (
    "entailment", "reading_comprehension", "open_domain_qa", "translation", "common_sense", "coreference",
    "structure_to_text", "sentiment", "paraphrase", "read_comp_and_common_sense",
)  # fmt: skip
ABLATED = ("entailment", "common_sense", "open_domain_qa")
"""Held out together where the number of clusters is varied (figure 6)."""
INSTRUCTED = EVALUATED[:4]
"""Clusters of the ablation of instructions (4.3)."""
FORMATS = (
    ("instructions → instructions", "instructions", "instructions"),
    ("no template → instructions", "no_template", "instructions"),
    ("dataset name → instructions", "dataset_name", "instructions"),
    ("dataset name → dataset name", "dataset_name", "dataset_name"),
)
"""What is tuned with → what is evaluated with; a model of bare inputs is asked with instructions alone."""
NUM_TEMPLATES = (1, 2, 4, 7, 10)
"""Always the first ones."""
SUPERGLUE = {
    "bool_q": "reading_comprehension", "cb": "entailment", "copa": "common_sense",
    "multirc": "reading_comprehension", "record": "read_comp_and_common_sense", "rte": "entailment",
    "wic": "word_disambiguation", "wsc": "coreference",
}  # fmt: skip
"""Task → cluster that is held out for its soft prompt."""
PROMPT_ROWS = {"32 rows": 32, "all rows": 30_000}
"""The two sizes of training sets for soft prompts (4.5)."""


class _Size(NamedTuple):
    """What a scale says of every preset."""

    collection: Collection
    tasks: tuple[str, ...]
    tune: Mapping[str, Any]
    measure: Mapping[str, Any]
    start: Mapping[str, Any] | None
    """The job that makes a base where the request names none."""
    ladder: tuple[str, ...]
    """Networks of the preset `scale`."""
    clusters: tuple[str, ...]
    ablated: tuple[str, ...]
    instructed: tuple[str, ...]
    prompted: Mapping[str, str]
    superglue: tuple[str, ...]
    shots: Mapping[str, Any]
    prompt_steps: int


_TINY_LENGTHS = {"input_length": 128, "target_length": 32}
_ADAMW = {"name": "adamw", "learning_rate": 1e-3, "warmup_steps": 2}
_SIZES: Mapping[Scale, _Size] = {
    "tiny": _Size(
        collection="synthetic",
        tasks=("*",),
        tune=_TINY_LENGTHS
        | {"steps": 8, "tokens_per_step": 1_280, "optimizer": _ADAMW, "precision": "fp32", "checkpoint_every": 4},
        # A question takes 80 tokens at most, and so does a solved row.
        measure={"limit": 8, "templates_per_task": 3, "input_length": 256, "max_new_tokens": 8},
        start=_TINY_LENGTHS | {"steps": 1, "tokens_per_step": 160, "vocabulary_size": 1_024, "precision": "fp32"},
        ladder=("nano", "micro"),
        clusters=("entailment", "sentiment", "reading_comprehension"),
        ablated=("entailment",),
        instructed=("entailment",),
        prompted={"rule_pairs": "entailment"},
        superglue=("rule_pairs", "word_senses"),
        shots={"shots": 2, "max_tokens": 256},
        prompt_steps=8,
    ),
    "small": _Size(
        collection="flan",
        tasks=("preset:flan2021",),
        tune={
            "steps": 400, "pack_length": 1_024, "input_length": 512, "target_length": 128, "micro_batch": "auto",
            "checkpoint_every": 100,
            "optimizer": {"name": "adamw", "learning_rate": 5e-4, "warmup_steps": 20},
        },
        measure={"split": "test", "dev": {}, "limit": 100, "input_length": 512, "max_new_tokens": 64},
        start={
            "objective": "lm",
            "corpus": {"texts": [
                {"name": "classic_books"},
                {"name": "tinystories_sample", "documents": "lines"},
            ]},
            "steps": 1_500, "pack_length": 1_024, "input_length": 512, "target_length": 128, "micro_batch": "auto",
            "checkpoint_every": 100,
            "optimizer": {"name": "adamw", "learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 50},
        },
        ladder=("nano", "micro", "mini", "small"),
        clusters=EVALUATED,
        ablated=ABLATED,
        instructed=INSTRUCTED,
        prompted={task: SUPERGLUE[task] for task in ("bool_q", "cb", "copa", "rte", "wic")},
        superglue=tuple(SUPERGLUE),
        shots={"shots": 16, "max_tokens": 480},
        prompt_steps=200,
    ),
    "full": _Size(
        collection="flan",
        tasks=("preset:flan2021",),
        tune={"micro_batch": "auto"},
        measure={"split": "test", "dev": {}, "batch_tokens": 65_536},
        start=None,
        ladder=(),
        clusters=EVALUATED,
        ablated=ABLATED,
        instructed=INSTRUCTED,
        prompted=SUPERGLUE,
        superglue=tuple(SUPERGLUE),
        shots={"shots": 16, "max_tokens": 960},
        prompt_steps=30_000,
    ),
}  # fmt: skip


def expanded(sweep: SweepSpec) -> SweepSpec:
    """`sweep` with its preset replaced by the jobs and axes that it stands for.

    Raises InvalidDocument where the scale needs a base that the request does not name.
    """
    if sweep.preset is None or sweep.scale is None:
        return sweep
    size = _SIZES[sweep.scale]
    _check_bases(sweep, size)
    jobs, axes = _PRESETS[sweep.preset](size, sweep.bases)
    written = sweep.model_dump(mode="json", exclude={"preset", "scale", "bases"})
    return parse(SweepSpec, written | {"jobs": jobs, "axes": axes, "experiment": sweep.preset})


def preset_sweep(preset: PresetName, scale: Scale, bases: Sequence[str] = ()) -> SweepSpec:
    """The sweep of a preset, as it is before it is expanded."""
    return parse(
        SweepSpec,
        {
            "kind": "sweep",
            "name": f"{preset}-{scale}",
            "preset": preset,
            "scale": scale,
            "bases": list(bases),
        },
    )


def _check_bases(sweep: SweepSpec, size: _Size) -> None:
    is_ladder = sweep.preset == "scale"
    if size.start is None and not sweep.bases:
        said = f"{sweep.preset} at {sweep.scale} starts from a pretrained model, and none is named"
        hint = "name one in bases (--base): a registered model, a folder, or a hub id"
        hint += "; one for each size" if is_ladder else ""
        raise InvalidDocument(said, [problem("/bases", "base_needed", said, hint)])
    if len(sweep.bases) > 1 and not is_ladder:
        said = f"{sweep.preset} starts from one model, not from {len(sweep.bases)}"
        raise InvalidDocument(said, [problem("/bases/1", "too_many_bases", said, "only scale takes several")])


# -- jobs that presets share ----------------------------------------------------------------------------


def _jobs(size: _Size, bases: Sequence[str], held_out: Sequence[str] = (), tasks: Sequence[str] = ()) -> Jobs:
    """start, model, base and tuned. `held_out` and `tasks` are those of all cells together."""
    made = "job:start@base" if size.collection == "synthetic" else "job:start"
    base = bases[0] if bases else made
    jobs: Jobs = {} if bases else {"start": _start(size, held_out, tasks)}
    hold_out = {"clusters": list(held_out), "tasks": list(tasks)}
    measure = {"collection": size.collection, "missing": _missing(size), **size.measure}
    measured = [*(f"cluster:{cluster}" for cluster in held_out), *tasks]
    return jobs | {
        "model": {"kind": "tune", "base": base, "mixture": _mixture(size, hold_out), **size.tune},
        "base": {"kind": "evaluate", "model": base, "tasks": measured, **measure},
        "tuned": {"kind": "evaluate", "model": "job:model", "tasks": measured, **measure},
    }


def _start(size: _Size, held_out: Sequence[str], tasks: Sequence[str]) -> dict[str, Any]:
    """The job that makes a base. At tiny only its model of step 0 is used: its tokenizer has read no held-out row."""
    assert size.start is not None, "the request names a base"
    network = {"kind": "tune", "base": f"preset:{size.ladder[0 if size.collection == 'synthetic' else 1]}"}
    if "objective" in size.start:
        return network | dict(size.start)
    return network | {
        "mixture": _mixture(size, {"clusters": list(held_out), "tasks": list(tasks)}),
        **size.start,
    }


def _mixture(size: _Size, hold_out: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "collection": size.collection,
        "tasks": list(size.tasks),
        "hold_out": dict(hold_out),
        "missing": _missing(size),
    }


def _missing(size: _Size) -> str:
    return "fail" if size.start is None else "drop"


def _axis(name: str, settings: Sequence[tuple[str, Sets]]) -> dict[str, Any]:
    return {
        "name": name,
        "settings": [Setting(label=label, set=dict(sets)).model_dump() for label, sets in settings],
    }


def _held_out(clusters: Sequence[str]) -> dict[str, Any]:
    """One model for each held-out cluster, measured on that cluster; the base is measured on all of them, once."""
    return _axis("held_out", [(cluster, _holding_out(cluster)) for cluster in clusters])


def _holding_out(cluster: str) -> Sets:
    return {
        "/model/mixture/hold_out/clusters": [cluster],
        "/tuned/tasks": [f"cluster:{cluster}"],
    }


# -- the presets ----------------------------------------------------------------------------------------

Experiment = tuple[Jobs, list[dict[str, Any]]]
"""Jobs and axes."""


def _cluster_sweep(size: _Size, bases: Sequence[str]) -> Experiment:
    """The main table: a model for each cluster, which it has not seen, nor its neighbours (2.1, table 2)."""
    return _jobs(size, bases, size.clusters), [_held_out(size.clusters)]


def _num_clusters(size: _Size, bases: Sequence[str]) -> Experiment:
    """Figure 6: clusters are added to training in the paper's order, one by one."""
    numbers: list[tuple[str, Sets]] = [
        (str(n), {"/model/mixture/hold_out/first_clusters": n}) for n in range(1, 8)
    ]
    return _jobs(size, bases, size.ablated), [_axis("num_clusters", numbers)]


def _instructions(size: _Size, bases: Sequence[str]) -> Experiment:
    """The role of instructions (4.3): what is tuned with, and what is evaluated with."""
    formats = [
        (label, {"/model/mixture/prompt_format": tuned_with, "/tuned/prompt_format": asked_with})
        for label, tuned_with, asked_with in FORMATS
    ]
    axes = [_held_out(size.instructed), _axis("instructions", formats)]
    return _jobs(size, bases, size.instructed), axes


def _templates_per_task(size: _Size, bases: Sequence[str]) -> Experiment:
    """The released code's ablation: SuperGLUE's tasks held out, with the first n templates of every other one."""
    numbers = [(str(n), {"/model/mixture/templates_per_task": n}) for n in NUM_TEMPLATES]
    return _jobs(size, bases, tasks=size.superglue), [_axis("templates_per_task", numbers)]


def _scale(size: _Size, bases: Sequence[str]) -> Experiment:
    """Figure 7: the same recipe on a ladder of sizes, base and tuned."""
    jobs = _jobs(size, bases, size.ablated)
    if bases:
        sizes = [(base.rstrip("/").split("/")[-1][:64], _on(base)) for base in bases]
    else:
        sizes = [(name, {"/start/base": f"preset:{name}"}) for name in size.ladder]
    return jobs, [_axis("size", sizes)]


def _on(base: str) -> Sets:
    return {"/model/base": base, "/base/model": base}


def _few_shot(size: _Size, bases: Sequence[str]) -> Experiment:
    """Figure 9: each question alone, and behind as many solved rows as fit (16 at most, 960 tokens in all).

    A task that has no training rows has none to show, so it is asked in neither way (WSC273).
    """
    shown = parse(FewShot, size.shots).split
    asked = {cluster: [f"cluster:{cluster}"] for cluster in size.clusters}
    for task in load_collection(size.collection).values():
        if task.cluster in asked and shown not in task.source.splits:
            asked[task.cluster].append(f"-{task.name}")
    jobs = _jobs(size, bases, size.clusters)
    jobs["base"]["tasks"] = [selector for selectors in asked.values() for selector in selectors]
    held_out = [
        (cluster, {**_holding_out(cluster), "/tuned/tasks": selectors})
        for cluster, selectors in asked.items()
    ]
    settings: list[tuple[str, Sets]] = [
        ("zero-shot", {"/base/few_shot": None, "/tuned/few_shot": None}),
        (
            f"up to {size.shots['shots']} shots",
            {"/base/few_shot": size.shots, "/tuned/few_shot": size.shots},
        ),
    ]
    return jobs, [_axis("held_out", held_out), _axis("exemplars", settings)]


def _soft_prompt(size: _Size, bases: Sequence[str]) -> Experiment:
    """Figure 10: a prompt of 10 learned embeddings for a task whose cluster was held out, on base and tuned model."""
    jobs = _jobs(size, bases, sorted(set(size.prompted.values())))
    # Lester et al. 2021, 3.2, learn prompts at a constant 0.3; FLAN's paper gives no rate.
    learnt = {
        **size.tune,
        "method": {"kind": "soft_prompt"},
        "optimizer": {"name": "adafactor", "learning_rate": 0.3},
        "steps": size.prompt_steps,
        "mixture": {"collection": size.collection, "tasks": [], "missing": "fail", "include_inverted": False},
    }
    for which, base in (("base", jobs["model"]["base"]), ("tuned", "job:model")):
        jobs[f"prompt-{which}"] = {"kind": "tune", "base": base, **learnt}
        jobs[which]["model"] = f"job:prompt-{which}"
    tasks = [
        (
            task,
            {"/model/mixture/hold_out/clusters": [cluster]}
            | {f"/prompt-{which}/mixture/tasks": [task] for which in ("base", "tuned")}
            | {f"/{which}/tasks": [task] for which in ("base", "tuned")},
        )
        for task, cluster in size.prompted.items()
    ]
    rows = [
        (label, {f"/prompt-{which}/mixture/examples_cap": cap for which in ("base", "tuned")})
        for label, cap in PROMPT_ROWS.items()
    ]
    return jobs, [_axis("task", tasks), _axis("rows", rows)]


_PRESETS: Mapping[PresetName, Callable[[_Size, Sequence[str]], Experiment]] = {
    "cluster-sweep": _cluster_sweep,
    "num-clusters": _num_clusters,
    "instructions": _instructions,
    "templates-per-task": _templates_per_task,
    "scale": _scale,
    "few-shot": _few_shot,
    "soft-prompt": _soft_prompt,
}
DESCRIPTIONS: Mapping[str, str] = {name: make.__doc__ or "" for name, make in _PRESETS.items()}
"""Preset → what it is, in a line."""
