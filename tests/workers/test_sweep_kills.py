"""A worker that dies in the middle of a sweep."""

from pathlib import Path

from flan.spec import Pins, parse
from flan.sweep_spec import SweepSpec
from flan.sweeps import expand
from tests.kit.killing import PROCESS_KILLS
from tests.kit.machine import Machine
from tests.kit.trainers import Trainer, faults
from workers.ledger import sweeps


def test_a_sweep_outlives_its_worker_and_nothing_is_done_twice(
    machine: Machine, trainer: Trainer, tmp_path: Path
) -> None:
    """SIGKILL while the first child runs: it goes on from its checkpoint, and the one that waits for it follows."""
    tune = trainer.spec().model_dump(mode="json", exclude={"name", "pins"})
    wait = faults({"do": "wait", "at": 26, "attempt": 1}, control=tmp_path)
    sweep = parse(
        SweepSpec,
        {
            "kind": "sweep",
            "name": "chain",
            "jobs": {"first": tune | wait, "second": tune | {"base": "job:first"}},
        },
    )
    expansion = expand(sweep)
    resolved = [
        (child, child.spec.model_copy(update={"pins": Pins(tasks={})})) for child in expansion.children
    ]
    with machine.sessions.begin() as session:
        sweep_id = sweeps.submit(session, sweep, expansion.cells, resolved).id
        first, second = (listed.job.id for listed in sweeps.children(session, sweep_id))
    machine.doorbell.ring()
    machine.until_event(first, "progress", step=25)
    machine.until(lambda: machine.job(first).checkpoint_step == 20)

    PROCESS_KILLS["worker"](machine, first)

    assert machine.until_state(sweep_id, "succeeded", "failed").state == "succeeded"
    assert [attempt.resumed_from for attempt in machine.attempts(first)] == [None, 20]
    assert len(machine.attempts(second)) == 1
    assert machine.job(second).spec["pins"]["model"] == machine.models(first)["tuned"].digest
    told = [
        (event.data["job"], event.data["state"])
        for event in machine.events(sweep_id)
        if event.type == "child.changed" and event.data["state"] == "succeeded"
    ]
    assert told == [(first, "succeeded"), (second, "succeeded")]
