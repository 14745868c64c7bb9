"""Checkpoints: all that a resumed run needs to go on as if it had never stopped.

    step-00001200-a1/           <step>-<attempt>; written as step-00001200-a1.tmp, renamed when complete
      engine/                   DeepSpeed's files: what is trained, optimizer states
      rank-00000.pt …           random states of each rank
      tokenizer/                the tokenizer of the run
      state.json                CheckpointState: step, stream position, what it belongs to
      MANIFEST.json             sha256 and size of every file above

The manifest is written last and the rename comes after it (flan/train/saver.py): a folder with the final name
is whole. Nothing is read before its bytes have been verified, for DeepSpeed's files are pickles. This room
never deletes a finished checkpoint: whoever supervises the run does.
"""

import errno
import json
import random
import re
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from flan.data.batches import StreamState
from flan.errors import FlanError
from flan.spec import Document, Sha256, TuneSpec, parse
from flan.store import MANIFEST, tree_manifest
from flan.train.progress import Progress
from flan.train.ranks import Ranks
from flan.train.zero import has_frozen

ENGINE, TOKENIZER, STATE = "engine", "tokenizer", "state.json"
DOES_NOT_FIT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NAME = re.compile(r"step-(\d{8,})-a(\d+)")


class CheckpointCorrupt(FlanError):
    """A checkpoint's files are not those of its manifest."""

    code, blame = "checkpoint_corrupt", "infra"


class CheckpointNotWritten(FlanError):
    """Another rank could not write its part; its log says why."""

    code, blame = "checkpoint_not_written", "infra"


class CheckpointMismatch(FlanError):
    """A checkpoint belongs to another run."""

    code, blame = "checkpoint_mismatch", "user"


class CheckpointState(Document):
    """`state.json`."""

    format: Literal[1] = 1
    progress: Progress
    spec: TuneSpec
    """What the run was asked. The document and not its digest: fields that a newer version adds have their defaults."""
    world_size: int
    micro_batch: int
    """Packs that a rank took at a time: the order of its sums."""
    pack_lengths: tuple[int, int] | None = None
    """Lengths of a pack; of a decoder-only model's the second is 0."""
    accumulation: str
    """Type in which gradients are summed."""
    environment: dict[str, str]
    stream: StreamState
    leakage: Sha256 | None = None
    """The report on which training rows share text with held-out rows; None where nothing is held out."""

    @property
    def step(self) -> int:
        """Updates that are in the weights."""
        return self.progress.step


def read_state(directory: Path) -> CheckpointState:
    """What a verified checkpoint says of itself."""
    return parse(CheckpointState, json.loads((directory / STATE).read_text()))


def load(engine: Any, ranks: Ranks, directory: Path) -> None:
    """Put weights, optimizer states and random states back. Every rank calls it, on a fresh engine."""
    engine.load_checkpoint(
        str(directory), tag=ENGINE, load_module_strict=not has_frozen(engine), load_lr_scheduler_states=False
    )
    _set_random_states(torch.load(directory / rank_file(ranks), weights_only=True), ranks)


def rank_file(ranks: Ranks) -> str:
    """The file that is a rank's own: its random states."""
    return f"rank-{ranks.rank:05d}.pt"


def random_states(ranks: Ranks) -> dict[str, Any]:
    """All that is random from here on."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    states = {
        "python": random.getstate(),
        "numpy": (str(kind), torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    return states | ({"cuda": torch.cuda.get_rng_state(ranks.device)} if ranks.device.type == "cuda" else {})


def names(folder: Path) -> list[str]:
    """The checkpoints in `folder`, newest first: by step, then by attempt."""
    found = ((_NAME.fullmatch(path.name), path.name) for path in folder.iterdir())
    return [
        name for _, name in sorted(((_order(match), name) for match, name in found if match), reverse=True)
    ]


def verify(directory: Path) -> None:
    """Raise CheckpointCorrupt unless every file is there with the bytes of the manifest, and no other."""
    try:
        expected = json.loads((directory / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointCorrupt(f"{directory.name} has no readable {MANIFEST}") from error
    found = tree_manifest(directory)
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if wrong:
        raise CheckpointCorrupt(f"{directory.name}: {wrong[0]} is missing or changed", files=wrong[:10])


def sweep(folder: Path, attempt: int) -> None:
    """Remove what earlier attempts left half-written."""
    for path in folder.glob("*.tmp"):
        match = _NAME.fullmatch(path.stem)
        if match and int(match[2]) <= attempt:
            shutil.rmtree(path, ignore_errors=True)


def _order(match: re.Match[str]) -> tuple[int, int]:
    return int(match[1]), int(match[2])


def _set_random_states(states: dict[str, Any], ranks: Ranks) -> None:
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], ranks.device)
