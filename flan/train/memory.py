"""Memory of a step, measured before step 1 on the worst batch there can be; and what to do where there is too little.

States (weights, gradients, moments) can be counted; what the network keeps for its backward pass cannot, so a
micro-batch of full packs, with as many supervised tokens as lengths allow, goes forward and back once. With
`micro_batch: auto` the largest one that fits is taken. The choice is in every checkpoint: a resumed run sums
in the same order.
"""

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import torch

from flan.card import Contract
from flan.data.packing import PackedBatch, pack_batch
from flan.data.tokens import Tokens
from flan.data.window import Lengths
from flan.errors import FlanError
from flan.model.load import Model
from flan.model.masks import to_tensors
from flan.model.room import InsufficientMemory, gib, ranks_here
from flan.spec import Document, TuneSpec
from flan.train.objective import Objective
from flan.train.ranks import Ranks
from flan.train.states import checkpoint_bytes, sizes_of, state_bytes

LARGEST_AUTO = {"cpu": 4_096, "cuda": 65_536}
"""Token slots of a micro-batch beyond which `auto` does not go: products are as fast as they get."""
SHARE = 0.85
"""Of the memory that is free: allocators waste some, and others want some."""
SHORTEST_INPUT = 2
_SIGNS = ("DefaultCPUAllocator: can't allocate memory", "CUDA out of memory", "CUDA error: out of memory")


class OutOfMemory(FlanError):
    """There was less memory than the run asked for."""

    code, blame = "out_of_memory", "user"


class MemoryPlan(Document):
    """What one rank needs, in bytes, and how many packs it takes at a time."""

    micro_batch: int
    is_auto: bool
    states_bytes: int
    """Weights, gradients, moments."""
    activations_bytes: int
    """What the worst micro-batch needs besides."""
    snapshot_bytes: int
    """Of the host's: a checkpoint on its way to the disk."""
    room_bytes: int
    """What there was for activations."""


