"""Which checkpoint a run goes on from, and whether it may."""

import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import JsonValue

from flan.rundir import RunSettings
from flan.spec import TuneSpec
from flan.train.checkpoint import (
    CheckpointCorrupt,
    CheckpointMismatch,
    CheckpointState,
    names,
    read_state,
    verify,
)
from flan.train.ranks import Ranks

LATEST = "latest"
PACKAGES = ("torch", "deepspeed", "transformers", "tokenizers", "numpy")
Warn = Callable[[str, str], None]
"""Takes a code and a message."""


def choose(settings: RunSettings, spec: TuneSpec, world_size: int, warn: Warn) -> Path | None:
    """The checkpoint to go on from, verified; None = from the start.

    A broken one that was asked for by name is an error; "latest" passes over it with a warning. One that
    belongs to another spec or another number of ranks is refused, never passed over: the run would quietly
    start anew beside it. Raises CheckpointCorrupt, CheckpointMismatch.
    """
    if settings.resume_from is None:
        return None
    folder = Path(settings.checkpoints)
    candidates = names(folder) if settings.resume_from == LATEST else [settings.resume_from]
    for name in candidates:
        try:
            verify(folder / name)
        except CheckpointCorrupt as error:
            if settings.resume_from != LATEST:
                raise
            warn(error.code, f"{error.message}; going back to the one before")
            continue
        check_same(read_state(folder / name), name, spec, world_size)
        return folder / name
    return None


def check_same(state: CheckpointState, name: str, spec: TuneSpec, world_size: int) -> None:
    """Raise CheckpointMismatch unless the checkpoint is of this spec and this number of ranks."""
    # First: where the ranks differ, the specs mostly do, and for that very reason.
    if state.world_size != world_size:
        raise CheckpointMismatch(
            f"checkpoint {name} was written by {state.world_size} ranks, this run has {world_size}: optimizer "
            "states lie in shards, one for each rank",
            hint=f"go on with {state.world_size} (resources.ranks). To use {world_size}, let it end with "
            f"{state.world_size}, and hand in a new job whose base is the model it writes: weights fit any number "
            "of ranks, optimizer states and random states do not",
            checkpoint_ranks=state.world_size,
            ranks=world_size,
        )
    differing = sorted(_differing(state.spec.model_dump(mode="json"), spec.model_dump(mode="json")))
    if differing:
        raise CheckpointMismatch(
            f"checkpoint {name} is of another spec: it differs in {', '.join(differing[:3])}"
            + (f" and {len(differing) - 3} more" if len(differing) > 3 else ""),
            hint="use another folder for checkpoints, or go on with the spec that began it",
            differing=differing[:100],
        )


def _differing(one: JsonValue, other: JsonValue, pointer: str = "") -> Iterator[str]:
    """JSON pointers to what two documents do not share."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from _differing(one.get(key), other.get(key), f"{pointer}/{key}")
    elif one != other:
        yield pointer


def check_left_out(spec: TuneSpec, state: CheckpointState, leakage: str | None) -> None:
    """Raise CheckpointMismatch where other rows are left out now than when the checkpoint was written.

    `leakage` is the report on this run's rows. The same rows give the same report, unless its rules have changed.
    """
    if spec.leakage.policy == "drop" and state.leakage != leakage:
        raise CheckpointMismatch(
            "other training rows share text with held-out rows than when the checkpoint was written: the rules of "
            "the comparison have changed since",
            hint="begin anew in another folder, or go on with the version that began",
        )


def environment(ranks: Ranks) -> dict[str, str]:
    """What a bit-exact continuation depends on, besides the spec."""
    is_cuda = ranks.device.type == "cuda"
    return {package: version(package) for package in PACKAGES} | {
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(ranks.device)
        if is_cuda
        else torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
    }
