"""Checkpoints: all that a resumed run needs to go on as if it had never stopped.

    step-00001200-a1/           <step>-<attempt>; written as step-00001200-a1.tmp, renamed when complete
      engine/                   DeepSpeed's files: what is trained, optimizer states
      rank-00000.pt …           random states of each rank
      tokenizer/                the tokenizer of the run
      state.json                CheckpointState: step, stream position, what it belongs to
      MANIFEST.json             sha256 and size of every file above

The manifest is written last and the rename comes after it: a folder with the final name is whole. Nothing is
read before its bytes have been verified, for DeepSpeed's files are pickles. This room never deletes a finished
checkpoint: whoever supervises the run does.
"""

import errno
import hashlib
import json
import os
import random
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from transformers import PreTrainedTokenizerFast

from flan.data.batches import StreamState
from flan.errors import DiskFull, FlanError
from flan.spec import Document, Sha256, canonical_json, parse
from flan.store import MANIFEST, sync_directory, sync_tree, tree_manifest, write_atomically
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
    step: int = Field(ge=1)
    """Updates that are in the weights."""
    target_tokens: int
    """Supervised tokens of all steps so far."""
    spec: Sha256
    world_size: int
    accumulation: str
    """Type in which gradients are summed."""
    environment: dict[str, str]
    stream: StreamState
    leakage: Sha256 | None = None
    """The report on which training rows share text with held-out rows; None where nothing is held out."""


class Written(NamedTuple):
    """A finished checkpoint."""

    name: str
    manifest_sha256: str
    size_bytes: int


def write(
    engine: Any,
    ranks: Ranks,
    folder: Path,
    attempt: int,
    state: CheckpointState,
    tokenizer: PreTrainedTokenizerFast,
) -> Written | None:
    """Write a checkpoint into `folder`; what was written, at rank 0. Every rank calls it.

    Raises DiskFull at every rank when any has no room; then nothing of it is left, and older ones are as
    they were.
    """
    name = f"step-{state.step:08d}-a{attempt}"
    temporary = folder / f"{name}.tmp"
    written = None
    with _agreed(ranks, temporary) as failures:
        if ranks.is_first:
            _start(temporary, state, tokenizer, failures)
    with _agreed(ranks, temporary) as failures, _keeping(engine, failures):
        engine.save_checkpoint(str(temporary), tag=ENGINE, save_latest=False, exclude_frozen_parameters=True)
        with _noting(failures):
            torch.save(_random_states(ranks), temporary / _rank_file(ranks))
    with _agreed(ranks, temporary) as failures:
        if ranks.is_first:
            with _noting(failures):
                written = _publish(temporary, folder / name)
    return written


def read_state(directory: Path) -> CheckpointState:
    """What a verified checkpoint says of itself."""
    return parse(CheckpointState, json.loads((directory / STATE).read_text()))


def load(engine: Any, ranks: Ranks, directory: Path) -> None:
    """Put weights, optimizer states and random states back. Every rank calls it, on a fresh engine."""
    engine.load_checkpoint(
        str(directory), tag=ENGINE, load_module_strict=not has_frozen(engine), load_lr_scheduler_states=False
    )
    _set_random_states(torch.load(directory / _rank_file(ranks), weights_only=True), ranks)


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


def _rank_file(ranks: Ranks) -> str:
    return f"rank-{ranks.rank:05d}.pt"


def _start(
    temporary: Path, state: CheckpointState, tokenizer: PreTrainedTokenizerFast, failures: list[Exception]
) -> None:
    with _noting(failures):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        tokenizer.save_pretrained(temporary / TOKENIZER)
        (temporary / STATE).write_text(state.model_dump_json(indent=1) + "\n")


def _publish(temporary: Path, final: Path) -> Written:
    manifest = tree_manifest(temporary)
    text = canonical_json(manifest).encode()
    write_atomically(temporary / MANIFEST, text)
    sync_tree(temporary)
    # The same step of the same attempt, from a run by hand that was started again in its directory.
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    sync_directory(final.parent)
    size = sum(int(entry["size_bytes"]) for entry in manifest.values())
    return Written(final.name, hashlib.sha256(text).hexdigest(), size)


@contextmanager
def _agreed(ranks: Ranks, temporary: Path) -> Iterator[list[Exception]]:
    """A part of the writing that succeeds at all ranks or raises at all."""
    failures: list[Exception] = []
    yield failures
    num_failed, num_full = ranks.sum(len(failures) > 0, any(map(_is_full, failures)))
    if num_failed == 0:
        return
    if ranks.is_first:
        shutil.rmtree(temporary, ignore_errors=True)
    if num_full > 0:
        raise DiskFull(
            f"checkpoint {temporary.stem} did not fit into {temporary.parent}",
            hint="free some space; the checkpoints before it are whole",
        ) from (failures[0] if failures else None)
    if failures:
        raise failures[0]
    raise CheckpointNotWritten(f"{int(num_failed)} ranks could not write checkpoint {temporary.stem}")


@contextmanager
def _noting(failures: list[Exception]) -> Iterator[None]:
    """Within it a failed write is noted: raised at once, it would leave the others waiting for this rank."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        failures.append(error)


@contextmanager
def _keeping(engine: Any, failures: list[Exception]) -> Iterator[None]:
    """The same for the files that DeepSpeed writes between its collectives."""
    writer = engine.checkpoint_engine
    save = writer.save

    def save_noting(state_dict: Any, path: str) -> None:
        with _noting(failures):
            save(state_dict, path)

    writer.save = save_noting
    try:
        yield
    finally:
        del writer.save


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in DOES_NOT_FIT
    # torch reports a failed write as a RuntimeError, with the system's words or its own.
    words = (*(os.strerror(number) for number in DOES_NOT_FIT), "file write failed", "unexpected pos")
    return any(word in str(error) for word in words)


def _random_states(ranks: Ranks) -> dict[str, Any]:
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    states = {
        "python": random.getstate(),
        "numpy": (str(kind), torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    return states | ({"cuda": torch.cuda.get_rng_state(ranks.device)} if ranks.device.type == "cuda" else {})


def _set_random_states(states: dict[str, Any], ranks: Ranks) -> None:
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], ranks.device)
