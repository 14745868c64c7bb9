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
from torch import Tensor, nn

from flan.spec import TuneSpec
from flan.train.optim import make_optimizer

ACCUMULATION = "float32"
"""The type in which gradients are summed over micro-batches and ranks."""
KEEP_GATHERED = 4_096
"""Elements up to which ZeRO-3 leaves a weight on every rank: norms and biases, not matrices."""


def make_engine(module: nn.Module, spec: TuneSpec, world_size: int) -> Any:
    """`module` under DeepSpeed. Every rank calls it, with the same weights; it keeps rank 0's."""
    # Imported here: the accelerator is chosen at import, from the environment that meet() has set.
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    optimizer = make_optimizer(module.parameters(), spec.optimizer)
    engine, *_ = deepspeed.initialize(
        model=module, optimizer=optimizer, config=configuration(spec, world_size)
    )
    # A program in every checkpoint that nobody runs.
    engine._copy_recovery_script = lambda _: None
    return engine


def configuration(spec: TuneSpec, world_size: int) -> dict[str, Any]:
    """DeepSpeed's configuration for `spec`."""
    packs_per_rank = -(-spec.packs_per_step // world_size)
    return {
        "train_micro_batch_size_per_gpu": spec.micro_batch,
        "gradient_accumulation_steps": -(-packs_per_rank // spec.micro_batch),
        "gradient_clipping": spec.optimizer.gradient_clip,
        "zero_optimization": {
            "stage": spec.zero_stage,
            "overlap_comm": False,
            "stage3_param_persistence_threshold": KEEP_GATHERED,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "checkpoint": {"tag_validation": "Ignore"},
        "steps_per_print": None,
    }


def local_squares(engine: Any) -> float:
    """This rank's part of the squared norm of the step's gradient; NaN or infinite if the gradient is.

    To be called after the last backward of a step and before the update. The parts of all ranks add up to
    the squared norm at every stage: at 0 each rank holds all of it and counts its share.
    """
    squares = sum((gradient.double().square().sum() for gradient in _gradients(engine)), torch.zeros(()))
    return float(squares) / (engine.world_size if engine.zero_optimization_stage() == 0 else 1)


def _gradients(engine: Any) -> Iterator[Tensor]:
    if engine.zero_optimization_stage() == 0:
        return (weight.grad for weight in engine.module.parameters() if weight.grad is not None)
    # Group → gradients of the weights this rank updates.
    return (gradient for group in engine.optimizer.averaged_gradients.values() for gradient in group)


def full_weights(engine: Any) -> dict[str, Tensor] | None:
    """All weights in fp32 on the CPU, at rank 0; None elsewhere. Every rank calls it."""
    if engine.zero_optimization_stage() == 3:
        return engine._zero3_consolidated_16bit_state_dict()  # type: ignore[no-any-return]
    if engine.global_rank > 0:
        return None
    return {name: weight.detach().cpu() for name, weight in engine.module.state_dict().items()}
