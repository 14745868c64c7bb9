"""Two real ranks: they share the rows, or the weights of the model besides, and find what one rank finds."""

import json
from pathlib import Path
from typing import Any

import pytest

from flan import rundir
from flan.model.load import Architecture
from tests.evaluate.asking import carried_out, events_of, prepared, results_of, samples_of
from tests.kit.ranks import PATIENCE_S, run_ranks

ARCHITECTURES: tuple[Architecture, ...] = ("decoder", "encoder_decoder")
UNEVEN: dict[str, Any] = {
    "tasks": ["shop_reviews", "marble_counts", "weather_tables"],
    "limit": 5,
    "input_length": 60,
    "batch_tokens": 300,
    "max_new_tokens": 8,
}
"""Two ranks have three rows and two; one task is written, the others ranked, and some rows are too long."""
SHARDED = {"zero_stage": 3, "resources": {"ranks": 2, "device": "cpu"}}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[Architecture, Path]:
    """What one rank finds."""
    folder = tmp_path_factory.mktemp("alone")
    return {architecture: carried_out(folder, architecture, **UNEVEN) for architecture in ARCHITECTURES}


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What two ranks have found that share the weights, by architecture; and how it ends where one of them does."""
    folder = tmp_path_factory.mktemp("sharded")
    directories = {
        "decoder": prepared(folder, **UNEVEN, **SHARDED)[1],
        "encoder_decoder": prepared(folder, "encoder_decoder", **UNEVEN, **SHARDED)[1],
        "failed": prepared(folder, **UNEVEN, **SHARDED, name="failed")[1],
        "stopped": prepared(folder, "encoder_decoder", **UNEVEN, **SHARDED, name="stopped")[1],
    }
    cells = [
        {"directory": str(directory), "end": name if name in ("failed", "stopped") else "done"}
        for name, directory in directories.items()
    ]
    (folder / "cells.json").write_text(json.dumps(cells))
    run_ranks(["tests.evaluate.cells", str(folder / "cells.json")], 2, folder / "log", 2 * PATIENCE_S)
    return directories


def assert_same(found: Path, expected: Path) -> None:
    """The same figures, choices and texts, and the same scores to rounding."""
    of_ranks, of_one = results_of(found), results_of(expected)
    assert [task.model_dump() for task in of_ranks.tasks] == [task.model_dump() for task in of_one.tasks]
    samples = samples_of(found)
    assert samples
    for mine, theirs in zip(samples, samples_of(expected), strict=True):
        assert mine.get("choice", mine.get("output")) == theirs.get("choice", theirs.get("output"))
        assert mine.get("logprobs", []) == pytest.approx(theirs.get("logprobs", []), abs=1e-4)
    progress = [event.data for event in events_of(found) if event.type == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ranks_that_share_weights_find_what_one_finds(
    sharded: dict[str, Path], alone: dict[Architecture, Path], architecture: Architecture
) -> None:
    """Uneven shares, prompts and texts: all step together, and no dead row is in the results."""
    assert_same(sharded[architecture], alone[architecture])


def test_a_rank_that_fails_lets_the_others_go_on(sharded: dict[str, Path]) -> None:
    """A sharded model answers only where all ranks run it: the one that has failed helps until the others are done."""
    outcome = rundir.read_outcome(sharded["failed"])

    assert outcome is not None
    assert (outcome.status, outcome.code) == ("failed", "rank_failed")
    warnings = [event for event in events_of(sharded["failed"]) if event.type == "warning"]
    assert len(warnings) == len(UNEVEN["tasks"]) - 1  # each of them ended; the last one ends the attempt


def test_a_rank_that_stops_lets_the_others_come_to_an_end(sharded: dict[str, Path]) -> None:
    """Nobody waits for its passes, and what was answered is kept."""
    outcome = rundir.read_outcome(sharded["stopped"])

    assert outcome is not None
    assert outcome.status == "stopped"


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("zero_stage", [0, 3])
def test_two_ranks_share_the_rows(
    alone: dict[Architecture, Path], tmp_path: Path, architecture: Architecture, zero_stage: int
) -> None:
    """As a launcher starts them; whether each has the whole model or a part of it."""
    fields = UNEVEN | SHARDED | {"zero_stage": zero_stage}
    _, directory = prepared(tmp_path, architecture, **fields)

    run_ranks(["flan", "run", str(directory)], 2, tmp_path / "log")

    assert_same(directory, alone[architecture])
