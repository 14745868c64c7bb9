"""Jobs that are told to stop, with the real trainer: for good, or for a while."""

import pytest

from tests.kit.killing import Outcome, survived
from tests.kit.platform import Platform, has_ended
from tests.kit.real_trainer import CHECKPOINT_EVERY, STEPS, TUNE, RealTrainer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MIDWAY = CHECKPOINT_EVERY + 3


def test_a_cancelled_job_leaves_no_process(platform: Platform) -> None:
    """The state says `cancelled` only when the ranks that computed are gone; its supervisor follows."""
    job_id = platform.submit(TUNE | {"name": "cancelled"})
    platform.until_step(job_id, MIDWAY)
    supervisor, ranks = platform.machine.supervisor(job_id), platform.machine.ranks(job_id)
    assert len(ranks) == 2

    assert platform.post(f"/jobs/{job_id}/cancel")["state"] == "cancelling"
    platform.until_job(job_id, lambda job: job["state"] == "cancelled", "to be cancelled")

    assert platform.machine.processes(job_id) == []
    platform.until(lambda: has_ended(supervisor), "its supervisor to end")
    assert platform.machine.models(job_id) == {}
    (attempt,) = platform.get(f"/jobs/{job_id}/attempts")["data"]
    assert attempt["ending"] == "cancelled"


def test_a_paused_job_rests_and_goes_on_as_if_nothing_had_happened(
    platform: Platform, trainer: RealTrainer, undisturbed: Outcome
) -> None:
    """No process while it rests, no step done twice, losses and weights of an undisturbed run to the last bit."""
    job_id = platform.submit(TUNE | {"name": "paused"})
    platform.until_step(job_id, MIDWAY)

    platform.post(f"/jobs/{job_id}/pause")
    paused = platform.until_job(job_id, lambda job: job["state"] == "paused", "to be paused")
    assert platform.machine.processes(job_id) == []
    assert MIDWAY <= paused["checkpoint_step"] == paused["progress"]["step"] < STEPS
    platform.post(f"/jobs/{job_id}/resume")
    platform.until_ended(job_id)

    attempts = survived(platform.machine, trainer, job_id, undisturbed)
    assert [tried.ending for tried in attempts] == ["paused", "succeeded"]
    assert attempts[1].resumed_from == paused["checkpoint_step"]
    steps = [event.data["step"] for event in platform.machine.events(job_id) if event.type == "metrics"]
    assert steps == list(range(1, STEPS + 1))
