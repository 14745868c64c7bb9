"""The ranks of an attempt, as their supervisor sees them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flan.rundir import stacks_path
from tests.kit.ranks import wait_until
from workers.launch import Launch, Ranks

PROGRAM = """
import faulthandler, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[-1]) / "logs"
faulthandler.register(signal.SIGUSR2, file=(folder / "rank-0.stacks").open("ab"))
def stand_still():
    (folder / "ready").touch()
    time.sleep(600)
stand_still()
"""


@pytest.fixture
def standing(tmp_path: Path) -> Iterator[Ranks]:
    """One rank that does nothing, and can say so."""
    (tmp_path / "logs").mkdir()
    launch = Launch(
        command=(sys.executable, "-c", PROGRAM),
        directory=tmp_path,
        num_ranks=1,
        device="cpu",
        gpus=(),
        mark="test_launch:1",
        locks=(),
        log_cap_bytes=2**20,
        threads=1,
    )
    ranks = Ranks(launch)
    try:
        wait_until((tmp_path / "logs" / "ready").exists, "the rank to stand still")
        yield ranks
    finally:
        ranks.kill()


def test_a_stopped_rank_is_woken_to_say_where_it_stands(standing: Ranks, tmp_path: Path) -> None:
    """The kernel's word on the process as it was found, and the stack of what it was stopped in."""
    (rank,) = [child for child in psutil.Process().children() if "stand_still" in " ".join(child.cmdline())]
    assert not standing.have_stopped()
    rank.suspend()
    wait_until(standing.have_stopped, "the rank to be stopped")

    (found,) = standing.standings()

    assert found.rank == 0
    assert found.state.startswith("T (stopped)")
    assert any("in stand_still" in line for line in found.stack)
    assert stacks_path(tmp_path, 0).exists()


def test_a_rank_that_has_ended_has_no_stack(standing: Ranks) -> None:
    """Nothing is asked of it, and nothing waits for its answer."""
    standing.kill()

    (found,) = standing.standings()
    assert (found.state, list(found.stack)) == ("ended", [])
