"""Log-probability of every option after one shared prefix.

    # B rows, P prompt columns, W option columns, L = P + W, K scored columns, N scored tokens, V vocabulary

A decoder reads a prompt once; its options are branches after it, blind to each other:

    columns       0 … P-1            P … L-1
    tokens        · · prompt         option 1 | option 2 | · ·        (each without its last token)
    segments      0 0 1 1 1 1        2 2 2      3 3        0 0
    positions         0 1 2 3        4 5 6      4 5

Prompts end at the same column, so the head is computed for the last 1 + W columns only. An encoder-decoder
encodes the prompt once; its decoder reads the options as the segments of a pack. What an option scores is
what it would score alone, to rounding: softmax and sums are fp32 whatever the weights are.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers.modeling_outputs import BaseModelOutput

from flan.data.tokens import ContextExceeded, Ids
from flan.model.grouping import Size, group
from flan.model.load import Model
from flan.model.masks import block_causal_mask, block_mask, branch_mask


class OptionScore(NamedTuple):
    """How probable the model finds an option, end of sequence included."""

    logprob: float
    """Sum over the tokens, in nats. Not divided by length: FLAN's rank classification (flan.md 3.1)."""
    num_tokens: int
    token_logprobs: tuple[float, ...]


class _Piece(NamedTuple):
    """A prompt with as many of its options as one forward pass takes."""

    example: int
    prompt: Ids
    options: tuple[int, ...]
    tokens: tuple[Ids, ...]


class _Scored(NamedTuple):
    """(N,) each: where a batch says what it expects of the options' tokens, option after option."""

    rows: Tensor
    columns: Tensor  # of the K for which the head is computed
    tokens: Tensor


@torch.inference_mode()
def score_options(
    model: Model, prompts: Sequence[Ids], options: Sequence[Sequence[Ids]], *, batch_tokens: int
) -> list[list[OptionScore]]:
    """The score of each option of each prompt, in the order given.

    Prompts are input ids of the model's contract; options are target ids, their end ids included: without
    them an option never loses to a longer one that begins with it. `batch_tokens` bounds the token slots of
    a forward pass and changes nothing but rounding. Raises ContextExceeded.
    """
    _check_context(model, prompts, options)
    scores: list[list[OptionScore | None]] = [[None] * len(row) for row in options]
    pieces = list(_pieces(prompts, options, batch_tokens))
    sizes = [Size(len(piece.prompt), sum(map(len, piece.tokens))) for piece in pieces]
    forward = _encoder_decoder_logits if model.network.config.is_encoder_decoder else _decoder_logits
    for indices in group(sizes, batch_tokens):
        batch = [pieces[i] for i in indices]
        logits_BKV, scored = forward(model, batch)
        chosen_NV = logits_BKV[scored.rows, scored.columns].float()
        logprobs = (-cross_entropy(chosen_NV, scored.tokens, reduction="none")).tolist()
        _hand_out(batch, logprobs, scores)
    return [[score for score in row if score is not None] for row in scores]


def _pieces(prompts: Sequence[Ids], options: Sequence[Sequence[Ids]], batch_tokens: int) -> Iterator[_Piece]:
    for example, prompt in enumerate(prompts):
        chunk: list[int] = []
        for option, tokens in enumerate(options[example]):
            width = len(prompt) + len(tokens) + sum(len(options[example][other]) for other in chunk)
            if chunk and width > batch_tokens:
                yield _piece(example, prompt, options[example], chunk)
                chunk = []
            chunk.append(option)
        if chunk:
            yield _piece(example, prompt, options[example], chunk)


def _piece(example: int, prompt: Ids, options: Sequence[Ids], chunk: list[int]) -> _Piece:
    return _Piece(example, prompt, tuple(chunk), tuple(options[option] for option in chunk))


