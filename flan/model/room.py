"""What memory a rank has for a model: what is too large is refused before it is there, with figures."""

import os

import psutil
import torch

from flan.errors import FlanError

BYTES = {"fp32": 4, "bf16": 2}
"""Of one weight."""


class InsufficientMemory(FlanError):
    """What a rank must keep exceeds the memory there is."""

    code, blame = "insufficient_memory", "user"


def check_weights(num_weights: int, precision: str, zero_stage: int, world_size: int, device: str) -> None:
    """Raise InsufficientMemory when the ranks of this node cannot hold a model that only answers."""
    needed = num_weights * BYTES[precision] // (world_size if zero_stage == 3 else 1)
    present = memory_of_rank(torch.device(device), world_size)
    if needed > present:
        way = "more resources.ranks" if zero_stage == 3 else "zero_stage: 3 with more resources.ranks"
        raise InsufficientMemory(
            f"{num_weights:,} parameters in {precision} at ZeRO stage {zero_stage} over {world_size} ranks need "
            f"{gib(needed)} at each; there are {gib(present)}",
            hint=f"take {way}, or precision: bf16",
            pointer="/zero_stage",
            needed_bytes=needed,
            present_bytes=present,
        )


def memory_of_rank(device: torch.device, world_size: int) -> int:
    """Bytes of memory on the device of a rank; on a CPU it has its share of the machine's."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return psutil.virtual_memory().total // ranks_here(world_size)


def ranks_here(world_size: int) -> int:
    """How many ranks share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size))


def gib(num_bytes: int) -> str:
    """A size for people."""
    return f"{num_bytes / 2**30:.2f} GiB"
