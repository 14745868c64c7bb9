"""The GPUs of this machine, and the locks that keep two runs off one of them.

The ledger gives a GPU to one job at a time. The lock is the second wall: it is inherited by every rank, so
the kernel frees it only when the last of them is gone, even if everything above was killed, and even if
two platforms were set up on one machine.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from flan.errors import FlanError

_QUERY = "index,uuid,name,memory.total"


class GpuBusy(FlanError):
    """Some process still holds the GPU, though no job of the ledger does."""

    code: ClassVar[str] = "gpu_busy"
    blame = "infra"


@dataclass(frozen=True)
class Gpu:
    """One GPU."""

    index: int
    uuid: str
    name: str
    memory_bytes: int


def find_gpus() -> list[Gpu]:
    """The GPUs that nvidia-smi shows, less those that CUDA_VISIBLE_DEVICES hides; none without nvidia-smi."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = subprocess.run(
        [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if asked.returncode != 0:  # the program without a driver: a CPU machine
        return []
    return visible(parse_gpus(asked.stdout), os.environ.get("CUDA_VISIBLE_DEVICES"))


def parse_gpus(listing: str) -> list[Gpu]:
    """The lines of nvidia-smi's CSV."""
    gpus = []
    for line in filter(None, listing.splitlines()):
        index, uuid, name, mebibytes = (part.strip() for part in line.split(","))
        # A GPU that shares its host's memory reports none of its own.
        memory = int(mebibytes) * 2**20 if mebibytes.isdecimal() else 0
        gpus.append(Gpu(int(index), uuid, name, memory))
    return gpus


def visible(gpus: Sequence[Gpu], setting: str | None) -> list[Gpu]:
    """The GPUs that a value of CUDA_VISIBLE_DEVICES lets through; None = all."""
    if setting is None:
        return list(gpus)
    wanted = [part.strip() for part in setting.split(",") if part.strip()]
    return [
        gpu for gpu in gpus if any(part == str(gpu.index) or gpu.uuid.startswith(part) for part in wanted)
    ]


def lock_gpus(uuids: Sequence[str]) -> list[int]:
    """File descriptors that hold the locks, for the ranks to inherit. Raises GpuBusy."""
    handles: list[int] = []
    try:
        for uuid in uuids:
            handles.append(_open_lock(uuid))
            fcntl.flock(handles[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        release(handles)
        raise GpuBusy(f"GPU {uuid} is held by another process", hint="see nvidia-smi") from error
    return handles


def release(handles: Sequence[int]) -> None:
    """Let go of our share of the locks; they are free when the last rank has let go of its own."""
    for handle in handles:
        os.close(handle)


def _open_lock(uuid: str) -> int:
    # One place for the whole machine, whoever runs there; never through somebody's link.
    path = Path(tempfile.gettempdir()) / f"flan-gpu-{uuid.replace('/', '-')}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    if os.fstat(handle).st_uid == os.geteuid():
        os.fchmod(handle, 0o666)
    return handle
