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

from flan.sweep_run import CHILDREN, RESULTS
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


def test_a_model_for_each_held_out_cluster_beside_the_base_and_nothing_done_twice(tmp_path: Path) -> None:
    """Three clusters, each unseen by its model, every figure with n and spread; a second call redoes nothing."""
    found, _ = reproduced("cluster-sweep", tmp_path)
    before = endings(tmp_path)
    again, told = reproduced("cluster-sweep", tmp_path)

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
    assert (tmp_path / "figure.svg").read_text().startswith("<?xml")
    assert "tuned" in (tmp_path / "report.md").read_text()
    assert len(before) == 8
    assert endings(tmp_path) == before
    assert told.count("done already") == 8
    assert again == found


@pytest.mark.slow
@pytest.mark.parametrize("preset", [name for name in get_args(PresetName) if name != "cluster-sweep"])
def test_every_experiment_comes_to_its_end(preset: str, tmp_path: Path) -> None:
    """All children succeed, each cell has base and tuned model, and there is a picture."""
    found, _ = reproduced(preset, tmp_path)

    assert {each["state"] for each in found["children"]} == {"succeeded"}
    assert not found["partial"]
    assert (tmp_path / "figure.png").stat().st_size > 0
    assert found["lines"]
    assert all(set(line["figures"]) == {"base", "tuned"} for line in found["lines"])


@pytest.mark.slow
def test_killed_half_way_it_goes_on_and_redoes_nothing(tmp_path: Path) -> None:
    """SIGKILL takes the ranks along; the next call finds what is done, and ends with all of it."""
    with started("scale", tmp_path) as process:
        wait_until(lambda: len(endings(tmp_path)) >= 2, "two children to be done")
        ranks = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=PATIENCE_S)
    wait_until(lambda: all(map(has_ended, ranks)), "the ranks to be gone")
    before = endings(tmp_path)
    found, told = reproduced("scale", tmp_path)

    after = endings(tmp_path)
    assert len(before) >= 2
    assert {name: after[name] for name in before} == before
    assert told.count("done already") == len(before)
    assert {each["state"] for each in found["children"]} == {"succeeded"}
