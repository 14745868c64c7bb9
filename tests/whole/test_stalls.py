"""A rank that is stopped, with the real trainer under a real worker: noticed, told, and made good."""

import random

import pytest

from tests.kit.killing import Outcome, survived
from tests.kit.platform import running_platform
from tests.kit.real_trainer import CHECKPOINT_EVERY, STEPS, TUNE, RealTrainer


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", [0, 1])
def test_job_survives_a_rank_that_is_stopped(trainer: RealTrainer, undisturbed: Outcome, victim: int) -> None:
    """SIGSTOP of one of two ranks: the attempt ends as hung, with the stacks of both; the result is the same."""
    with running_platform(FLAN_STALL_S="5") as platform:
        job_id = platform.submit(TUNE | {"name": "stalled"})
        platform.until_step(job_id, random.randint(CHECKPOINT_EVERY + 1, STEPS // 2))
        platform.machine.rank(job_id, victim).suspend()

        platform.until_ended(job_id)

        first, second = survived(platform.machine, trainer, job_id, undisturbed)
        assert first.error is not None
        assert (first.ending, first.error["code"], first.error["blame"]) == ("fault", "hung", "infra")
        standings = {standing["rank"]: standing for standing in first.error["values"]["ranks"]}
        assert standings[victim]["state"].startswith("T (stopped)")
        assert all(any("in train" in line for line in each["stack"]) for each in standings.values())
        assert second.resumed_from
