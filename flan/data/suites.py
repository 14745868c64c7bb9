"""Named evaluations: what is asked of a model to get the figures of a publication.

    flan2021/all, flan2021/CLUSTER     every task, or those of a cluster, through every template; best dev template
    …/few-shot                         behind up to 16 solved rows, within 960 tokens (Wei et al. 2022, 4.4); without
                                       WSC273, which has none to show
    …/baseline, …/baseline/few-shot    as a text that the answer goes on: for models that were never tuned
    t0/held-out                        the eleven tasks of Sanh et al. 2022; look at median and quartiles
    super-ni/test                      the twelve English categories of Wang et al. 2022 among imported tasks

A suite is a part of a spec; when a job is accepted its contents are written into the spec, whose digest then tells
all that is asked. A field that the spec itself sets apart from its default wins.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import Field

from flan.errors import NotFound, did_you_mean
from flan.spec import DevRows, Document, EvaluateSpec, EvaluationFormat, FewShot, Name, Reference, parse
from flan.tasks.importers.natural_instructions import EVALUATION_METRICS
from flan.tasks.task import load_collection
from flan.tasks.taxonomy import CLUSTER_PREFIX, Taxonomy, load_taxonomy

PRESET = "flan2021"
T0_HELD_OUT = (
    "anli_r1", "anli_r2", "anli_r3", "cb", "rte", "wsc", "winogrande", "copa", "story_cloze", "hellaswag", "wic",
)  # fmt: skip
SHOTS = FewShot(shots=16, max_tokens=960)
CONTINUED_SHOTS = SHOTS.model_copy(update={"before_target": " "})
"""The same before a text that goes on: an answer follows it after a blank, solved or not."""
NEAREST = 5


class UnknownSuite(NotFound):
    """A spec names a suite that there is not."""

    code = "unknown_suite"


class Suite(Document):
    """What a named evaluation says of a spec."""

    description: str
    """What it is, and whose."""
    tasks: tuple[Reference, ...] = Field(min_length=1)
    """Selectors, as in a spec."""
    split: Name = "test"
    """Which rows are asked."""
    limit: int | None = None
    """At most this many of a task."""
    dev: DevRows | None = None
    """Rows on which the best template is chosen."""
    few_shot: FewShot | None = None
    """Solved rows before a question."""
    prompt_format: EvaluationFormat = "instructions"
    """What a row is asked with."""
    templates_per_task: int = 10
    """At most this many templates of a task."""
    max_new_tokens: int = 256
    """Longest answer that is generated."""


@cache
def load_suites() -> Mapping[str, Suite]:
    """Name → suite, those of FLAN first."""
    taxonomy, tasks = load_taxonomy("flan"), load_collection("flan")
    preset = taxonomy.presets[PRESET]
    of_preset = [task for task in tasks.values() if preset.holds(task)]
    unshown = {task.name: task.cluster for task in of_preset if SHOTS.split not in task.source.splits}
    suites = dict(
        _forms(f"{PRESET}/all", ("preset:flan2021",), [*unshown], "the datasets of Wei et al. 2022")
    )
    for cluster in taxonomy.clusters:
        here = [task.name for task in of_preset if task.cluster == cluster]
        if here:
            said = f"{taxonomy.clusters[cluster]}, as in Wei et al. 2022"
            without = [name for name, of_cluster in unshown.items() if of_cluster == cluster]
            suites |= _forms(f"{PRESET}/{cluster}", _selectors(cluster, here, taxonomy), without, said)
    suites["t0/held-out"] = Suite(
        description="The eleven held-out tasks of Sanh et al. 2022, through our own templates; they report median "
        "and quartiles over prompts, of validation rows.",
        tasks=T0_HELD_OUT,
        templates_per_task=1_000,
    )
    suites["super-ni/test"] = Suite(
        description="The English test categories of Wang et al. 2022, of the tasks imported here: 100 rows of each, "
        "greedy, 128 new tokens. An imported task has one split, train.",
        tasks=tuple(CLUSTER_PREFIX + category for category in EVALUATION_METRICS),
        split="train",
        limit=100,
        max_new_tokens=128,
    )
    return suites


def with_suite(spec: EvaluateSpec) -> EvaluateSpec:
    """`spec` with the contents of its suite written into it. Raises UnknownSuite."""
    if spec.suite is None:
        return spec
    suites = load_suites()
    if spec.suite not in suites:
        near = did_you_mean(spec.suite, suites)
        hint = (
            near
            or f"there are {PRESET}/all, {PRESET}/CLUSTER, each also with /few-shot or /baseline; "
            + ", ".join(name for name in suites if not name.startswith(PRESET))
        )
        raise UnknownSuite(f"there is no suite {spec.suite!r}", hint=hint, pointer="/suite")
    said: dict[str, Any] = dict(suites[spec.suite])
    del said["description"]
    fields = type(spec).model_fields
    update = {
        name: value for name, value in said.items() if getattr(spec, name) == fields[name].get_default()
    }
    # Parsed, not copied: what the suite says must fit what the spec says.
    return parse(EvaluateSpec, spec.model_copy(update=update).model_dump(mode="json"))


def _selectors(cluster: str, names: list[str], taxonomy: Taxonomy) -> tuple[str, ...]:
    """The cluster, without those of its tasks that the publication has not."""
    others = [
        name
        for name in taxonomy.presets[PRESET].without
        if name in load_collection("flan") and load_collection("flan")[name].cluster == cluster
    ]
    assert set(names).isdisjoint(others)
    return (CLUSTER_PREFIX + cluster, *(f"-{name}" for name in others))


def _forms(
    name: str, tasks: tuple[str, ...], unshown: Sequence[str], said: str
) -> Iterator[tuple[str, Suite]]:
    """The four forms of an evaluation of `tasks`; those `unshown` have no rows to show before a question."""
    for suffix, prompt_format in (("", "instructions"), ("/baseline", "continuation")):
        is_tuned = prompt_format == "instructions"
        how = (
            "through every template"
            if is_tuned
            else "as a text to go on with, for a model that was never tuned"
        )
        for shots, few_shot in (("", None), ("/few-shot", SHOTS if is_tuned else CONTINUED_SHOTS)):
            behind = ", behind up to 16 solved rows within 960 tokens" if few_shot else ""
            if few_shot and unshown:
                behind += f"; without {' and '.join(unshown)}, which has none"
            yield (
                f"{name}{suffix}{shots}",
                Suite(
                    description=f"{said[0].upper()}{said[1:]}, {how}{behind}.",
                    tasks=(*tasks, *(f"-{each}" for each in unshown if few_shot)),
                    dev=DevRows() if is_tuned else None,
                    few_shot=few_shot,
                    prompt_format="instructions" if is_tuned else "continuation",
                ),
            )
