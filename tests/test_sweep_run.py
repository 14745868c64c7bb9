"""A sweep in a folder: which children are carried out, which are not, and what is told. No rank is started here."""

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest

from flan.errors import Conflict
from flan.spec import parse
from flan.sweep_run import RESULTS, SWEEP, SweepRun, Told
from flan.sweep_spec import SweepSpec

UNKNOWN = {
    "kind": "tune",
    "base": "no/such-model",
    "mixture": {"collection": "synthetic", "tasks": ["rule_pairs"]},
}
MEASURE = {"kind": "evaluate", "collection": "synthetic", "tasks": ["rule_pairs"]}
JOBS: dict[str, Any] = {
    "first": UNKNOWN,
    "after": MEASURE | {"model": "job:first"},
    "second": UNKNOWN | {"seed": 1},
}


def carried_out(home: Path, **fields: Any) -> tuple[dict[str, Any], list[Told]]:
    """results.json of a sweep whose models are all unknown, and what was told."""
    told: list[Told] = []
    sweep = parse(SweepSpec, {"kind": "sweep", "name": "s", "jobs": JOBS} | fields)
    SweepRun(sweep, home, None).carry_out(told.append)
    return json.loads((home / RESULTS).read_text()), told


def test_a_child_whose_model_could_not_be_made_fails_with_it_and_the_others_go_on(tmp_path: Path) -> None:
    """Each failure has its code; the document is there at the end, and says that it is partial."""
    found, told = carried_out(tmp_path)

    codes = {each["job"]: (each["state"], each["code"]) for each in found["children"]}
    assert codes == {
        "first": ("failed", "not_found"),
        "after": ("failed", "need_failed"),
        "second": ("failed", "not_found"),
    }
    assert [(each.number, each.total) for each in told] == [(1, 3), (2, 3), (3, 3)]
    assert found["partial"]
    assert json.loads((tmp_path / SWEEP).read_text())["name"] == "s"


def test_a_sweep_that_stops_begins_nothing_after_a_failure(tmp_path: Path) -> None:
    """What was not begun waits."""
    found, told = carried_out(tmp_path, on_failure="stop")

    assert [each["state"] for each in found["children"]] == ["failed", "waiting", "waiting"]
    assert len(told) == 1


def test_two_processes_do_not_work_in_one_folder(tmp_path: Path) -> None:
    """The second is refused, with a way out."""
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="another process"):
            carried_out(tmp_path)
