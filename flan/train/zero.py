"""DeepSpeed, as far as it is used: an engine that shards optimizer, gradients and weights (ZeRO 0 to 3).

Weights, gradients and their sums are fp32 in every mode: bf16 is the type of the matrix products alone
(flan/train/objective.py), never of an accumulator, so all stages compute the same and an export holds the
master weights. The loss is divided by the whole step's target tokens before it comes here; DeepSpeed only
averages over ranks, which the objective undoes.
"""

import logging
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from flan.spec import TuneSpec
from flan.train.adafactor import Adafactor
from flan.train.optim import make_optimizer
from flan.train.partitions import Partition, Slice
from flan.train.states import LARGEST_GATHERED, bucket_size

ACCUMULATION = "float32"
"""The type in which gradients are summed over micro-batches and ranks."""
KEEP_GATHERED = 4_096
"""Elements up to which ZeRO-3 leaves a weight on every rank: norms and biases, not matrices."""


def make_engine(module: nn.Module, spec: TuneSpec, world_size: int) -> Any:
    """`module` under DeepSpeed. Every rank calls it, with the same weights; it keeps rank 0's."""
    # Imported here: the accelerator is chosen at import, from the environment that meet() has set.
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    optimizer = make_optimizer(trained, spec.optimizer)
    num_trained = sum(weight.numel() for weight in trained)
    engine, *_ = deepspeed.initialize(
        model=module, optimizer=optimizer, config=configuration(spec, world_size, num_trained)
    )
    if isinstance(optimizer, Adafactor):
        optimizer.place(partitions(engine))
    # A program in every checkpoint that nobody runs.
    engine._copy_recovery_script = lambda _: None
    if has_frozen(engine) and spec.zero_stage < 3:
        # DeepSpeed leaves out a frozen weight under one of its names only: tied ones would be kept.
        engine.module_state_dict = lambda *_, **__: dict(_trained(engine))
    return engine


def configuration(spec: TuneSpec, world_size: int, num_trained: int) -> dict[str, Any]:
    """DeepSpeed's configuration for `spec`, where so many weights are trained."""
    packs_per_rank = -(-spec.packs_per_step // world_size)
    return {
        "train_micro_batch_size_per_gpu": spec.settled_micro_batch,
        "gradient_accumulation_steps": -(-packs_per_rank // spec.settled_micro_batch),
        "gradient_clipping": spec.optimizer.gradient_clip,
        "zero_optimization": {
            "stage": spec.zero_stage,
            "overlap_comm": False,
            "reduce_bucket_size": bucket_size(num_trained),
            "stage3_max_live_parameters": LARGEST_GATHERED,
            "stage3_param_persistence_threshold": KEEP_GATHERED,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        # Ours is told what the flat partitions hold.
        "zero_allow_untested_optimizer": True,
        "checkpoint": {"tag_validation": "Ignore"},
        "steps_per_print": None,
    }


def partitions(engine: Any) -> dict[Tensor, Partition]:
    """What each of the flat tensors that the optimizer updates holds; at stage 0 there are none.

    A rank calls it before any update: it compares every slice with the weight it is of.
    """
    stage = engine.zero_optimization_stage()
    if stage == 0:
        return {}
    found = _parts_of_weights(engine.optimizer) if stage == 3 else _parts_of_a_line(engine.optimizer)
    return dict(found)


def _parts_of_a_line(zero: Any) -> Iterator[tuple[Tensor, Partition]]:
    """Stages 1 and 2: a group's weights end to end, filled up to a multiple of the ranks, a part to each."""
    for i, flat in enumerate(zero.single_partition_of_fp32_groups):
        group = zero.real_dp_process_group[i]
        first = dist.get_rank(group) * flat.numel()
        line = zip(zero.round_robin_bit16_groups[i], zero.round_robin_bit16_offsets[i], strict=True)
        slices = []
        for weight, place in line:
            start, stop = (
                min(max(edge - place, 0), weight.numel()) for edge in (first, first + flat.numel())
            )
            slices.append(Slice(tuple(weight.shape), start, stop, place + start - first))
            _check_slice(flat, slices[-1], weight.flatten()[start:stop])
        yield flat, Partition(tuple(slices), group)


def _parts_of_weights(zero: Any) -> Iterator[tuple[Tensor, Partition]]:
    """Stage 3: each weight cut by itself, filled up to a multiple of the ranks; a rank's parts end to end."""
    for i, flat in enumerate(zero.fp32_partitioned_groups_flat):
        group = zero.sub_group_process_groups[i]
        slices, place = [], 0
        for weight in zero.fp16_groups[i]:
            size = weight.partition_numel()
            first = dist.get_rank(group) * size
            start, stop = (min(edge, weight.ds_numel) for edge in (first, first + size))
            slices.append(Slice(tuple(weight.ds_shape), start, stop, place))
            _check_slice(flat, slices[-1], weight.ds_tensor[: stop - start])
            place += size
        assert place == flat.numel(), "a partition holds its weights and nothing else"
        yield flat, Partition(tuple(slices), group)


def _check_slice(flat: Tensor, part: Slice, expected: Tensor) -> None:
    found = flat[part.offset : part.offset + part.stop - part.start]
    assert torch.equal(found, expected), f"DeepSpeed keeps a weight of {part.shape} elsewhere than at {part}"


def local_squares(engine: Any) -> float:
    """This rank's part of the squared norm of the step's gradient; NaN or infinite if the gradient is.

    To be called after the last backward of a step and before the update. The parts of all ranks add up to
    the squared norm at every stage: at 0 each rank holds all of it and counts its share.
    """
    # Summed in float64, without a copy in float64.
    norms = [torch.linalg.vector_norm(gradient, dtype=torch.float64) for gradient in _gradients(engine)]
    squares = float(torch.stack(norms).square().sum()) if norms else 0.0
    return squares / (engine.world_size if engine.zero_optimization_stage() == 0 else 1)


def _gradients(engine: Any) -> Iterator[Tensor]:
    if engine.zero_optimization_stage() == 0:
        return (weight.grad for weight in engine.module.parameters() if weight.grad is not None)
    # Group → gradients of the weights this rank updates.
    return (gradient for group in engine.optimizer.averaged_gradients.values() for gradient in group)


def trained_weights(engine: Any) -> dict[str, Tensor] | None:
    """What is trained, in fp32 on the CPU, by name, at rank 0; None elsewhere. Every rank calls it."""
    if engine.zero_optimization_stage() == 3:
        return engine._zero3_consolidated_16bit_state_dict(exclude_frozen_parameters=True)  # type: ignore[no-any-return]
    if engine.global_rank > 0:
        return None
    return {name: weight.cpu() for name, weight in _trained(engine)}


def has_frozen(engine: Any) -> bool:
    """Whether some of the weights are not trained."""
    return any(not weight.requires_grad for weight in engine.module.parameters())


def _trained(engine: Any) -> Iterator[tuple[str, Tensor]]:
    weights = engine.module.named_parameters()
    return ((name, weight.detach()) for name, weight in weights if weight.requires_grad)
