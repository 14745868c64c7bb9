"""Writing checkpoints beside the steps: copy now, write while training goes on, publish when all is written.

A save stops the steps for as long as it takes to copy this rank's state into the host's memory. A thread
writes the copy; the ranks learn in their next collectives how far the others are. When every part lies on
disk, rank 0's thread hashes them, writes the manifest, and renames the folder; only then is it announced.
Before the next save, a pause or the end, the ranks wait for it. A rank that dies in between leaves a folder
with the name `….tmp`, which is no checkpoint.
"""

import copy
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from flan.background import in_background
from flan.errors import DiskFull
from flan.spec import canonical_json
from flan.store import MANIFEST, sync_directory, sync_tree, tree_manifest, write_atomically
from flan.train.checkpoint import (
    DOES_NOT_FIT,
    ENGINE,
    STATE,
    TOKENIZER,
    CheckpointNotWritten,
    CheckpointState,
    random_states,
    rank_file,
)
from flan.train.memory import give_back
from flan.train.ranks import Ranks

LOOK_S = 5.0
"""How long a rank that waits for a write stays away from its collectives."""


class Writing(NamedTuple):
    """How many ranks are busy writing, have failed, and have failed for want of room."""

    busy: float
    failed: float
    full: float


class Written(NamedTuple):
    """A finished checkpoint, as it is announced."""

    step: int
    path: str
    """Name of its folder."""
    manifest_sha256: str
    size_bytes: int


class Saver:
    """Writes the checkpoints of one rank into `folder`, one at a time. Every rank has one.

    `announce` is called at rank 0 in the thread of the steps, once a checkpoint is published.
    """

    def __init__(
        self,
        ranks: Ranks,
        folder: Path,
        attempt: int,
        tokenizer: PreTrainedTokenizerFast,
        announce: Callable[[Written], None],
    ) -> None:
        self._ranks, self._folder, self._attempt = ranks, folder, attempt
        self._tokenizer, self._announce = tokenizer, announce
        # The same at every rank: it changes where the ranks agree alone.
        self._stage: Literal["writing", "publishing"] | None = None
        self._temporary = folder
        self._work: Future[Written | None] | None = None

    def save(self, engine: Any, state: CheckpointState) -> None:
        """Copy the state of `engine` and begin to write it; first the last save is finished.

        Every rank calls it. Raises what `go_on` does.
        """
        self.finish()
        self._temporary = self._folder / f"step-{state.step:08d}-a{self._attempt}.tmp"
        if self._ranks.is_first:
            shutil.rmtree(self._temporary, ignore_errors=True)
        # The copy takes the place of what steps have freed, and does not come on top of it.
        give_back()
        parts = _snapshot(engine, self._temporary)
        parts[self._temporary / rank_file(self._ranks)] = random_states(self._ranks)
        is_first = self._ranks.is_first
        # The thread ends with the process: what it leaves half-written is no checkpoint.
        self._work = in_background(lambda: self._write(parts, state if is_first else None))
        self._stage = "writing"

    def writing(self) -> Writing:
        """How far this rank is; to be summed over the ranks, and handed to `go_on`."""
        if self._work is None:
            return Writing(0, 0, 0)
        if not self._work.done():
            return Writing(1, 0, 0)
        error = self._work.exception()
        return Writing(0, error is not None, error is not None and _is_full(error))

    def go_on(self, agreed: Writing) -> None:
        """Publish when every rank has written, announce when that is done. Every rank calls it with the same.

        Raises DiskFull at every rank when any had no room, and CheckpointNotWritten when another could not
        write for any other reason; then nothing of the checkpoint is left, and older ones are as they were.
        """
        if self._stage is None:
            return
        if agreed.failed:
            self._give_up(agreed)
        if agreed.busy:
            return
        if self._stage == "writing":
            self._stage = "publishing"
            self._work = in_background(self._publish) if self._ranks.is_first else None
            return
        self._stage = None
        if self._work is not None:
            written = self._work.result()
            assert written is not None, "the work of this stage is to publish"
            self._announce(written)
        self._work = None

    def finish(self) -> None:
        """Wait until the last save is published. Every rank calls it; raises what `go_on` does."""
        while self._stage is not None:
            self._wait(LOOK_S)
            self.go_on(Writing(*self._ranks.sum(*self.writing())))

    def _wait(self, timeout_s: float | None) -> None:
        if self._work is not None:
            try:
                self._work.exception(timeout_s)
            except TimeoutError:
                return

    def _write(self, parts: dict[Path, Any], state: CheckpointState | None) -> None:
        """Write this rank's parts; rank 0 those of the run, too. Each leaves memory once it is on disk."""
        self._temporary.mkdir(exist_ok=True)
        if state is not None:
            self._tokenizer.save_pretrained(self._temporary / TOKENIZER)
            (self._temporary / STATE).write_text(state.model_dump_json(indent=1) + "\n")
        while parts:
            path, part = parts.popitem()
            path.parent.mkdir(exist_ok=True)
            torch.save(part, path)
            sync_tree(path)

    def _publish(self) -> Written:
        temporary, final = self._temporary, self._temporary.with_suffix("")
        manifest = tree_manifest(temporary)
        text = canonical_json(manifest).encode()
        write_atomically(temporary / MANIFEST, text)
        sync_tree(temporary)
        # The same step of the same attempt, from a run by hand that was started again in its directory.
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        sync_directory(final.parent)
        size = sum(int(entry["size_bytes"]) for entry in manifest.values())
        step = int(final.name.split("-")[1])
        return Written(step, final.name, hashlib.sha256(text).hexdigest(), size)

    def _give_up(self, agreed: Writing) -> None:
        self._wait(None)
        error = self._work.exception() if self._work is not None else None
        self._ranks.sum(0)  # nobody writes any more
        self._stage = self._work = None
        if self._ranks.is_first:
            shutil.rmtree(self._temporary, ignore_errors=True)
        name = self._temporary.stem
        if agreed.full:
            raise DiskFull(
                f"checkpoint {name} did not fit into {self._folder}",
                hint="free some space; the checkpoints before it are whole",
            ) from error
        if error is not None:
            raise error
        raise CheckpointNotWritten(f"{int(agreed.failed)} ranks could not write checkpoint {name}")


