"""SIGKILL of everything that can be killed, with the real trainer: the result is that of an undisturbed run."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psutil
import pytest

from tests.kit.killing import Outcome, kill_rank, kill_supervisor, survived
from tests.kit.platform import Platform, has_ended, running_platform
from tests.kit.real_trainer import CHECKPOINT_EVERY, STEPS, TUNE, RealTrainer
from workers.ledger.tables import Attempt

pytestmark = pytest.mark.timeout(900)
LAST_STRIKE = STEPS - 24
"""Strikes come a little late: what is seen at this step is gone before the last."""
KILLS: dict[str, Callable[[Platform, str], None]] = {
    "rank": lambda platform, job_id: kill_rank(platform.machine, job_id),
    "supervisor": lambda platform, job_id: kill_supervisor(platform.machine, job_id),
    "worker": lambda platform, _: platform.kill("worker"),
    "api": lambda platform, _: platform.kill("api"),
    "redis": lambda platform, _: platform.kill("redis"),
    "postgres": lambda platform, _: platform.kill("postgres"),
}
ENDS_AN_ATTEMPT = ("rank", "supervisor", "worker")


def a_seed() -> int:
    """Another one each time; a failing test shows it."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return seed


def strike(platform: Platform, job_id: str, victim: str, step: int) -> None:
    """Kill `victim` once a checkpoint is published and `step` was taken, and before the last step was."""
    job = platform.until_step(job_id, step)
    KILLS[victim](platform, job_id)
    reached = platform.told_step(job_id, job["attempt"])
    print(f"{victim} killed between steps {step} and {reached} of attempt {job['attempt']}")
    assert reached < STEPS, "the strike came too late to prove anything"


def changed_hands(platform: Platform, job_id: str, attempt: int) -> None:
    """Returns when `attempt` has begun."""
    platform.until_job(job_id, lambda job: job["attempt"] == attempt, f"to be at attempt {attempt}")


@contextmanager
def standing_still(ranks: Sequence[psutil.Process]) -> Iterator[None]:
    """Within, the ranks do not reach the end, however long something else takes."""
    for rank in ranks:
        rank.suspend()
    yield
    for rank in ranks:
        rank.resume()


def went_on(attempts: Sequence[Attempt], num_metrics: int) -> None:
    """Assert that each attempt began from a checkpoint, and not everything was done again."""
    assert all(attempt.resumed_from for attempt in attempts[1:])
    assert STEPS <= num_metrics < 2 * STEPS


def num_metrics(platform: Platform, job_id: str) -> int:
    """Steps that were told, those that were taken again included."""
    return sum(event.type == "metrics" for event in platform.machine.events(job_id))


def _survives(platform: Platform, trainer: RealTrainer, undisturbed: Outcome, victim: str) -> None:
    step = random.Random(a_seed()).randint(CHECKPOINT_EVERY + 1, LAST_STRIKE)
    job_id = platform.submit(TUNE | {"name": f"without-{victim}"})

    strike(platform, job_id, victim, step)

    platform.until_ended(job_id)
    attempts = survived(platform.machine, trainer, job_id, undisturbed)
    assert len(attempts) == (2 if victim in ENDS_AN_ATTEMPT else 1)
    went_on(attempts, num_metrics(platform, job_id))
    platform.until_ready()


def test_job_survives_the_kill_of_a_rank(
    platform: Platform, trainer: RealTrainer, undisturbed: Outcome
) -> None:
    """Losses and weights equal those of an undisturbed run to the last bit; nothing is left over."""
    _survives(platform, trainer, undisturbed, "rank")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [victim for victim in KILLS if victim != "rank"])
def test_job_survives_the_kill_of(
    platform: Platform, trainer: RealTrainer, undisturbed: Outcome, victim: str
) -> None:
    """The same for what watches over the ranks, and for what the ranks do not even know of."""
    _survives(platform, trainer, undisturbed, victim)


@pytest.mark.slow
def test_job_survives_the_kill_of_all_in_turn(
    platform: Platform, trainer: RealTrainer, undisturbed: Outcome
) -> None:
    """Six kills of six kinds in one run, in any order: it goes on each time from where it was."""
    dice = random.Random(a_seed())
    victims = dice.sample(list(KILLS), len(KILLS))
    steps = sorted(dice.sample(range(CHECKPOINT_EVERY + 1, LAST_STRIKE), len(KILLS)))
    job_id = platform.submit(TUNE | {"name": "without-any"})
    attempt = 1

    for victim, step in zip(victims, steps, strict=True):
        strike(platform, job_id, victim, step)
        if victim in ENDS_AN_ATTEMPT:
            attempt += 1
            changed_hands(platform, job_id, attempt)
        else:
            with standing_still(platform.machine.ranks(job_id)):
                platform.until_ready()

    platform.until_ended(job_id)
    attempts = survived(platform.machine, trainer, job_id, undisturbed)
    assert [tried.number for tried in attempts] == [1, 2, 3, 4]
    went_on(attempts, num_metrics(platform, job_id))


@pytest.mark.slow
def test_supervisor_that_slept_through_its_lease_writes_nothing(
    trainer: RealTrainer, undisturbed: Outcome
) -> None:
    """Stopped beyond its lease, continued while another owns the job: refused by its fence, whatever it heard."""
    step = random.Random(a_seed()).randint(CHECKPOINT_EVERY + 1, LAST_STRIKE)
    with running_platform(FLAN_LEASE_S="10", FLAN_HEARTBEAT_S="1") as platform:
        job_id = platform.submit(TUNE)
        platform.until_step(job_id, step)
        zombie, its_ranks = platform.machine.supervisor(job_id), platform.machine.ranks(job_id)
        zombie.suspend()
        assert platform.told_step(job_id, 1) < STEPS

        changed_hands(platform, job_id, 2)
        successors = platform.until(lambda: others(platform, job_id, its_ranks), "two ranks of the new owner")
        with standing_still(successors):
            # Unwatched, its ranks have gone on to the end and left it much to tell.
            first = platform.home / "runs" / job_id / "attempt-1"
            platform.until((first / "outcome.json").exists, "the ranks of the sleeping supervisor to end")
            before = len(platform.machine.events(job_id))
            zombie.resume()
            platform.until(lambda: all(map(has_ended, [zombie, *its_ranks])), "the refused to end")
            assert len(platform.machine.events(job_id)) == before

        platform.until_ended(job_id)
        attempts = survived(platform.machine, trainer, job_id, undisturbed)
        assert [tried.ending for tried in attempts] == ["lost", "succeeded"]
        assert attempts[1].resumed_from
        log = (platform.home / "runs" / job_id / "supervisor.log").read_text()
        assert "fenced: the job changed hands" in log


def others(
    platform: Platform, job_id: str, known: Sequence[psutil.Process]
) -> Sequence[psutil.Process] | None:
    """The two ranks of a job that are not among `known`, once there are two."""
    found = [rank for rank in platform.machine.ranks(job_id) if rank not in known]
    return found if len(found) == 2 else None
