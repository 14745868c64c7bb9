"""The arrays of a few steps in memory that processes share: one writes, the others copy what they need.

The memory has no name: it is gone when the last process that holds it is, however that ended.
"""

import mmap
import os
from typing import NamedTuple, Self

import numpy as np

from flan.data.packing import PackedBatch, PackedDecoder, PackedEncoderDecoder

_ALIGNED = 64  # bytes; a cache line


class Layout(NamedTuple):
    """How the arrays of a step lie in their slot; every step of a stream has the same."""

    architecture: str
    shapes: tuple[tuple[int, ...], ...]
    types: tuple[str, ...]

    @classmethod
    def of(cls, batch: PackedBatch) -> Self:
        """The layout of steps that look like `batch`."""
        architecture = "decoder" if isinstance(batch, PackedDecoder) else "encoder_decoder"
        return cls(architecture, tuple(each.shape for each in batch), tuple(each.dtype.str for each in batch))

    @property
    def starts(self) -> list[int]:
        """Where each array begins, and at the end where the slot ends, in bytes."""
        starts = [0]
        for shape, type_ in zip(self.shapes, self.types, strict=True):
            size = int(np.prod(shape)) * np.dtype(type_).itemsize
            starts.append(starts[-1] + -(-size // _ALIGNED) * _ALIGNED)
        return starts


class Ring:
    """`slots` steps of one layout, in the memory behind a file descriptor, which the ring keeps open."""

    def __init__(self, layout: Layout, slots: int, handle: int | None = None) -> None:
        self.layout, self.slots = layout, slots
        size = layout.starts[-1] * slots
        if handle is None:
            handle = os.memfd_create("flan-steps")
            os.ftruncate(handle, size)
        self.handle = handle
        self._memory = mmap.mmap(handle, size)

    def write(self, step: int, batch: PackedBatch) -> None:
        """Put a step into its slot, over the one that was `slots` before it."""
        for array, place in zip(batch, self._places(step), strict=True):
            place[...] = array

    def read(self, step: int) -> PackedBatch:
        """A copy of a step."""
        kind = PackedDecoder if self.layout.architecture == "decoder" else PackedEncoderDecoder
        return kind._make([place.copy() for place in self._places(step)])

    def _places(self, step: int) -> list[np.ndarray]:
        *starts, size = self.layout.starts
        base = step % self.slots * size
        return [
            np.ndarray(shape, type_, self._memory, base + start)
            for shape, type_, start in zip(self.layout.shapes, self.layout.types, starts, strict=True)
        ]
