"""Drawing the next token of several sequences, each by its own rules and its own noise.

    # B rows, V vocabulary, R rows that draw from equally many candidates, K candidates

A row's token is a function of its logits, its Sampling and one number of its own: nothing of the other rows
enters, so a sequence writes the same text alone and in any company.
"""

import hashlib
import struct
from collections.abc import Sequence

import torch
from torch import Tensor

from flan.spec import Sampling

FEW = 64
"""Rows that draw from at most so many candidates are drawn for together."""


def noise(seed: int, sample: int, position: int) -> float:
    """The number in [0, 1) that decides token `position` of answer `sample` to a request with `seed`.

    A pure function, equal on every machine and device: no generator whose state could be shared or lost.
    """
    place = struct.pack(">QQQ", seed, sample, position)
    bits = int.from_bytes(hashlib.blake2b(place, digest_size=8).digest()) >> 11
    return bits * 2.0**-53


def penalized(logits_BV: Tensor, samplings: Sequence[Sampling], seen: Sequence[Sequence[int]]) -> Tensor:
    """The logits after each row's repetition penalty: those of tokens it has `seen` are divided by it, or multiplied
    where they are negative (Keskar et al. 2019, 4.1, as transformers does it). Others as they are."""
    logits_BV = logits_BV.clone()
    for row, (sampling, tokens) in enumerate(zip(samplings, seen, strict=True)):
        if sampling.repetition_penalty == 1 or not tokens:
            continue
        # A soft prompt's tokens are read, never written: they have no logit.
        ids_S = torch.tensor(sorted({*tokens}), device=logits_BV.device)
        ids_S = ids_S[ids_S < logits_BV.shape[-1]]
        own_S = logits_BV[row, ids_S]
        penalty = sampling.repetition_penalty
        logits_BV[row, ids_S] = torch.where(own_S > 0, own_S / penalty, own_S * penalty)
    return logits_BV


def draw_tokens(
    logits_BV: Tensor, samplings: Sequence[Sampling], noise_B: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """One token id for each row, (B,), and whether the row's largest logit is a number, (B,).

    Temperature 0 takes the most probable token. Otherwise: the top_k most probable tokens (0 = all), their
    probabilities at the row's temperature, of these the fewest that reach top_p together, and among them
    the one in whose share of [0, 1) the row's noise falls.
    """
    vocabulary = logits_BV.shape[-1]
    num_candidates = [
        1 if sampling.temperature == 0 else min(sampling.top_k or vocabulary, vocabulary)
        for sampling in samplings
    ]
    tokens_B = torch.empty(len(samplings), dtype=torch.long, device=logits_BV.device)
    is_finite_B = torch.empty(len(samplings), dtype=torch.bool, device=logits_BV.device)
    by_width: dict[int, list[int]] = {}
    for row, number in enumerate(num_candidates):
        # A width of its own, whoever else is there: which of equal logits are taken may depend on it.
        width = number if number == 1 else min(max(number, FEW), vocabulary)
        by_width.setdefault(width, []).append(row)
    for width, rows in by_width.items():
        own_RV = logits_BV if len(rows) == len(samplings) else logits_BV[rows]
        if width < vocabulary:
            logits_RK, ids_RK = own_RV.topk(width, dim=-1)
        else:
            logits_RK, ids_RK = own_RV.sort(dim=-1, descending=True, stable=True)
        is_finite_B[rows] = logits_RK[:, 0].isfinite()
        rules_4R1 = torch.tensor(
            [
                [num_candidates[row] for row in rows],
                [samplings[row].temperature or 1.0 for row in rows],
                [samplings[row].top_p for row in rows],
                [noise_B[row] for row in rows],
            ],
            dtype=torch.float64,
            device=logits_BV.device,
        )[..., None]
        place_R1 = _draw(logits_RK, *rules_4R1.unbind())
        tokens_B[rows] = ids_RK.gather(-1, place_R1)[:, 0]
    return tokens_B, is_finite_B


def token_logprobs(logits_BV: Tensor, tokens_B: Tensor) -> Tensor:
    """Log-probability of each row's token under the model itself: temperature 1, nothing cut off. (B,)"""
    return logits_BV.float().log_softmax(dim=-1).gather(-1, tokens_B[:, None])[:, 0]


def _draw(
    logits_RK: Tensor, number_R1: Tensor, temperature_R1: Tensor, top_p_R1: Tensor, noise_R1: Tensor
) -> Tensor:
    """Which candidate each row takes, (R, 1), of the first `number` of its sorted logits."""
    K = logits_RK.shape[-1]
    is_candidate_RK = torch.arange(K, device=logits_RK.device) < number_R1
    # The largest logit is taken off first: divided by a tiny temperature it would be infinite.
    scaled_RK = (logits_RK - logits_RK[:, :1]).double() / temperature_R1
    shares_RK = scaled_RK.masked_fill(~is_candidate_RK, -torch.inf).softmax(dim=-1)
    reached_RK = shares_RK.cumsum(dim=-1)
    # A token stays while those before it have not reached top_p: the first one always does (no comparison
    # with NaN is true: such a row gets any token, and whoever reads the logits must look).
    is_kept_RK = (reached_RK - shares_RK < top_p_R1) & is_candidate_RK
    last_R1 = is_kept_RK.sum(dim=-1, keepdim=True).clamp(min=1) - 1
    total_R1 = reached_RK.gather(-1, last_R1)
    place_R1 = (reached_RK <= noise_R1 * total_R1).sum(dim=-1, keepdim=True)
    return torch.minimum(place_R1, last_R1)
