"""The run directory: what a rank and its supervisor may rely on."""

from pathlib import Path

import pytest

from flan.errors import DiskFull
from flan.rundir import (
    EVENTS,
    EventWriter,
    Outcome,
    RunSettings,
    failure,
    prepare,
    read_events,
    read_outcome,
    read_settings,
    read_spec,
    read_wish,
    write_outcome,
    write_wish,
)
from flan.spec import parse_spec


def test_half_written_line_waits_for_the_next_read(tmp_path: Path) -> None:
    """A reader never sees an event that rank 0 has not finished writing."""
    path = tmp_path / EVENTS
    path.write_text('{"line": 1, "at": 0.0, "type": "run.started", "data": {}}\n{"line": 2, "ty')

    assert [event.line for event in read_events(path, after=0)] == [1]


def test_a_writer_opened_again_goes_on_without_gap_or_torn_line(tmp_path: Path) -> None:
    """A torn last line is cut off and its number used again."""
    writer = EventWriter(tmp_path)
    writer.append("progress", step=1)
    writer.close()
    with (tmp_path / EVENTS).open("ab") as file:
        file.write(b'{"line": 2, "at": 1')

    writer = EventWriter(tmp_path)
    writer.append("progress", step=2)
    writer.close()

    events = list(read_events(tmp_path / EVENTS, after=0))
    assert [(event.line, event.data["step"]) for event in events] == [(1, 1), (2, 2)]
    assert [event.line for event in read_events(tmp_path / EVENTS, after=1)] == [2]


def test_an_event_without_number_is_refused_at_the_writer(tmp_path: Path) -> None:
    """NaN is no JSON number: the writer fails, the file stays readable."""
    writer = EventWriter(tmp_path)
    with pytest.raises(ValueError, match="JSON compliant"):
        writer.append("metrics", loss=float("nan"))
    writer.close()

    assert list(read_events(tmp_path / EVENTS, after=0)) == []


def test_what_is_prepared_is_what_a_rank_reads(tmp_path: Path) -> None:
    """Spec and settings survive the folder; the first wish is to run."""
    spec = parse_spec({"kind": "tune", "name": "m", "base": "preset:nano"})
    settings = RunSettings(attempt=2, store="s", checkpoints=str(tmp_path / "checkpoints"), ranks=2)

    prepare(tmp_path / "run", spec, settings)

    assert read_spec(tmp_path / "run") == spec
    assert read_settings(tmp_path / "run") == settings
    assert read_wish(tmp_path / "run") == "run"
    write_wish(tmp_path / "run", "pause")
    assert read_wish(tmp_path / "run") == "pause"


def test_outcome_names_code_blame_and_way_out(tmp_path: Path) -> None:
    """An error of ours arrives at the supervisor with all it said; a stranger is our bug."""
    write_outcome(tmp_path, failure(DiskFull("no space", hint="free some", free_bytes=3)))

    outcome = read_outcome(tmp_path)
    assert outcome == Outcome(
        status="failed",
        code="disk_full",
        blame="infra",
        message="no space",
        hint="free some",
        values={"free_bytes": 3},
    )
    assert failure(KeyError("x")).blame == "system"
    assert read_outcome(tmp_path / "nowhere") is None
