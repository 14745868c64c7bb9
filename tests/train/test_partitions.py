"""However weights are cut, each element of each matrix is in one tile of one rank."""

from itertools import pairwise
from math import prod

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from flan.train.partitions import Partition, Plan, Slice, make_plan

SHAPES = st.lists(
    st.one_of(st.tuples(), *(st.tuples(*[st.integers(1, 5)] * n) for n in (1, 2, 3))), min_size=1, max_size=4
)


@given(shapes=SHAPES, num_ranks=st.integers(1, 5), data=st.data())
def test_tiles_of_all_ranks_are_the_matrices(
    shapes: list[tuple[int, ...]], num_ranks: int, data: st.DataObject
) -> None:
    """Row and column sums of all ranks add up to those of the whole matrices, and nothing is counted twice."""
    line = torch.arange(1.0, 1 + sum(map(prod, shapes)))
    cuts = sorted(
        data.draw(st.lists(st.integers(0, len(line)), min_size=num_ranks - 1, max_size=num_ranks - 1))
    )
    edges = [0, *cuts, len(line)]
    found: Tensor | float = 0.0
    touched = []
    for start, stop in pairwise(edges):
        plan = make_plan(Partition(_slices(shapes, start, stop), None), 2, torch.device("cpu"))
        found = found + _factor_sums(plan, line[start:stop])
        touched += [tile.of(line[start:stop]).flatten() for tile in plan.tiles]
    expected = [
        sums
        for weight, shape in zip(line.split([prod(shape) for shape in shapes]), shapes, strict=True)
        if len(shape) > 1 and min(shape[-2:]) >= 2
        for matrix in weight.reshape(-1, *shape[-2:])
        for sums in (matrix.sum(1), matrix.sum(0))
    ]

    assert torch.equal(torch.cat(touched).sort().values, line)
    assert torch.equal(torch.as_tensor(found), torch.cat([torch.zeros(0), *expected]))


def _slices(shapes: list[tuple[int, ...]], first: int, last: int) -> tuple[Slice, ...]:
    slices, place = [], 0
    for shape in shapes:
        start, stop = (min(max(edge - place, 0), prod(shape)) for edge in (first, last))
        slices.append(Slice(shape, start, stop, place + start - first))
        place += prod(shape)
    return tuple(slices)


def _factor_sums(plan: Plan, flat: Tensor) -> Tensor:
    sums = torch.zeros(len(plan.counts))
    for tile in plan.tiles:
        if tile.is_factored:
            sums[tile.rows] += tile.of(flat).sum(1)
            sums[tile.columns] += tile.of(flat).sum(0)
    return sums
