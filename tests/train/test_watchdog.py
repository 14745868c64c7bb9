"""A rank whose peer stands still gives up, and says where it stood."""

import signal
from pathlib import Path

from flan import rundir
from flan.train.watchdog import EXIT_HUNG, limit
from tests.kit.ranks import PATIENCE_S, ranks, wait_until
from tests.kit.runs import TinyRuns, metrics, outcome

STALL_S = 4.0


def test_the_limit_is_learned_from_the_steps() -> None:
    """Ten median steps, never less than the minimum; one slow step among many changes nothing."""
    assert limit([], 120) == 120
    assert limit([0.5] * 9, 120) == 120
    assert limit([30.0] * 9, 120) == 300
    assert limit([0.1] * 50 + [3600.0], 120) == 120


def test_a_rank_whose_peer_was_stopped_gives_up(tmp_path: Path) -> None:
    """SIGSTOP of rank 0: rank 1 waits in a collective that no peer joins, ends as hung, and shows its stacks."""
    runs = TinyRuns(tmp_path)
    spec = runs.resolve(steps=10_000, checkpoint_every=10_000, resources={"ranks": 2, "device": "cpu"})
    directory = runs.prepare(spec, "stopped", stall_s=STALL_S)
    with ranks(["flan", "run", str(directory)], 2, directory / "logs" / "ranks.log") as processes:
        wait_until(lambda: max(metrics(directory), default=0) >= 5, "step 5", processes)
        processes[0].send_signal(signal.SIGSTOP)

        assert processes[1].wait(PATIENCE_S) == EXIT_HUNG
        assert processes[0].poll() is None

    told = outcome(directory)
    assert (told["status"], told["code"], told["blame"]) == ("failed", "hung", "infra")
    assert told["values"]["step"] >= 5
    stacks = rundir.stacks_path(directory, 1).read_text()
    assert "in all_reduce" in stacks
    assert "in train" in stacks
