"""`flan jobs …` against a real platform: what it prints, and with which status it ends."""

import json
import re
import signal
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from tests.api.commands.conftest import Flan, Started
from tests.api.world import NODE, World, claim, finish, tune
from workers.ledger import jobs, nodes, sweeps
from workers.ledger.leases import Ending, Failure

SPEC = """
kind: tune
name: tiny
base: preset:nano
steps: 10
mixture: {collection: synthetic, tasks: [shop_reviews]}
"""
SWEEP = """
kind: sweep
name: pair
jobs:
  first: {kind: tune, base: "preset:nano", steps: 10, mixture: {collection: synthetic, tasks: [shop_reviews]}}
  after: {kind: evaluate, model: "job:first", collection: synthetic, tasks: [rule_pairs]}
"""
HINT = "lower optimizer.learning_rate"


def test_a_job_from_a_file_is_handed_in_shown_and_cancelled(flan: Flan, tmp_path: Path) -> None:
    """JSON for machines, overrides applied, the same job throughout."""
    file = tmp_path / "spec.yaml"
    file.write_text(SPEC)
    status, made, _ = flan("jobs", "create", "-f", str(file), "-s", "steps=12", "-o", "json")
    job = json.loads(made)
    shown = json.loads(flan("jobs", "show", job["id"], "-o", "json")[1])
    _, plan, _ = flan("jobs", "create", "-f", str(file), "--dry-run")

    assert (status, job["spec"]["steps"], shown["id"]) == (0, 12, job["id"])
    assert json.loads(plan)["plan"]["steps"] == 10
    assert job["id"] in flan("jobs", "list")[1]
    assert "cancelled" in flan("jobs", "cancel", job["id"])[1]


def test_following_a_job_that_succeeds_ends_with_what_came_of_it(flan: Flan, world: World) -> None:
    """How long it took, its last loss; of an evaluation the table itself."""
    status, tuned, _ = flan("jobs", "events", world.tuned, "--follow")
    _, evaluated, _ = flan("jobs", "events", world.evaluated, "--follow")

    assert status == 0
    assert "checkpoint.published name=step-00000020-a1 step=20" in tuned
    assert re.fullmatch(r"succeeded in \d+ s, last loss 2\.88", tuned.splitlines()[-1])
    assert all(line.strip() for line in tuned.splitlines())
    assert f"results flan jobs results {world.evaluated}" in evaluated
    assert "61.0" in evaluated


