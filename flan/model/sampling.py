"""Drawing the next token of several sequences, each by its own rules and its own noise.

    # B rows, R rows of equal top-k, V vocabulary, K candidates of a row

A row's token is a function of its logits, its Sampling and one number of its own: nothing of the other rows
enters, so a sequence writes the same text alone and in any company.
"""

import hashlib
import struct
from collections.abc import Sequence

import torch
from torch import Tensor

from flan.spec import Sampling


def noise(seed: int, sample: int, position: int) -> float:
    """The number in [0, 1) that decides token `position` of answer `sample` to a request with `seed`.

    A pure function, equal on every machine and device: no generator whose state could be shared or lost.
    """
    place = struct.pack(">QQQ", seed, sample, position)
    bits = int.from_bytes(hashlib.blake2b(place, digest_size=8).digest()) >> 11
    return bits * 2.0**-53


def draw_tokens(logits_BV: Tensor, samplings: Sequence[Sampling], noise_B: Sequence[float]) -> Tensor:
    """One token id for each row, (B,).

    Temperature 0 takes the most probable token. Otherwise: the top_k most probable tokens (0 = all), their
    probabilities at the row's temperature, of these the fewest that reach top_p together, and among them
    the one in whose share of [0, 1) the row's noise falls.
    """
    chosen_B = logits_BV.argmax(dim=-1)
    of_top_k: dict[int, list[int]] = {}
    for row, sampling in enumerate(samplings):
        if sampling.temperature > 0:
            of_top_k.setdefault(sampling.top_k, []).append(row)
    for top_k, rows in of_top_k.items():
        chosen_B[rows] = _draw(
            logits_BV[rows],
            top_k,
            _column([samplings[row].temperature for row in rows], logits_BV),
            _column([samplings[row].top_p for row in rows], logits_BV),
            _column([noise_B[row] for row in rows], logits_BV),
        )
    return chosen_B


def token_logprobs(logits_BV: Tensor, tokens_B: Tensor) -> Tensor:
    """Log-probability of each row's token under the model itself: temperature 1, nothing cut off. (B,)"""
    return logits_BV.float().log_softmax(dim=-1).gather(-1, tokens_B[:, None])[:, 0]


def _draw(
    logits_RV: Tensor, top_k: int, temperature_R1: Tensor, top_p_R1: Tensor, noise_R1: Tensor
) -> Tensor:
    vocabulary = logits_RV.shape[-1]
    if 0 < top_k < vocabulary:
        logits_RK, tokens_RK = logits_RV.topk(top_k, dim=-1)
    else:
        logits_RK, tokens_RK = logits_RV.sort(dim=-1, descending=True, stable=True)
    # The largest logit is taken off first: divided by a tiny temperature it would be infinite.
    shares_RK = ((logits_RK - logits_RK[:, :1]).double() / temperature_R1).softmax(dim=-1)
    reached_RK = shares_RK.cumsum(dim=-1)
    # A token stays while those before it have not reached top_p: the first one always does (no comparison
    # with NaN is true: such a row gets any token, and whoever reads the logits must look).
    num_kept_R1 = (reached_RK - shares_RK < top_p_R1).sum(dim=-1, keepdim=True).clamp(min=1)
    total_R1 = reached_RK.gather(-1, num_kept_R1 - 1)
    place_R1 = (reached_RK <= noise_R1 * total_R1).sum(dim=-1, keepdim=True)
    return tokens_RK.gather(-1, torch.minimum(place_R1, num_kept_R1 - 1))[:, 0]


def _column(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device)[:, None]
