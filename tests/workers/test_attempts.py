"""One job from the queue to its models, with a real worker and a rank that only hashes."""

from tests.kit.machine import Machine
from tests.kit.trainers import Trainer


def test_job_runs_to_its_models(machine: Machine, trainer: Trainer) -> None:
    """From the queue to registered weights, with a journal that has no gap."""
    job_id = machine.submit(trainer.spec())

    job = machine.until_state(job_id, "succeeded", "failed")
    events = machine.events(job_id)
    assert job.state == "succeeded", machine.logs()
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    made = machine.models(job_id)
    assert {role: (model.name, model.version) for role, model in made.items()} == {
        "tuned": ("chain", 1),
        "base": ("chain-base", 1),
    }
    assert job.checkpoint_step == 40