@contextmanager
def out_of_memory_is_told(spec: TuneSpec) -> Iterator[None]:
    """Within it a failed allocation becomes OutOfMemory, with a plan."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        is_out = not isinstance(error, RuntimeError) or isinstance(error, torch.OutOfMemoryError)
        if not is_out and not any(sign in str(error) for sign in _SIGNS):
            raise
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise OutOfMemory(f"out of memory: {first_line[:300]}", hint=ways_out(spec)) from error


def ways_out(spec: TuneSpec) -> str:
    """What would make this run smaller, the cheapest first."""
    ways = []
    if spec.micro_batch == "auto" or spec.micro_batch > 1:
        ways.append(f"micro_batch 1 instead of {spec.micro_batch}")
    if not spec.gradient_checkpointing:
        ways.append("gradient_checkpointing: true")
    if spec.zero_stage < 3 and spec.resources.ranks > 1:
        ways.append(f"zero_stage {spec.zero_stage + 1} or more")
    if spec.optimizer.name == "adamw":
        ways.append("optimizer.name adafactor")
    ways += [
        "more resources.ranks with zero_stage 3",
        "shorter input_length and pack_length",
        "a smaller base",
    ]
    return "try, the cheapest first: " + "; ".join(ways)


def plan_memory(spec: TuneSpec, model: Model, lengths: Lengths, ranks: Ranks, key: str) -> MemoryPlan:
    """How many packs a rank takes at a time, and what that needs; the same at every rank.

    The network is on its device, without gradients; it is left so. Every rank calls it, with a `key` that
    no other run has. Raises InsufficientMemory, with the figures.
    """
    per_rank = -(-spec.packs_per_step // ranks.world_size)
    wanted = (
        _sizes(per_rank, sum(lengths), ranks.device) if spec.micro_batch == "auto" else [spec.micro_batch]
    )
    sizes = sizes_of(model.network, spec.optimizer)
    snapshot = checkpoint_bytes(spec, sizes)
    states = state_bytes(spec, sizes, ranks.world_size)
    with _ready(model, spec, lengths, ranks.device) as step:
        room = _room(model, states, snapshot, ranks)
        needed = _needs(step, wanted, room, ranks.device)
    chosen = max((size for size in wanted if needed[size] <= room), default=0)
    if spec.micro_batch == "auto":
        chosen = ranks.smallest(f"{key} micro-batch", chosen)
    plan = MemoryPlan(
        micro_batch=max(chosen, 1),
        is_auto=spec.micro_batch == "auto",
        states_bytes=states,
        activations_bytes=needed[chosen or wanted[0]],
        snapshot_bytes=snapshot,
        room_bytes=room,
    )
    if chosen == 0:
        raise InsufficientMemory(
            f"a micro-batch of {wanted[0]} packs of {sum(lengths)} tokens needs {gib(plan.activations_bytes)} "
            f"besides {gib(states)} of weights, gradients and optimizer states; there are {gib(room)} for it",
            hint=ways_out(spec),
            **plan.model_dump(),
        )
    return plan


def worst_packs(contract: Contract, lengths: Lengths, target_length: int, num_packs: int) -> PackedBatch:
    """Full packs of examples with the longest targets and the shortest inputs."""
    target, read = target_length, SHORTEST_INPUT
    if contract.architecture == "decoder":
        count = max(1, lengths.input // (target + read))
        left = lengths.input - count * (target + read)
    else:
        count = max(1, lengths.target // target)
        read = lengths.input // count
        left = lengths.input - count * read
    # The first input takes what is left, so that no place is padding.
    sizes = [(read + (left if i == 0 else 0), target) for i in range(count)]
    pack = [Tokens(np.zeros(n, np.int32), np.zeros(m, np.int32)) for n, m in sizes]
    return pack_batch([pack] * num_packs, lengths, contract)


def _sizes(per_rank: int, slots_per_pack: int, device: torch.device) -> list[int]:
    largest = max(1, min(per_rank, LARGEST_AUTO[device.type] // slots_per_pack))
    return [1 << i for i in range(largest.bit_length())]


Step = Callable[[int], None]
"""Forward and backward of a micro-batch of so many worst packs."""


@contextmanager
def _ready(model: Model, spec: TuneSpec, lengths: Lengths, device: torch.device) -> Iterator[Step]:
    """Within it the network can take worst steps; its gradients are there already."""
    objective = Objective(model.network, spec.precision, zero_stage=spec.zero_stage)
    was_training = model.network.training
    objective.train()

    def step(num_packs: int) -> None:
        packs = worst_packs(model.card.contract, lengths, spec.target_length, num_packs)
        objective(to_tensors(packs, device)).backward()

    try:
        for weight in model.network.parameters():
            weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
        yield step
    finally:
        model.network.zero_grad(set_to_none=True)
        objective.train(was_training)
        objective.token_losses = None
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _room(model: Model, states: int, snapshot: int, ranks: Ranks) -> int:
    """What this rank may use for activations: the free memory, less what is still to come."""
    held: int = sum(
        weight.numel() * weight.element_size() * (2 if weight.requires_grad else 1)
        for weight in model.network.parameters()
    )
    to_come = max(0, states - held)
    if ranks.device.type == "cuda":
        free: int = torch.cuda.mem_get_info(ranks.device)[0]
        room = int(free * SHARE) - to_come
    else:
        available: int = psutil.virtual_memory().available
        room = (int(available * SHARE) - snapshot) // ranks_here(ranks.world_size) - to_come
    return max(0, int(room))


def _needs(step: Step, sizes: list[int], room: int, device: torch.device) -> dict[int, int]:
    """Bytes that a micro-batch of each size needs; of sizes beyond the first that does not fit an estimate.

    On the CPU one pack is measured and the rest reckoned: there no allocation fails, the kernel kills.
    """
    needed: dict[int, int] = {}
    per_pack = 0
    for size in sizes:
        if per_pack and (device.type == "cpu" or per_pack * size > 2 * room):
            needed[size] = per_pack * size
            continue
        num_packs = size if device.type == "cuda" else 1
        try:
            per_pack = _peak_bytes(lambda n=num_packs: step(n), device) // num_packs  # type: ignore[misc]
            needed[size] = per_pack * size
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            needed[size] = max(room + 1, per_pack * size)
            break
    return {size: needed.get(size, room + 1) for size in sizes}


def _peak_bytes(work: Callable[[], None], device: torch.device) -> int:
    """How far memory rises during `work`."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        work()
        return max(0, torch.cuda.max_memory_allocated(device) - held)
    give_back()  # what was freed before must not serve unseen
    # Resets the highest resident size of this process (proc(5)).
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    work()
    return max(0, _resident("VmHWM") - before)


def give_back() -> None:
    """Return freed memory of the host to the system: the C library keeps nearly as much as a step ever needed."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _resident(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
