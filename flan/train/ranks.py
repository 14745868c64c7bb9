"""The ranks of a run: how they find each other, agree, and wait.

A rank comes to know the others in two steps. First they meet at a key-value store: rank 0 does what is
slow (training a tokenizer, verifying checkpoints) while the rest wait for its word, under no collective's
timeout. Then they form the process group in which every further step is a collective of all.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist

# Public, but not declared as exported.
from torch.distributed import HashStore, PrefixStore, Store, rendezvous  # type: ignore[attr-defined]

PREPARE_TIMEOUT = timedelta(hours=2)
"""How long the others wait for rank 0 to prepare."""
COLLECTIVE_TIMEOUT = timedelta(minutes=10)
"""How long a rank waits in a collective: a broken link shows no other sign. Longest honest wait: for a peer whose
first step compiles its kernels; after it the watchdog's limit is shorter (flan/train/watchdog.py)."""


@dataclass(frozen=True)
class Ranks:
    """This rank among its peers."""

    rank: int
    world_size: int
    device: torch.device
    store: Store

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes what is written once."""
        return self.rank == 0

    def tell(self, key: str, word: str) -> None:
        """Rank 0: say `word` to whoever asks for `key`."""
        self.store.set(key, word)

    def hear(self, key: str) -> str:
        """Wait for what rank 0 says under `key`. Raises DistStoreError when it takes PREPARE_TIMEOUT."""
        return str(self.store.get(key).decode())

    def smallest(self, key: str, value: int) -> int:
        """The smallest `value` of all ranks; before there is a process group. `key` is used once."""
        self.store.set(f"{key} {self.rank}", str(value))
        return min(int(self.store.get(f"{key} {rank}").decode()) for rank in range(self.world_size))

    def sum(self, *values: float) -> list[float]:
        """The sums of `values` over all ranks, in float64. A collective."""
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()


def meet(device: Literal["cpu", "cuda"], threads: int = 1) -> Ranks:
    """Find the other ranks, by the environment of torchrun; without it this rank is alone.

    On the CPU a rank computes with one thread, so that its sums have one order and a resumed run can equal
    an undisturbed one bit for bit; `threads` gives that up for speed.
    """
    # Read when DeepSpeed is imported and when an engine is made.
    os.environ.setdefault("LOCAL_RANK", "0")
    if device == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
        torch.set_num_threads(threads)
    else:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    rank, world_size, store = _rendezvous()
    place = torch.device(device, int(os.environ["LOCAL_RANK"])) if device == "cuda" else torch.device("cpu")
    return Ranks(rank, world_size, place, store)


def _rendezvous() -> tuple[int, int, Store]:
    if "WORLD_SIZE" not in os.environ:
        return 0, 1, HashStore()
    store, rank, world_size = next(rendezvous("env://", timeout=PREPARE_TIMEOUT))
    return rank, world_size, store


@contextmanager
def process_group(ranks: Ranks, timeout: timedelta = COLLECTIVE_TIMEOUT) -> Iterator[None]:
    """The collectives of all ranks, for DeepSpeed too: gloo on CPUs, NCCL on GPUs."""
    # Imported here: the accelerator is chosen at import, from the environment that meet() has set.
    import deepspeed
    from deepspeed.ops import __compatible_ops__

    # DeepSpeed's own all-reduce in shared memory is compiled for half a minute at first use, needs a
    # compiler, and gains nothing measurable over gloo.
    __compatible_ops__["deepspeed_shm_comm"] = False
    backend = "nccl" if ranks.device.type == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        store=PrefixStore("group", ranks.store),
        rank=ranks.rank,
        world_size=ranks.world_size,
        timeout=timeout,
    )
    try:
        deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, timeout=timeout)
        # What imports have made is there to stay: walking it costs a quarter of a second at each collection,
        # which comes in the middle of a step, and before each checkpoint.
        gc.collect()
        gc.freeze()
        yield
    finally:
        dist.destroy_process_group()
