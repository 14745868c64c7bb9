"""What a run keeps besides activations, counted: weights, gradients, and the states of its optimizer."""

from collections.abc import Iterable
from math import prod
from typing import NamedTuple

import torch
from torch import nn

from flan.spec import Optimizer, TuneSpec
from flan.train.partitions import Partition, Slice, make_plan

FLOAT = 4
"""Bytes of an fp32 number: weights, gradients and states are all kept in it."""
LARGEST_BUCKET = 50_000_000
"""Gradients that ZeRO reduces at a time, 200 MB: DeepSpeed's default is ten times as large."""
LARGEST_GATHERED = 1_000_000_000
"""Weights that ZeRO-3 has gathered at a time: below that none is gathered twice for a micro-batch."""


class Sizes(NamedTuple):
    """How many numbers a network and its optimizer consist of."""

    weights: int
    trained: int
    """Of the weights, those that get a gradient."""
    moments: int
    """Of the optimizer, for single weights: ZeRO shares them out."""
    factors: int
    """Of the optimizer, for rows and columns: every rank has them all."""


def sizes_of(network: nn.Module, wanted: Optimizer) -> Sizes:
    """What `network` consists of when `wanted` trains its weights with a gradient. A tied weight counts once."""
    weights = list(network.parameters())
    shapes = [tuple(weight.shape) for weight in weights if weight.requires_grad]
    trained = sum(map(prod, shapes))
    moments, factors = (
        (2 * trained, 0) if wanted.name == "adamw" else _adafactor(shapes, wanted.factored_from)
    )
    return Sizes(sum(weight.numel() for weight in weights), trained, moments, factors)


def bucket_size(num_trained: int) -> int:
    """Room that ZeRO has for gradients on their way, besides the gradients themselves."""
    return min(num_trained, LARGEST_BUCKET)


def state_bytes(spec: TuneSpec, sizes: Sizes, world_size: int) -> int:
    """Bytes that one rank keeps when it keeps most, which at stage 1 is the last backward pass of a step."""
    weights, trained = sizes.weights, sizes.trained
    if spec.zero_stage == 0:
        return FLOAT * (weights + trained + sizes.moments + sizes.factors)
    # Whole at each rank, and shared out: master weights, gradients as they come and as they are summed.
    whole, shared = {
        1: (weights + trained, 2 * trained),
        2: (weights, 3 * trained),
        3: (min(weights, LARGEST_GATHERED), weights + trained),
    }[spec.zero_stage]
    return FLOAT * (whole + (shared + sizes.moments) // world_size + sizes.factors + bucket_size(trained))


def checkpoint_bytes(spec: TuneSpec, sizes: Sizes) -> int:
    """Size of a checkpoint, all ranks of it together, small parts aside: what is trained and its states."""
    copies = 2 if spec.zero_stage in (1, 2) else 1
    num_factors = sizes.factors * (spec.resources.ranks if spec.zero_stage > 0 else 1)
    return FLOAT * (copies * sizes.trained + sizes.moments + num_factors)


def _adafactor(shapes: Iterable[tuple[int, ...]], factored_from: int) -> tuple[int, int]:
    plans = [
        make_plan(Partition((Slice(shape, 0, prod(shape), 0),), None), factored_from, torch.device("cpu"))
        for shape in shapes
    ]
    return sum(plan.num_squares for plan in plans), sum(len(plan.counts) for plan in plans)