def to_host(value: Any, copies: dict[tuple[Any, ...], Tensor]) -> Any:
    """`value` with every tensor copied into the host's memory: nothing that happens to `value` later changes it.

    One tensor that stands in two places is copied once, so tied weights stay tied. `copies` remembers them.
    """
    if isinstance(value, Tensor):
        key = (value.data_ptr(), value.dtype, value.shape, value.stride(), value.device)
        if key not in copies or value.numel() == 0:
            copies[key] = torch.empty_like(value, device="cpu").copy_(value.detach())
        return copies[key]
    if isinstance(value, Mapping):
        items = {name: to_host(part, copies) for name, part in value.items()}
        return items if type(value) is dict else type(value)(items)  # type: ignore[call-arg]
    if type(value) in (list, tuple):
        return type(value)(to_host(part, copies) for part in value)
    return copy.deepcopy(value)


def _snapshot(engine: Any, temporary: Path) -> dict[Path, Any]:
    """What DeepSpeed would write now, by path. A collective."""
    parts: dict[Path, Any] = {}
    copies: dict[tuple[Any, ...], Tensor] = {}
    with _taking(engine, lambda state, path: parts.update({Path(path): to_host(state, copies)})):
        engine.save_checkpoint(str(temporary), tag=ENGINE, save_latest=False, exclude_frozen_parameters=True)
    return parts


@contextmanager
def _taking(engine: Any, take: Callable[[Any, str], None]) -> Iterator[None]:
    """Within it DeepSpeed touches no disk, and hands to `take` what it would write."""
    writer = engine.checkpoint_engine

    def save(state_dict: Any, path: str) -> None:
        take(state_dict, path)

    writer.save, writer.makedirs = save, lambda *_, **__: None
    try:
        yield
    finally:
        del writer.save, writer.makedirs


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in DOES_NOT_FIT
    # torch reports a failed write as a RuntimeError, with the system's words or its own.
    words = (*(os.strerror(number) for number in DOES_NOT_FIT), "file write failed", "unexpected pos")
    return any(word in str(error) for word in words)
