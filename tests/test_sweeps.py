"""From a sweep to its jobs: cells, children that are shared, models that are waited for, and what is wrong."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.errors import InvalidDocument
from flan.spec import TuneSpec, parse
from flan.sweep_spec import SweepSpec, parse_asked
from flan.sweeps import MAX_CHILDREN, Need, content_digest, expand

TUNE: dict[str, Any] = {"kind": "tune", "base": "some/model", "mixture": {"collection": "synthetic"}}
MEASURE: dict[str, Any] = {"kind": "evaluate", "model": "job:tuned", "tasks": ["*"]}
BASE: dict[str, Any] = MEASURE | {"model": "some/model"}
JOBS = {"tuned": TUNE, "after": MEASURE, "before": BASE}


def setting(label: str, /, **values: Any) -> dict[str, Any]:
    """A setting of fields of the job `tuned`."""
    return {"label": label, "set": {f"/tuned/{field}": value for field, value in values.items()}}


def sweep(*axes: Any, jobs: Any = JOBS, **fields: Any) -> SweepSpec:
    """A sweep over `axes`, each a list of settings."""
    named = [{"name": f"axis{i}", "settings": settings} for i, settings in enumerate(axes)]
    return parse(SweepSpec, {"kind": "sweep", "name": "s", "jobs": jobs, "axes": named} | fields)


def problems(document: Any) -> list[dict[str, Any]]:
    """What is wrong with a sweep, at the door or when it is expanded."""
    with pytest.raises(InvalidDocument) as caught:
        expand(parse(SweepSpec, {"kind": "sweep", "name": "s"} | document))
    return caught.value.problems


def test_every_combination_is_a_cell_and_what_no_axis_touches_is_done_once() -> None:
    """Two axes of two: four tuned models, four evaluations of them, one of the base."""
    axes = (
        [setting("slow", steps=10), setting("fast", steps=5)],
        [setting("a", seed=1), setting("b", seed=2)],
    )
    found = expand(sweep(*axes))

    assert [dict(cell.labels) for cell in found.cells] == [
        {"axis0": x, "axis1": y} for x in ("slow", "fast") for y in "ab"
    ]
    assert sorted(child.job for child in found.children) == ["after"] * 4 + ["before"] + ["tuned"] * 4
    assert len({cell.children["before"] for cell in found.cells}) == 1


def test_a_setting_reaches_where_nothing_was_said_yet() -> None:
    """Objects on the way are made; a null counts as nothing."""
    jobs = {"after": BASE | {"few_shot": None}, "tuned": TUNE}
    sets = {"/tuned/mixture/hold_out/clusters": ["sentiment"], "/after/few_shot/shots": 4}
    found = expand(sweep([{"label": "only", "set": sets}], jobs=jobs))

    specs = {child.job: child.spec for child in found.children}
    assert specs["tuned"].mixture.hold_out.clusters == ("sentiment",)  # type: ignore[union-attr]
    assert specs["after"].few_shot.shots == 4  # type: ignore[union-attr]


def test_a_child_waits_for_the_child_of_its_own_cell() -> None:
    """Its reference is the name of that child, which stands before it; what shapes the model shapes its name."""
    found = expand(sweep([setting("slow", steps=10), setting("fast", steps=5)]))

    names = [child.name for child in found.children]
    for child in found.children:
        if child.job == "after":
            assert child.need is not None
            assert names.index(child.need.child) < names.index(child.name)
            assert child.spec.model == child.need.reference  # type: ignore[union-attr]
            assert child.need.child.split("-")[1] == child.name.split("-")[1] in ("slow", "fast")


def test_the_step_0_model_of_a_preset_can_be_asked_for() -> None:
    """`job:NAME@base`, of a job that starts from a preset and of no other."""
    jobs = {"tuned": TUNE | {"base": "preset:nano"}, "before": MEASURE | {"model": "job:tuned@base"}}
    (_, child) = expand(sweep(jobs=jobs)).children

    assert child.need is not None
    assert child.need.role == "base"
    jobs["tuned"] = TUNE
    assert [each["pointer"] for each in problems({"jobs": jobs})] == ["/jobs/before/model"]


VALUES = st.lists(st.integers(0, 3), min_size=1, max_size=4)


@given(st.lists(VALUES, min_size=1, max_size=3))
def test_children_are_as_many_as_contents_whatever_the_axes(axes: list[list[int]]) -> None:
    """Equal content is one child under one name, however many cells it stands in, and each name is told once."""
    fields = ("steps", "seed", "log_every")
    settings = [
        [setting(f"{k}", **{fields[i]: value + 1}) for k, value in enumerate(values)]
        for i, values in enumerate(axes)
    ]
    found = expand(sweep(*settings))

    assert len(found.cells) == math.prod(map(len, axes))
    assert len([child for child in found.children if child.job == "tuned"]) == math.prod(
        len(set(values)) for values in axes
    )
    assert len({child.name for child in found.children}) == len(found.children)
    assert {child.name for child in found.children} == {
        name for cell in found.cells for name in cell.children.values()
    }
    assert expand(sweep(*settings)) == found


def test_names_and_metadata_are_no_content_and_everything_else_is() -> None:
    """The digest of content is that of what is done; a needed model counts by what makes it, not by its name."""
    plain = parse(TuneSpec, TUNE | {"name": "a"})
    told = parse(TuneSpec, TUNE | {"name": "b", "metadata": {"for": "me"}})
    waits, waits_too = (parse(TuneSpec, TUNE | {"name": "a", "base": f"job:{name}"}) for name in ("x", "y"))

    assert content_digest(plain) == content_digest(told)
    assert content_digest(plain) != content_digest(parse(TuneSpec, TUNE | {"name": "a", "seed": 1}))
    assert content_digest(waits, "abc") == content_digest(waits_too, "abc") != content_digest(waits, "abd")


@pytest.mark.parametrize(
    ("document", "pointer", "code", "words"),
    [
        ({}, "/jobs", "missing", "preset"),
        ({"jobs": JOBS, "axes": [{"name": "x", "settings": []}]}, "/axes/0/settings", "too_short", "one"),
        (
            {"jobs": JOBS, "axes": [{"name": "x", "settings": [{"label": "a", "set": {"/tunde/steps": 1}}]}]},
            "/axes/0/settings/0/set/~1tunde~1steps",
            "pointer_hits_nothing",
            "no job 'tunde'",
        ),
        (
            {"jobs": JOBS, "axes": [{"name": "x", "settings": [{"label": "a", "set": {"/tuned/base/x": 1}}]}]},
            "/axes/0/settings/0/set/~1tuned~1base~1x",
            "pointer_hits_nothing",
            "no places",
        ),
        (
            {"jobs": JOBS, "axes": [{"name": "x", "settings": [{"label": "a", "set": {"/after/tasks/4": 1}}]}]},
            "/axes/0/settings/0/set/~1after~1tasks~14",
            "pointer_hits_nothing",
            "a list of 1",
        ),
        (
            {"jobs": JOBS, "axes": [{"name": "x", "settings": [setting("a", steps=5), setting("b", steps=0)]}]},
            "/axes/0/settings/1/set/~1tuned~1steps",
            "greater_than_equal",
            "in the cell x=b",
        ),
        ({"jobs": {"after": MEASURE}}, "/jobs/after/model", "unknown_job", "none of the sweep's jobs"),
        (
            {"jobs": {"tuned": BASE, "after": MEASURE}},
            "/jobs/after/model",
            "unknown_job",
            "makes no model",
        ),
        (
            {"jobs": {"a": TUNE | {"base": "job:b"}, "b": TUNE | {"base": "job:a"}}},
            "/jobs/a",
            "circle",
            "a → b → a",
        ),
        ({"jobs": {"s": {"kind": "serve", "model": "m"}}}, "/jobs/s/kind", "kind", "serve"),
        ({"jobs": {"t": TUNE | {"name": "mine"}}}, "/jobs/t/name", "not_to_be_given", "name"),
        ({"jobs": {"t": TUNE | {"stepz": 3}}}, "/jobs/t/stepz", "unknown_field", "stepz"),
        (
            {"jobs": {"a": TUNE, "b": TUNE | {"base": "job:a", "objective": "lm", "corpus": {"texts": [{"name": "x"}]},
                                              "mixture": {}}}},
            "/jobs/b/base",
            "unknown_length",
            "pieces",
        ),
        ({"jobs": JOBS, "scale": "tiny"}, "/scale", "contradiction", "presets"),
        ({"preset": "few-shot"}, "/scale", "missing", "scale"),
        ({"preset": "few-shot", "scale": "tiny", "jobs": JOBS}, "/jobs", "contradiction", "few-shot"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_where_it_stands(
    document: dict[str, Any], pointer: str, code: str, words: str
) -> None:
    """Place, value and, of a cell, which one it is."""
    (found,) = problems(document)

    assert (found["pointer"], found["code"]) == (pointer, code)
    assert words in found["message"] + found.get("hint", "")


def test_more_jobs_than_a_sweep_may_have_are_refused_before_any_is_made() -> None:
    """The bound holds for cells times jobs, and is said."""
    axes = [
        {"name": f"x{i}", "settings": [{"label": f"{k}", "set": {"/tuned/seed": k}} for k in range(10)]}
        for i in range(3)
    ]
    (found,) = problems({"jobs": JOBS, "axes": axes})

    assert found["code"] == "too_many_children"
    assert f"{MAX_CHILDREN:,}" in found["message"]


@pytest.mark.parametrize("said", [{"kind": "swep"}, {}])
def test_a_sweep_is_among_the_kinds_that_can_be_asked_for(said: dict[str, Any]) -> None:
    """Whoever misses the kind is told of all four."""
    with pytest.raises(InvalidDocument) as caught:
        parse_asked({"name": "s"} | said)

    [wrong] = caught.value.problems
    told = f"{wrong['message']} {wrong.get('hint')}"
    assert wrong["pointer"] == "/kind"
    assert all(kind in told for kind in ("tune", "evaluate", "serve", "sweep"))


def test_a_need_is_written_as_it_is_read() -> None:
    """The reference of a need, and the need of a reference."""
    assert Need("a-1", "tuned").reference == "job:a-1"
    assert Need("a-1", "base").reference == "job:a-1@base"
