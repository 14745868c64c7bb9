"""A worker on real servers, running the fake rank."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.machine import Machine, running_machine
from tests.kit.trainers import FakeTrainer, Trainer


@pytest.fixture(scope="session")
def trainer() -> Trainer:
    """The program under the worker. The kill tests know nothing else of it: another may stand in."""
    return FakeTrainer()


@pytest.fixture
def machine(tmp_path: Path, database_url: str, redis_url: str, trainer: Trainer) -> Iterator[Machine]:
    """A machine whose worker runs, on servers that are shared: do not kill those."""
    with running_machine(tmp_path, database_url, redis_url, trainer.environment) as running:
        yield running
