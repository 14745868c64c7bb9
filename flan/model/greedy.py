"""Greedy continuations, many prompts at a time: how an evaluation lets a model write.

    # B rows, P prompt columns, K keys so far, V vocabulary

Written out rather than left to `generate()`, which takes defaults from files that come with the weights
(repetition penalties, forced tokens): an evaluation says all of what it does here.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from flan.data.tokens import Ids
from flan.model.grouping import Size, group
from flan.model.load import Model
from flan.model.masks import block_causal_mask, block_mask

Step = Callable[[Tensor], Tensor]
"""Tokens chosen last (B) → logits of the next ones (B, V)."""


class Continuation(NamedTuple):
    """What the model wrote after a prompt, without the end ids."""

    token_ids: tuple[int, ...]
    is_finished: bool
    """False: cut at the limit of new tokens or of the context."""


@torch.inference_mode()
def greedy(
    model: Model, prompts: Sequence[Ids], *, max_new_tokens: int, batch_tokens: int
) -> list[Continuation]:
    """The most probable next token, again and again, until the end ids; in the order of `prompts`.

    `batch_tokens` bounds the token slots of a batch, those still to be written included, and changes nothing
    but rounding.
    """
    sizes = [Size(len(prompt), max_new_tokens) for prompt in prompts]
    written: dict[int, Continuation] = {}
    for indices in group(sizes, batch_tokens):
        batch = [prompts[i] for i in indices]
        limits = [min(max_new_tokens, _room(model, prompt)) for prompt in batch]
        written.update(zip(indices, _continue(model, batch, limits), strict=True))
    return [written[i] for i in range(len(prompts))]


def _room(model: Model, prompt: Ids) -> int:
    # A decoder places what it writes after the prompt; an encoder-decoder begins anew.
    is_after_prompt = model.card.contract.architecture == "decoder"
    return max(0, model.card.context_length - (len(prompt) if is_after_prompt else 0))


def _continue(model: Model, prompts: list[Ids], limits: list[int]) -> list[Continuation]:
    start = _start_encoder_decoder if model.network.config.is_encoder_decoder else _start_decoder
    end = list(model.card.contract.end_ids)
    texts: list[list[int]] = [[] for _ in prompts]
    is_open = [limit > 0 for limit in limits]
    logits_BV, step = start(model, prompts)
    while True:
        next_B = logits_BV.float().argmax(dim=-1)
        for row, token in enumerate(next_B.tolist()):
            if is_open[row]:
                texts[row].append(token)
                is_open[row] = texts[row][-len(end) :] != end and len(texts[row]) < limits[row]
        if not any(is_open):
            return [_continuation(text, end) for text in texts]
        logits_BV = step(next_B)


def _continuation(text: list[int], end: list[int]) -> Continuation:
    is_finished = text[-len(end) :] == end
    return Continuation(tuple(text[: -len(end)] if is_finished else text), is_finished)


def _start_decoder(model: Model, prompts: list[Ids]) -> tuple[Tensor, Step]:
    network = model.network
    token_ids_BP, keys_BP = _padded(prompts, network.device, on_left=True)
    positions_BP = (keys_BP.cumsum(dim=1) - 1).clamp(min=0)
    output = network(
        input_ids=token_ids_BP,
        attention_mask=block_causal_mask(keys_BP),
        position_ids=positions_BP,
        use_cache=True,
        logits_to_keep=1,
    )
    cache, keys_BK, positions_B1 = output.past_key_values, keys_BP, positions_BP[:, -1:]

    def step(tokens_B: Tensor) -> Tensor:
        nonlocal keys_BK, positions_B1
        keys_BK = torch.cat([keys_BK, torch.ones_like(positions_B1)], dim=1)
        positions_B1 = positions_B1 + 1
        output = network(
            input_ids=tokens_B[:, None],
            attention_mask=(keys_BK == 1)[:, None, None, :],
            position_ids=positions_B1,
            past_key_values=cache,
            use_cache=True,
        )
        return output.logits[:, -1]  # type: ignore[no-any-return]

    return output.logits[:, -1], step


def _start_encoder_decoder(model: Model, prompts: list[Ids]) -> tuple[Tensor, Step]:
    network = model.network
    token_ids_BP, keys_BP = _padded(prompts, network.device, on_left=False)
    hidden_BPD = network.get_encoder()(
        input_ids=token_ids_BP, attention_mask=block_mask(keys_BP, keys_BP)
    ).last_hidden_state
    encoded = BaseModelOutput(last_hidden_state=hidden_BPD)
    cache = None

    def step(tokens_B: Tensor) -> Tensor:
        nonlocal cache
        output = network(
            encoder_outputs=encoded,
            attention_mask=(keys_BP == 1)[:, None, None, :],
            decoder_input_ids=tokens_B[:, None],
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        return output.logits[:, -1]  # type: ignore[no-any-return]

    first_B = torch.full((len(prompts),), model.card.contract.prefix_ids[0], device=network.device)
    return step(first_B), step


def _padded(prompts: list[Ids], device: torch.device, *, on_left: bool) -> tuple[Tensor, Tensor]:
    """Token ids (B, P), and 1 where one stands, 0 where padding does."""
    P = max(map(len, prompts))
    token_ids, is_token = np.zeros((len(prompts), P), np.int64), np.zeros((len(prompts), P), np.int64)
    for row, prompt in enumerate(prompts):
        at = slice(P - len(prompt), P) if on_left else slice(len(prompt))
        token_ids[row, at], is_token[row, at] = prompt, 1
    return torch.from_numpy(token_ids).to(device), torch.from_numpy(is_token).to(device)
