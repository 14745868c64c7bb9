"""The leakage check in a run: what is said, what is left out, and that a resumed run leaves out the same."""

from pathlib import Path
from typing import Any

import pytest

from flan.data.compared import LeakageFound, read_report, without_leaks
from flan.data.members import TRAIN
from flan.data.mixture import mixer_of
from flan.data.resolve import open_pinned_rows, pinned_tasks
from flan.data.rows import Places, Rows
from flan.spec import TuneSpec
from flan.train import leaks, resume
from flan.train.checkpoint import CheckpointMismatch, CheckpointState
from tests.kit.runs import TinyRuns


class Kit:
    """A job on `mood` and `topic`, of which the validation rows of `topic` are trained on too."""

    def __init__(self, folder: Path) -> None:
        self.runs = TinyRuns(folder)
        self.places = Places(self.runs.data, self.runs.store)
        self.said: list[tuple[str, dict[str, Any]]] = []

    def spec(self, policy: str) -> TuneSpec:
        return self.runs.resolve(leakage={"policy": policy, "against": ["topic"]})

    def rows(self, spec: TuneSpec) -> dict[str, Rows]:
        return open_pinned_rows(spec, pinned_tasks(spec, self.runs.store), TRAIN, self.places)

    def compare(self, spec: TuneSpec) -> str | None:
        return leaks.compare(
            spec, self.places, self.rows(spec), lambda type_, **data: self.said.append((type_, data))
        )


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def test_no_draw_of_the_stream_is_a_leaking_row(kit: Kit) -> None:
    """A hundred draws of each row: none is missed by chance. Opened again, from the report, the draws are the same."""
    spec = kit.spec("drop")
    streams = []
    for _ in range(2):
        report = read_report(kit.runs.store, str(kit.compare(spec)))
        rows = without_leaks(spec, report, kit.rows(spec))
        tasks = pinned_tasks(spec, kit.runs.store)
        mixer = mixer_of(spec, tasks, {name: len(each) for name, each in rows.items()})
        draws = [mixer.draw(i) for i in range(10_000)]
        streams.append([(draw, rows[draw.task][draw.row]["text"]) for draw in draws])

    everything = [row["text"] for row in kit.rows(spec)["topic"]]
    drawn = {text for draw, text in streams[0] if draw.task == "topic"}
    assert drawn == set(everything[4:])
    assert streams[0] == streams[1]


def test_the_journal_says_what_was_found_and_done(kit: Kit) -> None:
    """Counts of each pair, what was left out, the report's digest; and a warning in words."""
    digest = kit.compare(kit.spec("drop"))
    checked, warning = kit.said

    assert checked[0] == "leakage.checked"
    told = checked[1]
    assert (told["policy"], told["train_rows"], told["num_shared"]) == ("drop", 100, 4)
    assert (told["left_out"], told["held_out"], told["report"]) == (
        {"topic": 4},
        {"topic/validation": 0},
        digest,
    )
    assert told["shared"] == [
        {"train": "topic", "held_out": "topic/validation", "train_rows": 4, "held_out_rows": 4,
         "whole_held_out_rows": 4}
    ]  # fmt: skip
    assert warning[0] == "warning"
    assert warning[1]["message"].endswith("they are left out (leakage.policy: drop)")


def test_a_run_that_must_be_clean_does_not_begin(kit: Kit) -> None:
    """The counts are in the journal before the error ends the run."""
    with pytest.raises(LeakageFound):
        kit.compare(kit.spec("fail"))

    assert [(type_, data["policy"], len(data["shared"])) for type_, data in kit.said] == [
        ("leakage.found", "fail", 1)
    ]


def test_a_long_comparison_tells_how_far_it_is(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """As any progress: done of total, what it is at, how long it will be."""
    monkeypatch.setattr(leaks, "PROGRESS_EVERY_S", 0.0)
    kit.compare(kit.spec("allow"))
    told = [data for type_, data in kit.said if type_ == "progress"]

    assert [(each["done"], each["total"]) for each in told] == [(60, 100), (100, 100)]
    assert told[-1]["what"] == "comparing topic with held-out rows"
    assert told[-1]["eta_s"] == 0


def test_a_checkpoint_of_other_left_out_rows_is_refused(kit: Kit) -> None:
    """Where rows are dropped they are part of the stream; where none are, another report changes nothing."""
    state = CheckpointState.model_construct(leakage="a" * 64)

    resume.check_left_out(kit.spec("drop"), state, "a" * 64)
    resume.check_left_out(kit.spec("allow"), state, "b" * 64)
    with pytest.raises(CheckpointMismatch, match="other training rows share text"):
        resume.check_left_out(kit.spec("drop"), state, "b" * 64)
