"""Ranks that are forked from a process that has imported what they need."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flan import rundir
from flan.local import RankProcesses
from flan.rundir import RunSettings
from flan.spec import EvaluateSpec
from flan.warm import WarmRank, WarmRanks
from tests.kit.platform import has_ended
from tests.kit.ranks import PATIENCE_S, wait_until

pytestmark = pytest.mark.timeout(600)


def prepared(folder: Path, *, ranks: int = 1) -> Path:
    """A run directory whose rank fails at once: what it pins is not in its store."""
    spec = EvaluateSpec(name="e", model="m", tasks=("rte",)).model_copy(update={"pins": None})
    settings = RunSettings(attempt=1, store=str(folder / "store"), checkpoints=str(folder / "c"), ranks=ranks)
    rundir.prepare(folder, spec, settings)
    return folder


def endless(folder: Path) -> Path:
    """A run directory whose rank gets no further than its first file: nobody reads it."""
    os.mkfifo(rundir.stacks_path(prepared(folder), 0))
    return folder


def server() -> psutil.Process:
    """The process that ranks are forked from."""
    [found] = [each for each in psutil.Process().children() if "flan.warm" in " ".join(each.cmdline())]
    return found


def test_each_rank_ends_with_its_own_status_log_and_outcome(tmp_path: Path) -> None:
    """One process for all, which has one thread when it forks; a rank that loses it is lost."""
    with WarmRanks() as ranks:
        first = ranks.start(prepared(tmp_path / "a")).wait(PATIENCE_S)
        made_by, threads = server(), server().num_threads()
        second = ranks.start(prepared(tmp_path / "b")).wait(PATIENCE_S)
        lost = ranks.start(endless(tmp_path / "c"))
        wait_until(lambda: len(made_by.children()) == 1, "the rank to be forked")
        [forked] = made_by.children()
        made_by.kill()

        assert lost.wait(PATIENCE_S) == -signal.SIGKILL
        wait_until(lambda: has_ended(forked), "the rank to end with it", patience_s=PATIENCE_S / 4)
    assert (first, second, threads) == (1, 1, 1)
    assert has_ended(made_by)
    for name in ("a", "b"):
        outcome = rundir.read_outcome(tmp_path / name)
        assert outcome is not None and outcome.code == "internal"
        assert (tmp_path / name / "logs" / "rank-0.log").read_text().count("Traceback") == 1


def test_ending_a_rank_that_has_not_begun_ends_what_it_would_come_from(tmp_path: Path) -> None:
    """Importing takes seconds: whoever gives up does not wait for it. The next rank has another process."""
    with WarmRanks() as ranks:
        first = ranks.start(prepared(tmp_path / "a"))
        with pytest.raises(subprocess.TimeoutExpired):
            first.wait(0)
        first.end()

        assert first.returncode == -signal.SIGKILL
        again = ranks.start(prepared(tmp_path / "b"))
        assert isinstance(again, WarmRank)
        again.end()


def test_it_ends_with_its_starter(tmp_path: Path) -> None:
    """However that one ends, and a rank with it."""
    code = (
        "import signal, sys; from pathlib import Path; from flan.warm import WarmRanks\n"
        "ranks = WarmRanks(); ranks.start(Path(sys.argv[1])); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code, endless(tmp_path / "a")]) as starter:
        seen = psutil.Process(starter.pid)
        wait_until(lambda: len(seen.children(recursive=True)) == 2, "the rank to be forked")
        made = seen.children(recursive=True)
        starter.kill()

    assert not psutil.wait_procs(made, timeout=PATIENCE_S / 4)[1]


def test_several_ranks_start_as_ever(tmp_path: Path) -> None:
    """torchrun makes its processes itself."""
    with WarmRanks() as ranks:
        started = ranks.start(prepared(tmp_path / "a", ranks=2))
        started.end()

    assert isinstance(started, RankProcesses)
