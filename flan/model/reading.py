"""A text as a decoder reads it: how probable each token was after those before it, and which were more so.

# L tokens, V vocabulary, K most probable
"""

from typing import NamedTuple

import torch

from flan.data.tokens import ContextExceeded, Ids
from flan.errors import FlanError
from flan.model.load import Model

LOGITS_AT_ONCE = 2**27
"""Logits that are in memory at once: 512 MiB."""


class NoDecoder(FlanError):
    """The model reads one text and writes another: it has nothing to say about the first."""

    code, blame = "decoder_needed", "user"


class ReadToken(NamedTuple):
    """What was expected at the place of a token."""

    logprob: float
    """Of the token that stands there, in nats."""
    top: tuple[tuple[int, float], ...]
    """The most probable tokens there and their log-probabilities, the first first."""


@torch.inference_mode()
def read_tokens(model: Model, ids: Ids, num_top: int) -> list[ReadToken]:
    """Each token of `ids` but the first. Raises NoDecoder, ContextExceeded."""
    if model.network.config.is_encoder_decoder:
        raise NoDecoder(f"{model.card.name} is an encoder-decoder", hint="score continuations: POST /score")
    if len(ids) > model.card.context_length:
        raise ContextExceeded(
            f"{len(ids)} tokens; {model.card.name} reads {model.card.context_length}",
            length=len(ids), limit=model.card.context_length,
        )  # fmt: skip
    if len(ids) < 2:
        return []
    network = model.network
    ids_1L = torch.from_numpy(ids.astype("int64"))[None].to(network.device)
    num_places, step = len(ids) - 1, max(1, LOGITS_AT_ONCE // int(network.config.vocab_size))
    found: list[ReadToken] = []
    # In parts where the logits of all places would not fit; a long text is then read more than once.
    for start in range(0, num_places, step):
        part = torch.arange(start, min(start + step, num_places), device=network.device)
        logits_1LV = network(input_ids=ids_1L, use_cache=False, logits_to_keep=part).logits
        logprobs_LV = logits_1LV[0].float().log_softmax(dim=-1)
        own = logprobs_LV.gather(-1, ids_1L[0, part + 1, None])[:, 0].tolist()
        top = logprobs_LV.topk(num_top)
        for logprob, values, tokens in zip(own, top.values.tolist(), top.indices.tolist(), strict=True):
            found.append(ReadToken(logprob, tuple(zip(tokens, values, strict=True))))
    return found
