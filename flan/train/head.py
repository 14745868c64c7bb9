"""The language-model head with the loss in it: at supervised places alone, a chunk of them at a time.

    # B packs, L positions, N supervised places of a micro-batch, n places of a chunk, D width, V vocabulary

Over a large vocabulary, logits are the largest tensor of a step: of 1,280 places and 150,000 entries they
take 768 MB, and their softmax and gradient as much again. Here a chunk's logits become its loss and its
gradients at once, and are gone; what stays for the backward pass is as large as the hidden states and the
head's own gradient.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

CHUNK_LOGITS = {"cpu": 2**25, "cuda": 2**28}
"""Logits that exist at a time, by device: 128 MiB and 1 GiB in fp32."""
Losses = tuple[Tensor, Tensor]
"""The sum that is minimised, a scalar; and the cross-entropy of each supervised token, (N), without gradient."""


def losses_of_logits(logits_NV: Tensor, targets_N: Tensor, weights_N: Tensor, z_loss: float) -> Losses:
    """Weighted cross-entropy in nats; to the sum, `z_loss` times each squared log-denominator is added.

    A sum, not a mean: the caller divides by the supervised tokens of the whole step, over every rank and
    micro-batch. A mean of means would weigh short answers more than long ones. z-loss keeps denominators near
    1 (Chowdhery et al. 2022, section 5).
    """
    losses_N = cross_entropy(logits_NV, targets_N, reduction="none") * weights_N
    if z_loss == 0:
        return losses_N.sum(), losses_N.detach()
    penalties_N = z_loss * logits_NV.logsumexp(-1).square() * weights_N
    return (losses_N + penalties_N).sum(), losses_N.detach()


class _ChunkedLosses(torch.autograd.Function):
    """`losses_of_logits` of `hidden @ weight.T + bias`, with gradients made on the way forward."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        weights_N: Tensor,
        z_loss: float,
        dtype: torch.dtype,
    ) -> Losses:
        V = weight_VD.shape[0]
        rows = max(1, CHUNK_LOGITS[hidden_ND.device.type] // V)
        low_hidden_ND, low_weight_VD = hidden_ND.to(dtype), weight_VD.to(dtype)
        wanted = ctx.needs_input_grad[:3]
        of_hidden_ND = torch.empty_like(hidden_ND) if wanted[0] else None
        of_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if wanted[1] else None
        of_bias_V = (
            torch.zeros_like(bias_V, dtype=torch.float32) if bias_V is not None and wanted[2] else None
        )
        total, losses = weights_N.new_zeros(()), []
        for start in range(0, len(hidden_ND), rows):
            part = slice(start, start + rows)
            low_nD = low_hidden_ND[part]
            logits_nV = (low_nD @ low_weight_VD.T).float()
            if bias_V is not None:
                logits_nV += bias_V
            sum_, losses_n, of_logits_nV = _with_gradient(logits_nV, targets_N[part], weights_N[part], z_loss)
            total += sum_
            losses.append(losses_n)
            low_nV = of_logits_nV.to(dtype)
            if of_hidden_ND is not None:
                of_hidden_ND[part] = low_nV @ low_weight_VD
            if of_weight_VD is not None:
                _add_product(of_weight_VD, low_nV.T, low_nD)
            if of_bias_V is not None:
                of_bias_V += of_logits_nV.sum(0)
        # Not saved as tensors are: the optimizer's gradient may take their memory over.
        ctx.gradients = [of_hidden_ND, of_weight_VD, of_bias_V]
        losses_N = torch.cat(losses) if losses else weights_N.new_zeros(0)
        ctx.mark_non_differentiable(losses_N)
        return total, losses_N

    @staticmethod
    def backward(ctx: Any, of_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        # Once: a second backward pass through a step is never asked for.
        gradients = ctx.__dict__.pop("gradients")
        return (*(each if each is None else each.mul_(of_total) for each in gradients), *[None] * 4)


def _with_gradient(
    logits_nV: Tensor, targets_n: Tensor, weights_n: Tensor, z_loss: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum, cross-entropies, and the sum's gradient by the logits, in their memory."""
    denominators_n = logits_nV.logsumexp(-1)
    chosen_n = logits_nV.gather(1, targets_n[:, None])[:, 0]
    losses_n = (denominators_n - chosen_n) * weights_n
    total = losses_n.sum() + z_loss * (denominators_n.square() * weights_n).sum()
    of_denominators_n = weights_n * (1 + 2 * z_loss * denominators_n)
    gradient_nV = logits_nV.sub_(denominators_n[:, None]).exp_().mul_(of_denominators_n[:, None])
    gradient_nV.scatter_add_(1, targets_n[:, None], -weights_n[:, None])
    return total, losses_n, gradient_nV


def _add_product(sum_VD: Tensor, left_Vn: Tensor, right_nD: Tensor) -> None:
    if left_Vn.dtype == sum_VD.dtype:
        sum_VD.addmm_(left_Vn, right_nD)
    else:
        sum_VD += left_Vn @ right_nD


@contextmanager
def losses_at_head(
    network: PreTrainedModel, chosen_BL: Tensor, losses: Callable[[Tensor, nn.Linear], Tensor]
) -> Iterator[None]:
    """Within it, the head of `network` gives what `losses` makes of the hidden states of the chosen places.

    They are (N, D), in order of (pack, place). Exact: logits depend on their own place alone. The head is
    called as ever, so that a sharded engine gathers its weight for it.
    """
    head = network.get_output_embeddings()
    head.forward = lambda hidden_BLD: losses(hidden_BLD[chosen_BL], head)
    try:
        yield
    finally:
        del head.forward


def chunked_losses(
    hidden_ND: Tensor, head: nn.Linear, targets_N: Tensor, weights_N: Tensor, z_loss: float
) -> Losses:
    """The losses of what `head` makes of the hidden states; products in the precision of autocast."""
    device = hidden_ND.device.type
    is_low = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if is_low else hidden_ND.dtype
    with torch.autocast(device, enabled=False):
        return _ChunkedLosses.apply(  # type: ignore[no-any-return, no-untyped-call]
            hidden_ND, head.weight, head.bias, targets_N, weights_N, z_loss, dtype
        )


@contextmanager
def head_at(network: PreTrainedModel, chosen_BL: Tensor) -> Iterator[None]:
    """Within it, `network` computes logits at the chosen places only: (N, V), in order of (pack, place)."""

    def choose(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][chosen_BL], *inputs[1:])

    handle = network.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def gives_its_logits(network: PreTrainedModel) -> bool:
    """Whether the network's logits are what its head says: some cap or scale them afterwards.

    Found by asking it a few tokens: a single one might be padding, which means 0 to every layer.
    """
    head = network.get_output_embeddings()
    if type(head) is not nn.Linear:
        return False
    said: list[Tensor] = []
    handle = head.register_forward_hook(lambda _, __, output: said.append(output))
    was_training = network.training
    network.eval()  # a dropout would use up random numbers
    tokens = torch.arange(min(8, head.out_features), device=head.weight.device)[None]
    try:
        own = {"decoder_input_ids": tokens} if network.config.is_encoder_decoder else {}
        logits = network(input_ids=tokens, use_cache=False, **own).logits
    finally:
        handle.remove()
        network.train(was_training)
    return torch.equal(logits, said[0])
