"""What is minimised: the cross-entropy of target tokens, summed.

    # B packs, L positions, N supervised positions of a micro-batch, D width

A sum, never a mean: it is divided once, by the target tokens of the whole step over every rank and
micro-batch, so that a short answer weighs as much as its tokens, however the step is split up. The head is
computed at supervised positions alone, and so is what only it reads (flan/model/last_layer.py): targets are a
tenth or a fifth of a pack, and over a large vocabulary the head costs as much as many layers.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from flan.model.last_layer import beyond_attention, last_layer_at
from flan.model.masks import Batch, forward
from flan.train.head import chunked_losses, gives_its_logits, head_at, losses_at_head, losses_of_logits


class Objective(nn.Module):
    """A network with its loss: one module, so that a sharded engine sees one call."""

    def __init__(
        self, network: PreTrainedModel, precision: str, z_loss: float = 0.0, *, zero_stage: int = 0
    ) -> None:
        super().__init__()
        self.network = network
        self.token_losses: Tensor | None = None
        """(N): nats of each supervised token of the last micro-batch, in order of (pack, place); no z-loss."""
        self._is_bf16 = precision == "bf16"
        self._z_loss = z_loss
        self._is_chunked = gives_its_logits(network)
        # ZeRO-3 drops a weight when every call of its module has been differentiated, and one of two never is.
        self._ends_early = zero_stage < 3 and bool(beyond_attention(network))

    def forward(self, batch: Batch) -> Tensor:
        """Summed loss, in nats, of a micro-batch: a scalar in fp32. A batch without targets has 0."""
        supervised_BL = batch["loss_weights"] > 0
        targets_N, weights_N = batch["target_ids"][supervised_BL], batch["loss_weights"][supervised_BL]
        with low_precision(supervised_BL.device, self._is_bf16), self._ending_at(supervised_BL) as chosen:
            if self._is_chunked:
                return self._chunked(batch, chosen, targets_N, weights_N)
            with head_at(self.network, chosen):
                logits_NV = forward(self.network, batch)
        total, self.token_losses = losses_of_logits(logits_NV.float(), targets_N, weights_N, self._z_loss)
        return total

    def _ending_at(self, supervised_BL: Tensor) -> AbstractContextManager[Tensor]:
        """Within it the network gives its head no more than it must; which of what it gives is supervised."""
        if not self._ends_early or not bool(supervised_BL.any()):
            return nullcontext(supervised_BL)
        return last_layer_at(self.network, supervised_BL)

    def _chunked(self, batch: Batch, chosen_BL: Tensor, targets_N: Tensor, weights_N: Tensor) -> Tensor:
        def losses(hidden_ND: Tensor, head: nn.Linear) -> Tensor:
            total, self.token_losses = chunked_losses(hidden_ND, head, targets_N, weights_N, self._z_loss)
            return total

        with losses_at_head(self.network, chosen_BL, losses):
            return forward(self.network, batch)


def low_precision(device: torch.device, is_bf16: bool) -> torch.autocast:
    """Matrix products in bf16 from fp32 weights; sums, norms and the residual stream stay fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_bf16)
