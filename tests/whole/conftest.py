"""One platform and one undisturbed run for all tests of the whole."""

from collections.abc import Iterator

import pytest

from tests.kit.killing import Outcome, outcome
from tests.kit.platform import Platform, running_platform
from tests.kit.real_trainer import TUNE, RealTrainer

CANCEL_GRACE_S = 15.0
"""On a busy machine a step may take seconds."""


@pytest.fixture(scope="session")
def trainer() -> RealTrainer:
    """The program that tunes."""
    return RealTrainer()


@pytest.fixture(scope="package")
def platform() -> Iterator[Platform]:
    """`flan up`. Tests may kill parts of it, and stop it as long as they start it again."""
    with running_platform(FLAN_CANCEL_GRACE_S=str(CANCEL_GRACE_S)) as running:
        yield running


@pytest.fixture(scope="package")
def undisturbed(platform: Platform, trainer: RealTrainer) -> Outcome:
    """What comes out when nothing goes wrong."""
    job_id = platform.submit(TUNE)
    assert platform.until_ended(job_id)["attempt"] == 1
    return outcome(platform.machine, trainer, job_id)
