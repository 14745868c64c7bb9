"""`flan reproduce` in an empty folder: experiments of the paper in small, cut off and taken up again."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest

from flan import rundir
from flan.evaluate.publication import Report
from flan.evaluate.sweep_figure import draw_figure
from flan.spec import parse
from flan.sweep_run import CHILDREN, REPORT_DATA, RESULTS
from flan.sweep_spec import PresetName
from tests.kit.commands import running
from tests.kit.platform import has_ended
from tests.kit.ranks import PATIENCE_S, wait_until

pytestmark = pytest.mark.timeout(1_800)


@contextmanager
def started(preset: str, home: Path) -> Iterator[subprocess.Popen[str]]:
    """The command while it runs, with no platform in reach."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLAN_")}
    with running(
        "flan", "reproduce", preset, "--scale", "tiny", "--home", str(home), env=environment
    ) as process:
        yield process


def reproduced(preset: str, home: Path) -> tuple[dict[str, Any], str]:
    """results.json, and what was told."""
    with started(preset, home) as process:
        _, told = process.communicate(timeout=4 * PATIENCE_S)
    assert process.returncode == 0, told
    return json.loads((home / RESULTS).read_text()), told


def endings(home: Path) -> dict[str, tuple[int, int]]:
    """Child → the very file that says how it ended."""
    found = {path.parents[1].name: path.stat() for path in (home / CHILDREN).glob("*/run/outcome.json")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def attempts(home: Path) -> dict[str, int]:
    """Child → how often it was begun."""
    return {path.name: rundir.read_settings(path / "run").attempt for path in (home / CHILDREN).iterdir()}


def kill_when(num_done: int, preset: str, home: Path) -> None:
    """SIGKILL to the command when so many children are done; returns when all its processes are gone."""
    with started(preset, home) as process:
        done, patience_s = f"{num_done} children to be done", 4 * PATIENCE_S
        wait_until(lambda: len(endings(home)) >= num_done, done, [process], patience_s=patience_s)
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=PATIENCE_S)
    wait_until(lambda: all(map(has_ended, below)), "the ranks to be gone")


def test_a_model_for_each_held_out_cluster_and_nothing_done_twice_when_it_is_killed(tmp_path: Path) -> None:
    """Three clusters, each unseen by its model, base beside it, every figure with n and spread, and a picture.

    SIGKILL half-way takes the ranks along; the next call redoes none of the children that are done.
    """
    kill_when(3, "cluster-sweep", tmp_path)
    before = endings(tmp_path)
    found, told = reproduced("cluster-sweep", tmp_path)

    after = endings(tmp_path)
    assert 3 <= len(before) < len(after) == 8
    assert {name: after[name] for name in before} == before
    assert told.count("done already") == len(before)
    begun = attempts(tmp_path)
    assert all(begun[name] == 1 for name in before)
    assert sum(begun.values()) <= 8 + 1
    assert {line["cell"]["held_out"] for line in found["lines"]} == {
        "entailment", "sentiment", "reading_comprehension",
    }  # fmt: skip
    for line in found["lines"]:
        assert line["cluster"] == line["cell"]["held_out"]
        assert set(line["figures"]) == {"base", "tuned"}
        for figure in line["figures"].values():
            assert (figure["n"], figure["verdict"]) == (8, "proven")
            assert figure["spread"] is not None
    assert not found["partial"]
    assert "6 tasks, n = 48 rows, 3 templates each" in picture_of(tmp_path)


def picture_of(home: Path) -> str:
    """What a sweep's picture says, drawn anew from its report: letters in the files are shapes."""
    for ending in ("svg", "png"):
        assert (home / f"figure.{ending}").stat().st_size > 5_000
    made = parse(Report, json.loads((home / REPORT_DATA).read_text()))
    figure = draw_figure(json.loads((home / RESULTS).read_text())["experiment"], made)
    [axes] = figure.axes
    legend = axes.get_legend()
    said = [axes.get_title(loc="left"), axes.get_xlabel(), *(each.get_text() for each in axes.texts)]
    said += [each.get_text() for each in legend.get_texts()] if legend else []
    return "\n".join([*said, *(each.get_text() for each in axes.get_xticklabels())])


DRAWN: dict[str, tuple[int, tuple[str, ...]]] = {
    "num-clusters": (16, ("Number of clusters tuned on", "untuned", "instruction tuned", "7")),
    "instructions": (9, ("Role of instructions", "dataset name → dataset name", "untuned")),
    "templates-per-task": (
        12,
        ("Templates per task", "templates of each training task", "instruction tuned", "10"),
    ),
    "scale": (8, ("Scale", "weights of the model", "1.97M", "7.7M")),
    "few-shot": (12, ("Few-shot", "base, zero-shot", "tuned, up to 2 shots")),
    "soft-prompt": (10, ("Soft prompts", "base, 32 rows", "tuned, all rows")),
}
"""Experiment → its children, and what its picture says."""


@pytest.mark.slow
@pytest.mark.parametrize("preset", [name for name in get_args(PresetName) if name != "cluster-sweep"])
def test_every_experiment_comes_to_its_end_and_draws_its_figure(preset: str, tmp_path: Path) -> None:
    """All children succeed; each cell has base and tuned model, each figure n and spread; the picture its words."""
    found, _ = reproduced(preset, tmp_path)

    num_children, words = DRAWN[preset]
    assert [each["state"] for each in found["children"]] == ["succeeded"] * num_children
    assert not found["partial"]
    assert all(set(line["figures"]) == {"base", "tuned"} for line in found["lines"])
    for line in found["lines"]:
        for job, figure in line["figures"].items():
            # A name is one way to ask: there is nothing to spread over.
            is_name = job == "tuned" and line["cell"].get("instructions", "").endswith("→ dataset name")
            assert (figure["spread"] is None) == is_name
            assert figure["n"] == 8
            low, high = figure["interval"]
            assert low <= figure["mean"] <= high
    for path in (tmp_path / CHILDREN).glob("*/run/results.json"):
        measured = json.loads(path.read_text()).get("tasks", ())
        assert [
            each["num_pruned"] for task in measured for each in task["templates"] if each["num_pruned"]
        ] == []
    said = picture_of(tmp_path)
    assert "one standard deviation over templates" in said
    assert [word for word in words if word not in said] == []
    assert all(line["task"] in (tmp_path / "report.md").read_text() for line in found["lines"])
