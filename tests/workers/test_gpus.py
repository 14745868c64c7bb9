"""GPUs: what nvidia-smi says, and locks that outlive everything but the last rank."""

import os
import subprocess
import sys
import uuid

import pytest

from workers.gpus import Gpu, GpuBusy, find_gpus, lock_gpus, parse_gpus, release, visible

LISTING = """0, GPU-aaaa, NVIDIA H100 80GB HBM3, 81559
1, GPU-bbbb, NVIDIA GB10, [N/A]
"""


def test_listing_is_read() -> None:
    """Names hold spaces, memory is in MiB, and some report none."""
    assert parse_gpus(LISTING) == [
        Gpu(0, "GPU-aaaa", "NVIDIA H100 80GB HBM3", 81559 * 2**20),
        Gpu(1, "GPU-bbbb", "NVIDIA GB10", 0),
    ]


@pytest.mark.parametrize(
    ("setting", "seen"), [(None, [0, 1]), ("", []), ("1", [1]), ("GPU-aa", [0]), ("0, 1", [0, 1])]
)
def test_hidden_gpus_are_not_offered(setting: str | None, seen: list[int]) -> None:
    """CUDA_VISIBLE_DEVICES of the worker holds for its ranks."""
    assert [gpu.index for gpu in visible(parse_gpus(LISTING), setting)] == seen


def test_locked_gpu_is_busy_until_the_last_rank_is_gone() -> None:
    """A rank inherits the lock: ours may be gone, the GPU is still held."""
    name = f"test-{uuid.uuid4()}"
    handles = lock_gpus([name])
    with pytest.raises(GpuBusy, match=name):
        lock_gpus(["test-other-" + name, name])
    rank = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=handles
    )
    release(handles)
    with pytest.raises(GpuBusy):
        lock_gpus([name])

    rank.communicate()
    release(lock_gpus([name]))
    for lock in (name, "test-other-" + name):
        os.unlink(f"/tmp/flan-gpu-{lock}.lock")  # noqa: PTH108


@pytest.mark.gpu
def test_gpus_of_this_machine_are_found() -> None:
    """Each has a UUID of its own, and memory."""
    gpus = find_gpus()

    assert gpus
    assert len({gpu.uuid for gpu in gpus}) == len(gpus)
    assert all(gpu.memory_bytes > 2**30 for gpu in gpus)
