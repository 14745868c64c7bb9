"""Which parts of which weights a flat partition holds, and how a matrix is seen through one.

ZeRO lays weights end to end and cuts the line into equal parts, one a rank. A cut may go through a row, so
what lies here of a matrix is up to three rectangles: the rest of a row, whole rows, the beginning of a row.

    # R rows, C columns of a matrix
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class Slice(NamedTuple):
    """The part of a weight that lies in a partition: its elements `start` … `stop` − 1, in row order."""

    shape: tuple[int, ...]
    """Of the whole weight."""
    start: int
    stop: int
    offset: int
    """Where in the partition the first of them lies."""


class Partition(NamedTuple):
    """What a flat tensor holds, and who has the rest."""

    slices: tuple[Slice, ...]
    """Of every weight of the group, also of those with nothing here, in one order at all ranks."""
    group: dist.ProcessGroup | None
    """The ranks that share the weights; None where this one has all of them."""


class Tile(NamedTuple):
    """A rectangle of a matrix that lies in one piece in a partition; of a vector, one row."""

    matrix: int
    begin: int
    """In the partition, of height × width elements."""
    height: int
    width: int
    rows: slice
    """Of the factors: those of the rectangle's rows. Empty where the matrix is not factored."""
    columns: slice
    all_rows: slice
    """Those of all R rows of the matrix."""
    squares: slice
    """Of the moments that are not factored. Empty where they are."""

    @property
    def is_factored(self) -> bool:
        """Whether it is part of a matrix with row and column statistics."""
        return self.all_rows != slice(0, 0)

    def of(self, flat: Tensor) -> Tensor:
        """This rectangle of a partition: a view of (height, width)."""
        return flat[self.begin : self.begin + self.height * self.width].view(self.height, self.width)


@dataclass(frozen=True)
class Plan:
    """A partition as matrices and tiles. Every rank has the same matrices, and its own tiles."""

    tiles: tuple[Tile, ...]
    numels: Tensor
    """Elements of each matrix, a vector being one too."""
    counts: Tensor
    """How many elements each factor is the mean of: C for one of the R rows, R for one of the C columns."""
    num_squares: int
    """Moments of this partition that are not factored."""
    group: dist.ProcessGroup | None


def make_plan(partition: Partition, factored_from: int, device: torch.device) -> Plan:
    """How to see `partition`: matrices with both sides of at least `factored_from` are factored.

    A weight of more than two dimensions is a stack of matrices.
    """
    tiles: list[Tile] = []
    numels: list[int] = []
    counts: list[int] = []
    num_squares = 0
    for part in partition.slices:
        height, width = part.shape[-2:] if len(part.shape) > 1 else (1, prod(part.shape))
        is_factored = len(part.shape) > 1 and min(height, width) >= factored_from
        for first in range(0, prod(part.shape), max(1, height * width)):
            all_rows = slice(len(counts), len(counts) + (height if is_factored else 0))
            begin, end = (min(max(edge - first, 0), height * width) for edge in (part.start, part.stop))
            offset = part.offset + first + begin - part.start
            if is_factored:
                tiles += _factored_tiles(len(numels), begin, end, offset, all_rows, width)
                counts += [width] * height + [height] * width
            elif begin < end:
                squares = slice(num_squares, num_squares + end - begin)
                tiles.append(
                    Tile(len(numels), offset, 1, end - begin, slice(0), slice(0), slice(0, 0), squares)
                )
                num_squares = squares.stop
            numels.append(height * width)
    return Plan(tuple(tiles), _vector(numels, device), _vector(counts, device), num_squares, partition.group)


def _factored_tiles(
    matrix: int, begin: int, end: int, offset: int, all_rows: slice, width: int
) -> Iterator[Tile]:
    """The rectangles of elements `begin` … `end` − 1 of a matrix with C = `width` columns."""
    while begin < end:
        row, column = divmod(begin, width)
        if column == 0 and end - begin >= width:
            tile_height, tile_width = (end - begin) // width, width
        else:
            tile_height, tile_width = 1, min(width - column, end - begin)
        rows = slice(all_rows.start + row, all_rows.start + row + tile_height)
        columns = slice(all_rows.stop + column, all_rows.stop + column + tile_width)
        yield Tile(matrix, offset, tile_height, tile_width, rows, columns, all_rows, slice(0))
        begin, offset = begin + tile_height * tile_width, offset + tile_height * tile_width


def _vector(values: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=device)
