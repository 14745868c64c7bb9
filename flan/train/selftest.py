"""Before step 1: proof, on the very network, tokenizer and examples of the run, that packs teach what they should.

A network may ignore the mask it is given, count positions through the pack, or let gradients pass where
nothing is read; a tokenizer may give other ids once it was saved. No loss curve would show any of it. So

- every token of one segment is replaced, and no logit of the others may move;
- the logits of each segment are compared with those of the segment alone;
- so is the gradient of a pack with the sum of the gradients of its examples;
- the ids in a pack of the run's first examples are compared with those that an evaluation or a server makes
  of their texts, with the tokenizer as it will be exported.

    # B packs, L positions, V vocabulary
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from flan.card import Contract
from flan.data.packing import PackedBatch, PackedDecoder, pack_batch, size
from flan.data.tokens import Fitted, Tokens, encode
from flan.data.window import Lengths
from flan.errors import FlanError
from flan.model.load import Model
from flan.model.masks import forward, to_tensors
from flan.train.objective import Objective, low_precision

SEGMENTS = ((24, 5), (7, 3), (13, 6))
"""Input and target tokens of the probe's segments: uneven, and no two alike."""
ALONE_TOLERANCE = {"fp32": 1e-4, "bf16": 3e-2}
"""Packed against alone, relative to the largest logit: other shapes, so other roundings."""
GRADIENT_TOLERANCE = {"fp32": 1e-3, "bf16": 1e-1}
"""Norm of the difference, relative to the norm of the gradient."""
EDIT_TOLERANCE = {"fp32": 0.0, "bf16": 2.0**-8}
"""Edited against unedited, relative to the largest logit: same shapes, so at most one rounding in bf16."""


class SelfTestFailed(FlanError):
    """Packing would mix examples on this network."""

    code, blame = "selftest_failed", "system"


Reading = Callable[[PreTrainedTokenizerFast], Sequence[Tokens]]
"""A tokenizer → the ids of some examples, read with it."""


def check_all(
    model: Model,
    examples: Sequence[Fitted],
    precision: str,
    device: torch.device,
    reading: Reading | None = None,
) -> None:
    """Raise SelfTestFailed unless `examples` can be packed and learnt from as if each were alone.

    `examples` are some of the run, at its lengths; the network is on `device`. `reading`: how their text becomes
    ids where that is no instruction's way.
    """
    check_ids(model, examples, reading)
    check_isolation(model, precision, device)
    check_gradients(model, precision, device)


def check_ids(model: Model, examples: Sequence[Fitted], reading: Reading | None = None) -> None:
    """Raise SelfTestFailed unless a pack holds, of each example, the ids that its text has everywhere else."""
    contract = model.card.contract
    with tempfile.TemporaryDirectory(prefix="flan-selftest-") as folder:
        model.tokenizer.save_pretrained(folder)
        exported = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokens = [example.tokens for example in examples]
    packed = _unpacked(contract, pack_batch([tokens], _lengths(contract, tokens), contract), len(tokens))
    anew = reading(exported) if reading else [encode(exported, contract, each.rendered) for each in examples]
    for number, (expected, found) in enumerate(zip(anew, packed, strict=True)):
        for what, ids, wanted in zip(("input", "target"), found, expected, strict=True):
            if not np.array_equal(ids, wanted):
                raise SelfTestFailed(
                    f"the {what} of example {number} is {ids.tolist()[:8]} … in its pack, and "
                    f"{wanted.tolist()[:8]} … as an evaluation or a server reads its text",
                    hint="the tokenizer gives other ids after it was saved: save it, load it, and start anew",
                )


def check_gradients(model: Model, precision: str, device: torch.device) -> None:
    """Raise SelfTestFailed unless a pack has the gradient of its examples, one by one."""
    examples = _examples(model)
    objective = Objective(model.network, precision)
    was_training = model.network.training
    model.network.eval()
    try:
        _backward(objective, model, examples, 1.0, device)
        whole = _gradient_norm(model)
        # Taken away again one by one: what is left over is the difference, without a second set of gradients.
        for example in examples:
            _backward(objective, model, [example], -1.0, device)
        left = _gradient_norm(model)
    finally:
        model.network.zero_grad(set_to_none=True)
        model.network.train(was_training)
    if not left <= GRADIENT_TOLERANCE[precision] * whole:
        raise SelfTestFailed(
            f"the gradient of a pack differs from that of its examples alone by {left / whole:.1e} of its norm: "
            f"{type(model.network).__name__} lets gradients pass between them",
            hint="this network cannot be trained on packs",
        )


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


def _backward(
    objective: Objective, model: Model, examples: list[Tokens], sign: float, device: torch.device
) -> None:
    contract = model.card.contract
    batch = to_tensors(pack_batch([examples], _lengths(contract, examples), contract), device)
    (sign * objective(batch)).backward()


def _gradient_norm(model: Model) -> float:
    gradients = [weight.grad for weight in model.network.parameters() if weight.grad is not None]
    return math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))


def _unpacked(contract: Contract, batch: PackedBatch, num_segments: int) -> Iterator[Tokens]:
    """Input and target of each segment of the one pack in `batch`, read off its arrays."""
    targets_L = batch.target_ids[0][batch.loss_weights[0] > 0]
    if isinstance(batch, PackedDecoder):
        segments_L, ids_L = batch.segment_ids[0], batch.token_ids[0]
    else:
        segments_L, ids_L = batch.encoder_segment_ids[0], batch.encoder_ids[0]
    supervised_L = batch.segment_ids[0] if isinstance(batch, PackedDecoder) else batch.decoder_segment_ids[0]
    of_targets_L = supervised_L[batch.loss_weights[0] > 0]
    for segment in range(1, num_segments + 1):
        ids, target = ids_L[segments_L == segment], targets_L[of_targets_L == segment]
        # A decoder's segment ends in its target; that these are the same ids is part of the proof.
        is_decoder = contract.architecture == "decoder"
        yield Tokens(ids[: len(ids) - len(target)] if is_decoder else ids, target)
