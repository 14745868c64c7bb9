"""`flan reproduce`, as far as nothing is carried out: the sweep, and what it would take."""

import json

from typer.testing import CliRunner

from flan.cli import app
from flan.spec import parse
from flan.sweep_presets import expanded, preset_sweep
from flan.sweep_spec import SweepSpec
from flan.sweeps import expand


def said(*arguments: str, status: int = 0) -> str:
    """What the command printed; it must end with `status`."""
    ended = CliRunner().invoke(app, ["reproduce", *arguments])
    assert ended.exit_code == status, ended.output
    return ended.stdout if status == 0 else ended.output


def test_what_is_printed_is_the_sweep_that_would_run() -> None:
    """A document for POST /jobs, with the same children."""
    printed = parse(SweepSpec, json.loads(said("few-shot", "--scale", "small", "--print")))

    assert expand(printed) == expand(expanded(preset_sweep("few-shot", "small")))
    assert printed.experiment == "few-shot"


def test_a_plan_has_every_child_and_their_sums() -> None:
    """Steps, tokens, prompts, room and time, before anything is done."""
    plan = json.loads(said("cluster-sweep", "--plan", "-o", "json"))

    assert (plan["num_cells"], len(plan["children"])) == (3, 8)
    assert plan["steps"] == sum(each["steps"] or 0 for each in plan["children"]) == 25
    assert plan["num_prompts"] == 2 * 6 * 8 * 3
    assert plan["cpu_s"] > 8 * 8
    assert plan["disk_bytes"] > plan["memory_bytes"] > 0


def test_the_paper_itself_wants_a_model_to_start_from() -> None:
    """Its own was never released: which one is for the user to say."""
    assert "--base" in said("cluster-sweep", "--scale", "full", status=2)
