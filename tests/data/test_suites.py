"""Named evaluations: every one can be selected; what the spec says itself wins; all of it ends up in the digest."""

from pathlib import Path
from typing import Any

import pytest

from flan.data.selectors import UnknownCluster, select_tasks
from flan.data.suites import SHOTS, Suite, UnknownSuite, load_suites, with_suite
from flan.errors import InvalidDocument
from flan.local import LocalLibrary
from flan.spec import DevRows, EvaluateSpec, parse_spec
from flan.store import Store
from flan.tasks.task import load_collection
from flan.tasks.taxonomy import load_taxonomy
from tests.kit.tasks import KitLibrary, make_task

FLAN = load_collection("flan")


def spec(**fields: Any) -> EvaluateSpec:
    made = parse_spec({"kind": "evaluate", "name": "e", "model": "m"} | fields)
    assert isinstance(made, EvaluateSpec)
    return made


def names_of(suite: Suite) -> set[str]:
    library = KitLibrary(FLAN.values())
    return set(select_tasks(suite.tasks, "/tasks", FLAN, library, load_taxonomy("flan")).tasks)


def test_suites_of_flan_have_the_tasks_of_the_paper() -> None:
    """Each cluster in four forms, and together they are all of it."""
    taxonomy, suites = load_taxonomy("flan"), load_suites()
    paper = {task.name for task in FLAN.values() if taxonomy.presets["flan2021"].holds(task)}
    clusters = {FLAN[name].cluster for name in paper}
    together: set[str] = set()
    for cluster in clusters:
        forms = [f"flan2021/{cluster}{end}" for end in ("", "/few-shot", "/baseline", "/baseline/few-shot")]
        found = [names_of(suites[form]) for form in forms]
        # What has no training rows has none to show before a question.
        shown = {name for name in found[0] if "train" in FLAN[name].source.splits}
        assert found == [found[0], shown, found[0], shown]
        assert {FLAN[name].cluster for name in found[0]} == {cluster}
        together |= found[0]

    assert together == names_of(suites["flan2021/all"]) == paper
    assert paper - names_of(suites["flan2021/all/few-shot"]) == {"wsc273"}


def test_t0_holds_eleven_tasks_out() -> None:
    """ANLI by its rounds; every one is answered by choosing."""
    found = names_of(load_suites()["t0/held-out"])

    assert len(found) == 11
    assert all(FLAN[name].has_choices for name in found)


def test_a_suite_is_written_into_the_spec() -> None:
    """With its digest it is a frozen document of all that is asked; written in twice it is the same."""
    written = with_suite(spec(suite="flan2021/entailment/few-shot"))

    assert (written.tasks, written.split) == (("cluster:entailment",), "test")
    assert (written.dev, written.few_shot) == (DevRows(), SHOTS)
    assert written.digest() != spec(suite="flan2021/entailment/few-shot").digest()
    assert with_suite(written) == written
    assert with_suite(spec(tasks=["rte"])) == spec(tasks=["rte"])
    baseline = with_suite(spec(suite="flan2021/entailment/baseline"))
    assert (baseline.prompt_format, baseline.dev) == ("continuation", None)
    solved = with_suite(spec(suite="flan2021/entailment/baseline/few-shot")).few_shot
    assert solved is not None
    assert solved.before_target == " "  # as before the answer that is asked for


def test_what_the_spec_says_itself_wins() -> None:
    """Fields apart from their default; and what then does not fit together is refused."""
    written = with_suite(spec(suite="flan2021/all", tasks=["rte"], limit=7, few_shot={"shots": 2}))

    assert (written.tasks, written.limit) == (("rte",), 7)
    assert written.few_shot is not None and written.few_shot.shots == 2
    with pytest.raises(InvalidDocument, match="flattered"):
        with_suite(spec(suite="flan2021/all", dev={"split": "test"}))


def test_an_unknown_suite_has_its_place_and_the_way_out() -> None:
    """Did-you-mean; and without a suite there must be tasks."""
    with pytest.raises(UnknownSuite) as refused:
        with_suite(spec(suite="flan2021/entailmnt"))
    assert refused.value.pointer == "/suite"
    assert refused.value.hint == "did you mean 'flan2021/entailment'?"
    with pytest.raises(UnknownSuite) as refused:
        with_suite(spec(suite="superglue"))
    assert refused.value.hint is not None and "t0/held-out, super-ni/test" in refused.value.hint
    with pytest.raises(InvalidDocument, match="name tasks, or a suite"):
        spec()


def test_super_ni_selects_the_categories_of_imported_tasks(tmp_path: Path) -> None:
    """Of tasks that were brought here; a category without any is an error, unless what is missing may be dropped."""
    for name, cluster in (
        ("task1_a", "word_analogy"),
        ("task2_b", "title_generation"),
        ("task3_c", "summarization"),
    ):
        (tmp_path / f"{name}.yaml").write_text(make_task(name, cluster=cluster).canonical())
    library = LocalLibrary(Store(tmp_path / "store"), tmp_path)
    suite, taxonomy = load_suites()["super-ni/test"], load_taxonomy("flan")
    found = select_tasks(suite.tasks, "/tasks", FLAN, library, taxonomy, is_open=True)

    assert len(suite.tasks) == 12
    assert set(found.tasks) == {"task1_a", "task2_b"}
    with pytest.raises(UnknownCluster):
        select_tasks(suite.tasks, "/tasks", FLAN, library, taxonomy)
