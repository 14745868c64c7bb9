"""Process trees: identity, death with the parent, what carries the mark."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from workers.launch import Launch, Ranks, log_path, log_tail
from workers.processes import MARK, adopt_orphans, identity, is_surely_dead, kill_marked

PAUSE = "import signal; print('up', flush=True); signal.pause()"


def started(code: str = PAUSE, **environment: str) -> subprocess.Popen[bytes]:
    """A Python process that has said that it runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ | environment
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return process


def test_identity_outlives_neither_process_nor_boot() -> None:
    """A pid that is used again is somebody else, and nobody of an earlier boot is alive."""
    process = started()
    alive = identity(process.pid)
    boot, namespace, pid, began = alive.split("/")
    assert not is_surely_dead(alive)
    assert is_surely_dead(f"{boot}/{namespace}/{pid}/{int(began) - 1}")
    assert is_surely_dead(f"another-boot/{namespace}/{pid}/{began}")
    assert not is_surely_dead(f"{boot}/1/{pid}/1"), "another pid namespace cannot be judged"

    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_surely_dead(alive), "a zombie does nothing any more"
    process.wait()
    assert is_surely_dead(alive)


def test_child_dies_with_its_parent() -> None:
    """However the parent ends, the kernel ends the child."""
    code = (
        "import subprocess, sys, os, signal\n"
        "from flan.processes import child_of\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'],"
        " preexec_fn=child_of(os.getpid()))\n"
        "print(child.pid, flush=True); signal.pause()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.stdout.close()

    parent.kill()
    parent.wait()

    assert not psutil.wait_procs([child], timeout=20)[1]


def test_everything_that_carries_the_mark_is_killed_and_nothing_else() -> None:
    """Processes of another attempt of the same job are another mark."""
    mine, other = started(**{MARK: "job_1:1"}), started(**{MARK: "job_1:10"})

    kill_marked("job_1:1")

    assert mine.wait(timeout=10) == -signal.SIGKILL
    assert other.poll() is None
    other.kill()
    other.wait()


def alone(body: Callable[[Path], None], directory: Path) -> None:
    """Run `body` as a supervisor would: every process below it belongs to the attempt."""
    process = multiprocessing.get_context("spawn").Process(target=body, args=(directory,))
    process.start()
    process.join(timeout=60)
    assert process.exitcode == 0, "what failed is on standard error"
    process.close()


def launched(directory: Path, code: str, num_ranks: int = 1, log_cap_bytes: int = 2**20) -> Ranks:
    """Ranks that run a piece of Python."""
    adopt_orphans()
    (directory / "logs").mkdir()
    command = (sys.executable, "-c", code)
    return Ranks(
        Launch(
            command, directory, num_ranks, "cpu", (), f"mark:{directory.name}", (), log_cap_bytes, threads=1
        )
    )


def until_ended(ranks: Ranks, num_ranks: int) -> None:
    """Wait for the processes themselves, and leave their status to who asks next."""
    children = psutil.Process().children()
    assert len(children) == num_ranks
    for child in children:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert ranks.have_ended


def two_ranks_say_who_they_are(directory: Path) -> None:
    """Body of the test below."""
    code = "import os, sys; print(os.environ['RANK'], os.environ['WORLD_SIZE'], sys.argv[1])"
    ranks = launched(directory, code, num_ranks=2)
    until_ended(ranks, 2)

    assert [log_tail(directory, rank) for rank in (0, 1)] == [[f"0 2 {directory}"], [f"1 2 {directory}"]]
    assert {(exit_.rank, exit_.status) for exit_ in ranks.exits()} == {(0, 0), (1, 0)}
    ranks.kill()


def test_rank_gets_the_run_directory_and_its_place(tmp_path: Path) -> None:
    """Its number, the size of the world, and the directory as the last word."""
    alone(two_ranks_say_who_they_are, tmp_path)


def grandchild_without_a_mark(directory: Path) -> None:
    """Body of the test below."""
    code = (
        "import subprocess, sys, signal\n"
        "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'], env={}, start_new_session=True)\n"
        "print('up', flush=True); signal.pause()"
    )
    ranks = launched(directory, code)
    while "up" not in log_path(directory, 0).read_text():
        assert not ranks.have_ended
    family = psutil.Process().children(recursive=True)
    assert len(family) == 2

    ranks.kill()

    assert not [process for process in family if process.is_running()], "killed and buried"
    assert [exit_.status for exit_ in ranks.exits()] == [-signal.SIGKILL]


def test_kill_reaches_what_wiped_its_environment(tmp_path: Path) -> None:
    """A grandchild in its own session and without the mark is still a descendant; a rank's status stays true."""
    alone(grandchild_without_a_mark, tmp_path)


def one_killed_one_failed(directory: Path) -> None:
    """Body of the test below."""
    code = (
        "import os, signal\n"
        "if os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
        "raise SystemExit(1)"
    )
    ranks = launched(directory, code, num_ranks=2)
    until_ended(ranks, 2)

    assert [tuple(exit_) for exit_ in ranks.exits()] == [(1, -9), (0, 1)]
    ranks.kill()


def test_signals_are_seen_before_the_failures_they_cause(tmp_path: Path) -> None:
    """The rank that was killed is named, not the one that failed for want of it."""
    alone(one_killed_one_failed, tmp_path)


def talkative_rank(directory: Path) -> None:
    """Body of the test below."""
    ranks = launched(directory, "print('x' * 9000)", log_cap_bytes=4096)
    until_ended(ranks, 1)

    ranks.rotate_logs()

    assert log_path(directory, 0).stat().st_size == 0
    assert (directory / "logs" / "rank-0.log.1").stat().st_size == 9001
    ranks.kill()


def test_log_over_its_cap_is_set_aside(tmp_path: Path) -> None:
    """A rank that talks without end cannot fill the disk; its last lines stay."""
    alone(talkative_rank, tmp_path)


def test_last_lines_of_a_long_log(tmp_path: Path) -> None:
    """The failure record quotes fifty lines, each of bounded length."""
    (tmp_path / "logs").mkdir()
    log_path(tmp_path, 0).write_text("".join(f"line {n}\n" for n in range(50_000)) + "y" * 5000)

    tail = log_tail(tmp_path, 0)

    assert len(tail) == 50
    assert tail[-2] == "line 49999"
    assert len(tail[-1]) == 2000
    assert log_tail(tmp_path, 1) == []
