"""Before step 1: proof, on the very network that will be trained, that segments of a pack are isolated.

A network may ignore the mask it is given, or count positions through the pack; no loss curve would show it.
So every token of one segment is replaced, and no logit of the others may move; and the logits of each
segment are compared with those of the segment alone.

    # B packs, L positions, V vocabulary
"""

import numpy as np
import torch
from torch import Tensor

from flan.card import Contract
from flan.data.packing import Lengths, pack_batch, size
from flan.data.tokens import Tokens
from flan.errors import FlanError
from flan.model.load import Model
from flan.model.masks import forward, to_tensors
from flan.train.objective import low_precision

SEGMENTS = ((24, 5), (7, 3), (13, 6))
"""Input and target tokens of the probe's segments: uneven, and no two alike."""
ALONE_TOLERANCE = {"fp32": 1e-4, "bf16": 3e-2}
"""Packed against alone, relative to the largest logit: other shapes, so other roundings."""
EDIT_TOLERANCE = {"fp32": 0.0, "bf16": 2.0**-8}
"""Edited against unedited, relative to the largest logit: same shapes, so at most one rounding in bf16."""


class SelfTestFailed(FlanError):
    """Packing would mix examples on this network."""

    code, blame = "selftest_failed", "system"


@torch.inference_mode()
def check_isolation(model: Model, precision: str, device: torch.device) -> None:
    """Raise SelfTestFailed unless a pack's segments are computed as if each were alone."""
    was_training = model.network.training
    model.network.eval()
    try:
        _check_edits(model, precision, device)
        _check_alone(model, precision, device)
    finally:
        model.network.train(was_training)


def _check_edits(model: Model, precision: str, device: torch.device) -> None:
    examples = _examples(model)
    segments_BL, before_BLV = _logits(model, examples, precision, device)
    for edited in range(len(examples)):
        changed = [
            _replaced(model, example) if i == edited else example for i, example in enumerate(examples)
        ]
        _, after_BLV = _logits(model, changed, precision, device)
        others_BL = (segments_BL != edited + 1) & (segments_BL > 0)
        moved = _difference(before_BLV[others_BL], after_BLV[others_BL])
        if not moved <= EDIT_TOLERANCE[precision]:
            raise SelfTestFailed(
                f"replacing every token of one packed example moves the logits of others by {moved:.1e} of the "
                f"largest: {type(model.network).__name__} does not keep to its attention mask",
                hint="this network cannot be trained on packs",
            )


def _check_alone(model: Model, precision: str, device: torch.device) -> None:
    examples = _examples(model)
    segments_BL, packed_BLV = _logits(model, examples, precision, device)
    for i, example in enumerate(examples):
        own_BL, alone_BLV = _logits(model, [example], precision, device)
        differing = _difference(alone_BLV[own_BL == 1], packed_BLV[segments_BL == i + 1])
        if not differing <= ALONE_TOLERANCE[precision]:
            raise SelfTestFailed(
                f"an example's logits in a pack differ from its logits alone by {differing:.1e} of the largest: "
                f"{type(model.network).__name__} does not restart its positions in each segment",
                hint="this network cannot be trained on packs",
            )


def _examples(model: Model) -> list[Tokens]:
    random = np.random.default_rng(0)
    vocabulary, longest = len(model.tokenizer), max(2, model.card.context_length // 4)
    shapes = [(min(num_input, longest), min(num_target, longest)) for num_input, num_target in SEGMENTS]
    return [Tokens(*(random.integers(vocabulary, size=n, dtype=np.int32) for n in shape)) for shape in shapes]


def _replaced(model: Model, example: Tokens) -> Tokens:
    return Tokens(*((ids + 1) % len(model.tokenizer) for ids in example))


def _logits(
    model: Model, examples: list[Tokens], precision: str, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Segment of each place that has logits, and the logits, of one pack with some padding."""
    contract = model.card.contract
    batch = to_tensors(pack_batch([examples], _lengths(contract, examples), contract), device)
    with low_precision(device, precision == "bf16"):
        logits_BLV = forward(model.network, batch).float()
    is_decoder = contract.architecture == "decoder"
    return batch["segment_ids" if is_decoder else "decoder_segment_ids"], logits_BLV


def _lengths(contract: Contract, examples: list[Tokens]) -> Lengths:
    sizes = [size(contract, example) for example in examples]
    num_input, num_target = sum(each.input for each in sizes), sum(each.target for each in sizes)
    return Lengths(num_input + 3, num_target + 3 if num_target else 0)


def _difference(expected: Tensor, found: Tensor) -> float:
    """Largest difference, relative to the largest expected value; NaN where either holds one."""
    return float((expected - found).abs().max() / expected.abs().max())
