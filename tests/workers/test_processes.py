"""Process trees: identity, death with the parent, what carries the mark."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from workers.launch import Launch, Ranks, log_path, log_tail
from workers.processes import MARK, identity, is_surely_dead, kill_marked

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


def launched(directory: Path, code: str, num_ranks: int = 1, log_cap_bytes: int = 2**20) -> Ranks:
    """Ranks that run a piece of Python."""
    (directory / "logs").mkdir()
    command = (sys.executable, "-c", code)
    return Ranks(
        Launch(command, directory, num_ranks, "cpu", (), f"mark:{directory.name}", (), log_cap_bytes)
    )


def until_ended(ranks: Ranks) -> None:
    """Wait for the processes themselves."""
    for child in psutil.Process().children():
        if child.name().startswith("python"):
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert ranks.have_ended


def test_rank_gets_the_run_directory_and_its_place(tmp_path: Path) -> None:
    """Its number, the size of the world, and the directory as the last word."""
    code = "import os, sys; print(os.environ['RANK'], os.environ['WORLD_SIZE'], sys.argv[1])"
    ranks = launched(tmp_path, code, num_ranks=2)
    until_ended(ranks)

    assert [log_tail(tmp_path, rank) for rank in (0, 1)] == [[f"0 2 {tmp_path}"], [f"1 2 {tmp_path}"]]
    assert {(exit_.rank, exit_.status) for exit_ in ranks.exits()} == {(0, 0), (1, 0)}
    ranks.kill()


def test_kill_reaches_what_wiped_its_environment(tmp_path: Path) -> None:
    """A grandchild in its own session and without the mark is still a descendant."""
    code = (
        "import subprocess, sys, signal\n"
        "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'], env={}, start_new_session=True)\n"
        "print('up', flush=True); signal.pause()"
    )
    ranks = launched(tmp_path, code)
    path = log_path(tmp_path, 0)
    while "up" not in path.read_text():
        assert not ranks.have_ended
    family = psutil.Process().children(recursive=True)
    assert len(family) == 2

    ranks.kill()

    # Here nobody adopts orphans, as a supervisor does: init buries the grandchild.
    assert not psutil.wait_procs(family, timeout=20)[1]


def test_signals_are_seen_before_the_failures_they_cause(tmp_path: Path) -> None:
    """The rank that was killed is named, not the one that failed for want of it."""
    code = (
        "import os, signal\n"
        "if os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
        "raise SystemExit(1)"
    )
    ranks = launched(tmp_path, code, num_ranks=2)
    until_ended(ranks)

    assert [tuple(exit_) for exit_ in ranks.exits()] == [(1, -9), (0, 1)]
    ranks.kill()


def test_log_over_its_cap_is_set_aside(tmp_path: Path) -> None:
    """A rank that talks without end cannot fill the disk; its last lines stay."""
    ranks = launched(tmp_path, "print('x' * 9000)", log_cap_bytes=4096)
    until_ended(ranks)

    ranks.rotate_logs()

    assert log_path(tmp_path, 0).stat().st_size == 0
    assert (tmp_path / "logs" / "rank-0.log.1").stat().st_size == 9001
    ranks.kill()


def test_last_lines_of_a_long_log(tmp_path: Path) -> None:
    """The failure record quotes fifty lines, each of bounded length."""
    (tmp_path / "logs").mkdir()
    log_path(tmp_path, 0).write_text("".join(f"line {n}\n" for n in range(50_000)) + "y" * 5000)

    tail = log_tail(tmp_path, 0)

    assert len(tail) == 50
    assert tail[-2] == "line 49999"
    assert len(tail[-1]) == 2000
    assert log_tail(tmp_path, 1) == []