def test_following_a_job_that_fails_ends_with_1_and_says_why_once(flan: Flan, world: World) -> None:
    """What happened on standard output; the reason and the way out on standard error, neither of them twice."""
    status, out, err = flan("jobs", "events", world.failed, "--follow")
    lines = flan("jobs", "events", world.failed, "--follow", "-o", "json")

    assert status == lines[0] == 1
    assert "job.failed" in out
    assert err.splitlines() == [
        f"error loss_not_finite {world.failed} failed: the loss of step 12 is not finite",
        f"hint  {HINT}",
    ]
    assert HINT not in out
    told = json.loads(lines[2])
    assert (told["code"], told["hint"], told["values"]["job_id"]) == ("loss_not_finite", HINT, world.failed)
    numbers = [json.loads(line)["seq"] for line in lines[1].splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_failure_that_is_not_the_requests_comes_with_the_end_of_the_log(
    flan: Flan, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """For whoever is to mend it; where the request is at fault the log says nothing more."""
    with sessions.begin() as session:
        nodes.report(session, NODE, cpu_slots=1, gpus=[])
        job_id = jobs.submit(session, tune().model_copy(update={"max_retries": 0})).id
    fault = Failure(code="internal", blame="system", message="a [bold]bug[/bold]", log=("Traceback [x]",))
    finish(sessions, claim(sessions, tmp_path), Ending("fault", fault))

    assert flan("jobs", "events", job_id, "--follow")[2].splitlines() == [
        f"error internal {job_id} failed: a [bold]bug[/bold]",
        "  Traceback [x]",
    ]
    assert "Traceback [x]" in flan("jobs", "show", job_id)[1]


def test_ctrl_c_ends_the_watching_and_not_the_job(started: Started, flan: Flan, world: World) -> None:
    """Status 130, and how to look again and how to cancel."""
    with started("jobs", "events", world.running, "--follow") as process:
        assert process.stdout is not None
        assert "job.submitted" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert f"{world.running} runs on without you" in err
    assert f"flan jobs events {world.running} --follow" in err
    assert f"flan jobs cancel {world.running}" in err
    assert json.loads(flan("jobs", "show", world.running, "-o", "json")[1])["state"] == "running"


def test_a_list_has_one_line_for_each_job(
    flan: Flan, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However narrow the terminal that a pipe leads away from."""
    monkeypatch.setenv("COLUMNS", "30")
    names = ["n" * 64, "m" * 64]
    with sessions.begin() as session:
        for name in names:
            jobs.submit(session, tune(name))

    head, *lines = flan("jobs", "list")[1].splitlines()

    assert head.split() == ["ID", "KIND", "NAME", "STATE", "STEP", "AGE"]
    assert [line.split()[2] for line in lines] == names[::-1]


def test_events_are_written_as_key_and_value(flan: Flan, world: World) -> None:
    """Nested figures by their own names, none cut away where nothing limits the line."""
    out = flan("jobs", "events", world.tuned)[1]

    assert "step=10 train/loss=3.41 train/learning_rate=0.001" in out
    assert f"manifest_sha256={'5f2c' * 16}" in out
    assert "{" not in out
    assert "…" not in out


def test_figures_are_listed_step_by_step(flan: Flan, world: World) -> None:
    """All of them, or one by name."""
    every = flan("jobs", "metrics", world.tuned)[1]
    one = flan("jobs", "metrics", world.tuned, "--name", "train/loss")[1]
    whole = json.loads(flan("jobs", "metrics", world.tuned, "-o", "json")[1])

    assert "train/learning_rate" in every
    assert [line.split() for line in one.splitlines()] == [
        ["STEP", "NAME", "VALUE"],
        ["10", "train/loss", "3.41"],
        ["20", "train/loss", "2.88"],
    ]
    assert len(whole) == 4


def test_logs_and_results_are_shown(flan: Flan, world: World) -> None:
    """What the ranks wrote, what was measured."""
    assert flan("jobs", "logs", world.tuned)[1] == "rank 0 of 1 on cpu\nstep 10 loss 3.41\n"
    assert flan("jobs", "logs", world.tuned, "-f")[0] == 0
    assert "rule_pairs" in flan("jobs", "results", world.evaluated)[1]
    assert json.loads(flan("jobs", "results", world.evaluated, "-o", "json")[1])["model"] == "movies"
    assert len(json.loads(flan("jobs", "results", *2 * [world.evaluated], "-o", "json")[1])) == 2
    assert "| rule_pairs |" in flan("jobs", "results", world.evaluated, "--markdown")[1]
    asked = flan("jobs", "samples", world.evaluated, "--task", "rule_pairs", "--after", "0", "--limit", "1")[
        1
    ]
    assert [(each["id"], each["choice"]) for each in map(json.loads, asked.splitlines())] == [("1", "yes")]
    assert flan("jobs", "samples", world.evaluated, "--task", "other") == (0, "", "")


def test_the_jobs_of_a_sweep_are_listed_with_how_they_stand(
    flan: Flan, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """A line for each, why it has not succeeded, as JSON all of it; a job that is no sweep has none."""
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    made = json.loads(flan("jobs", "create", "-f", str(file), "-o", "json")[1])
    listed = json.loads(flan("jobs", "children", made["id"], "-o", "json")[1])
    first, after = listed
    flan("jobs", "cancel", first["job_id"])
    with sessions.begin() as session:
        sweeps.advance(session, made["id"])
    status, table, _ = flan("jobs", "children", made["id"])
    refused, _, said = flan("jobs", "children", first["job_id"])

    assert [each["kind"] for each in listed] == ["tune", "evaluate"]
    assert status == 0
    lines = {line.split()[0]: line for line in table.splitlines()[1:] if line.strip()}
    assert "cancelled" in lines[first["id"]]
    assert "failed" in lines[after["id"]]
    assert first["job_id"] in lines[after["id"]].split("failed")[1]
    assert refused != 0
    assert "is no sweep" in said
