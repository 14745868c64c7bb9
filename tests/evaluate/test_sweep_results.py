"""What a sweep found out, cell by cell."""

from typing import Any

from flan.evaluate.sweep_results import ChildState, Ended, SweepResults, sweep_markdown, sweep_results
from flan.spec import parse
from flan.sweep_spec import SweepSpec
from flan.sweeps import expand
from tests.evaluate.test_report import results, task_result

MEASURE = {"kind": "evaluate", "model": "some/model", "tasks": ["reviews", "moods"]}
SWEEP = parse(
    SweepSpec,
    {
        "kind": "sweep",
        "name": "s",
        "jobs": {
            "model": {"kind": "tune", "base": "some/model"},
            "base": MEASURE,
            "tuned": MEASURE | {"model": "job:model"},
        },
        "axes": [
            {
                "name": "task",
                "settings": [
                    {"label": each, "set": {"/model/mixture/tasks": [each], "/tuned/tasks": [each]}}
                    for each in ("reviews", "moods")
                ],
            }
        ],
    },
)
EXPANSION = expand(SWEEP)


def found(measured: dict[str, Any]) -> SweepResults:
    """What is known when `measured`, by the beginning of a child's name, has succeeded."""
    ended = []
    for child in EXPANSION.children:
        result = next((value for name, value in measured.items() if child.name.startswith(name)), None)
        state = ChildState(name=child.name, job=child.job, state="succeeded" if result else "waiting")
        ended.append(Ended(state, child.spec.kind, result.model_dump(mode="json") if result else None))
    return sweep_results("s", None, EXPANSION.cells, ended)


BASE = results("base", "proven", task_result("reviews", [0.4, 0.6]), task_result("moods", [0.2, 0.4]))
TUNED = results("m", "violated", task_result("reviews", [0.8, 1.0]))
OTHER = results("n", "proven", task_result("moods", [0.5]))


def test_base_stands_beside_tuned_in_each_cell_with_spread_n_and_verdict() -> None:
    """One measurement of the base serves every cell, which shows of it what it was itself asked about."""
    whole = found({"base": BASE, "tuned-reviews": TUNED, "tuned-moods": OTHER})

    assert not whole.partial
    assert sweep_markdown(whole).splitlines()[4:8] == [
        "| task | task | n | base | tuned | zero-shot |",
        "| --- | --- | ---: | ---: | ---: | --- |",
        "| reviews | reviews | 100 | 50.0 ± 10.0 | 90.0 ± 10.0 | proven/violated |",
        "| moods | moods | 100 | 30.0 ± 10.0 | 50.0 | proven |",
    ]
    assert [(each.cell, each.job, each.mean) for each in whole.means if each.job == "tuned"] == [
        ({"task": "reviews"}, "tuned", 0.9),
        ({"task": "moods"}, "tuned", 0.5),
    ]


def test_what_is_not_there_yet_is_said() -> None:
    """Partial, with what there is."""
    some = found({"base": BASE, "tuned-reviews": TUNED})

    assert some.partial
    assert [line.task for line in some.lines if "tuned" in line.figures] == ["reviews"]
    assert sum(each.state == "waiting" for each in some.children) == 3
    assert "- tuned-moods" in sweep_markdown(some)
