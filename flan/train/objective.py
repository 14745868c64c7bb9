"""What is minimised: the cross-entropy of target tokens, summed.

    # B packs, L positions, N supervised positions of a micro-batch, V vocabulary

A sum, never a mean: it is divided once, by the target tokens of the whole step over every rank and
micro-batch, so that a short answer weighs as much as its tokens, however the step is split up.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from flan.model.masks import Batch, forward


class Objective(nn.Module):
    """A network with its loss: one module, so that a sharded engine sees one call."""

    def __init__(self, network: PreTrainedModel, precision: str) -> None:
        super().__init__()
        self.network = network
        self._is_bf16 = precision == "bf16"
        self.token_losses: Tensor | None = None
        """Loss of each supervised token of the last micro-batch, in order of (pack, place); detached."""

    def forward(self, batch: Batch) -> Tensor:
        """Summed loss, in nats, of a micro-batch: a scalar in fp32. A batch without targets has 0."""
        supervised_BL = batch["loss_weights"] > 0
        with low_precision(supervised_BL.device, self._is_bf16), head_at(self.network, supervised_BL):
            logits_NV = forward(self.network, batch)
        losses_N = token_losses(
            logits_NV.float(), batch["target_ids"][supervised_BL], batch["loss_weights"][supervised_BL]
        )
        self.token_losses = losses_N.detach()
        # A sum: the caller divides by the supervised tokens of the whole step, over every rank and
        # micro-batch. A mean of means would weigh short answers more than long ones.
        return losses_N.sum()


def token_losses(logits_NV: Tensor, targets_N: Tensor, weights_N: Tensor) -> Tensor:
    """Weighted cross-entropy of each supervised token, in nats."""
    return cross_entropy(logits_NV, targets_N, reduction="none") * weights_N


def low_precision(device: torch.device, is_bf16: bool) -> torch.autocast:
    """Matrix products in bf16 from fp32 weights; sums, norms and the residual stream stay fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_bf16)


@contextmanager
def head_at(network: PreTrainedModel, chosen_BL: Tensor) -> Iterator[None]:
    """Within it, `network` computes logits at the chosen places only: (N, V), in order of (pack, place).

    Exact: a row of logits depends on its own place alone. Targets are a tenth of a pack or less, and over
    a large vocabulary the head costs as much as many layers.
    """

    def choose(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][chosen_BL], *inputs[1:])

    handle = network.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        yield
    finally:
        handle.remove()