def _decoder_logits(model: Model, batch: list[_Piece]) -> tuple[Tensor, _Scored]:
    B, P = len(batch), max(len(piece.prompt) for piece in batch)
    W = max(sum(len(tokens) - 1 for tokens in piece.tokens) for piece in batch)
    token_ids, segments, positions = (np.zeros((B, P + W), np.int64) for _ in range(3))
    scored: list[tuple[int, np.ndarray, Ids]] = []
    for row, (_, prompt, _, options) in enumerate(batch):
        at = slice(P - len(prompt), P)
        token_ids[row, at], segments[row, at], positions[row, at] = prompt, 1, np.arange(len(prompt))
        start = P
        for segment, tokens in enumerate(options, start=2):
            at = slice(start, start + len(tokens) - 1)
            token_ids[row, at], segments[row, at] = tokens[:-1], segment
            positions[row, at] = len(prompt) + np.arange(len(tokens) - 1)
            # The first token is expected at the prompt's end (column 0 of K), each other at the one before it.
            columns = np.r_[0, 1 + start - P + np.arange(len(tokens) - 1)]
            scored.append((row, columns, tokens))
            start = at.stop
    network, device = model.network, model.network.device
    logits = network(
        input_ids=_tensor(token_ids, device),
        attention_mask=branch_mask(_tensor(segments, device)),
        position_ids=_tensor(positions, device),
        use_cache=False,
        logits_to_keep=W + 1,
    ).logits
    return logits[:, -(W + 1) :], _gather(scored, device)


def _encoder_decoder_logits(model: Model, batch: list[_Piece]) -> tuple[Tensor, _Scored]:
    B, P = len(batch), max(len(piece.prompt) for piece in batch)
    W = max(sum(map(len, piece.tokens)) for piece in batch)
    prompt_ids, prompt_segments = np.zeros((B, P), np.int64), np.zeros((B, P), np.int64)
    token_ids = np.full((B, W), model.card.contract.prefix_ids[0], np.int64)
    segments = np.zeros((B, W), np.int64)
    scored: list[tuple[int, np.ndarray, Ids]] = []
    for row, (_, prompt, _, options) in enumerate(batch):
        prompt_ids[row, : len(prompt)], prompt_segments[row, : len(prompt)] = prompt, 1
        start = 0
        for segment, tokens in enumerate(options, start=1):
            token_ids[row, start + 1 : start + len(tokens)] = tokens[:-1]
            segments[row, start : start + len(tokens)] = segment
            scored.append((row, start + np.arange(len(tokens)), tokens))
            start += len(tokens)
    network, device = model.network, model.network.device
    prompt_segments_BP, segments_BW = _tensor(prompt_segments, device), _tensor(segments, device)
    hidden_BPD = network.get_encoder()(
        input_ids=_tensor(prompt_ids, device),
        attention_mask=block_mask(prompt_segments_BP, prompt_segments_BP),
    ).last_hidden_state
    logits = network(
        encoder_outputs=BaseModelOutput(last_hidden_state=hidden_BPD),
        attention_mask=block_mask(torch.ones_like(segments_BW), prompt_segments_BP),
        decoder_input_ids=_tensor(token_ids, device),
        decoder_attention_mask=block_causal_mask(segments_BW),
        use_cache=False,
    ).logits
    return logits, _gather(scored, device)


def _gather(scored: list[tuple[int, np.ndarray, Ids]], device: torch.device) -> _Scored:
    rows = np.concatenate([np.full(len(tokens), row) for row, _, tokens in scored])
    columns = np.concatenate([columns for _, columns, _ in scored])
    tokens = np.concatenate([tokens for _, _, tokens in scored])
    return _Scored(_tensor(rows, device), _tensor(columns, device), _tensor(tokens, device))


def _hand_out(batch: list[_Piece], logprobs: list[float], scores: list[list[OptionScore | None]]) -> None:
    start = 0
    for piece in batch:
        for option, tokens in zip(piece.options, piece.tokens, strict=True):
            own = tuple(logprobs[start : start + len(tokens)])
            scores[piece.example][option] = OptionScore(sum(own), len(own), own)
            start += len(tokens)


def _check_context(model: Model, prompts: Sequence[Ids], options: Sequence[Sequence[Ids]]) -> None:
    limit = model.card.context_length
    for prompt, row in zip(prompts, options, strict=True):
        length = len(prompt) + max(map(len, row), default=0)
        if length > limit:
            raise ContextExceeded(
                f"a prompt of {len(prompt)} tokens and an option make {length}; {model.card.name} reads {limit}",
                hint="shorten the prompt, or use a model with a longer context",
                length=length,
                limit=limit,
            )


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(array.astype(np.int64)).to(device)
