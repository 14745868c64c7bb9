"""What can be known before step 1: that the lengths fit the network, the states the memory, and the
checkpoints the disk. Hours later the same faults cost hours."""

import shutil
from pathlib import Path

import torch

from flan.card import ModelCard
from flan.data.plan import ContextTooShort, most_checkpoints
from flan.errors import DiskFull, FlanError
from flan.model.room import InsufficientMemory, gib, memory_of_rank
from flan.spec import TuneSpec
from flan.train.states import FLOAT, Sizes, checkpoint_bytes, state_bytes


class InputsNotLearned(FlanError):
    """An encoder-decoder cannot learn its inputs."""

    code, blame = "inputs_not_learned", "user"


def check_context(spec: TuneSpec, card: ModelCard) -> None:
    """Raise ContextTooShort unless the longest example of `spec` fits the model's context."""
    is_decoder = card.contract.architecture == "decoder"
    together = spec.input_length + spec.target_length
    longest = together if is_decoder else max(spec.input_length, spec.target_length)
    if longest > card.context_length:
        raise ContextTooShort(
            f"input_length {spec.input_length} with target_length {spec.target_length} needs {longest} tokens; "
            f"the context of {spec.base} has {card.context_length}",
            hint="lower input_length or target_length, or take a base with a longer context",
            pointer="/input_length",
            needed=longest,
            context_length=card.context_length,
        )


def check_objective(spec: TuneSpec, card: ModelCard) -> None:
    """Raise InputsNotLearned where `loss_on: all` is asked of a model whose inputs are only read."""
    if spec.loss_on == "all" and card.contract.architecture == "encoder_decoder":
        raise InputsNotLearned(
            f"loss_on all: {spec.base} is an encoder-decoder, which predicts no token of its input",
            hint="leave loss_on out, or take a decoder-only base",
            pointer="/loss_on",
        )


def check_memory(spec: TuneSpec, sizes: Sizes, world_size: int, device: torch.device) -> None:
    """Raise InsufficientMemory when the ranks of this node cannot hold their states, activations aside."""
    present = memory_of_rank(device, world_size)
    needed = state_bytes(spec, sizes, world_size)
    if needed > present:
        raise InsufficientMemory(
            f"{sizes.weights:,} parameters at ZeRO stage {spec.zero_stage} over {world_size} ranks need at "
            f"least {gib(needed)} at each; there are {gib(present)}",
            hint="raise zero_stage or resources.ranks, or take a smaller base",
            needed_bytes=needed,
            present_bytes=present,
        )


def check_disk(spec: TuneSpec, sizes: Sizes, checkpoints: Path) -> None:
    """Raise DiskFull unless all checkpoints that lie there at a time fit, and the exported model."""
    count = most_checkpoints(spec)
    needed = count * checkpoint_bytes(spec, sizes) + sizes.weights * FLOAT
    free = shutil.disk_usage(checkpoints).free
    if needed > free:
        raise DiskFull(
            f"{count} checkpoints and the model need {gib(needed)} in {checkpoints}; {gib(free)} are free",
            hint="free some space, put checkpoints on a larger disk, or keep fewer (keep_checkpoints, pinned_steps)",
            needed_bytes=needed,
            free_bytes=free,
        )
