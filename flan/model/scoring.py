"""Log-probability of every option after one shared prefix.

    # B rows, P prompt columns, W option columns, L places, N scored tokens, U places where they are expected,
    # V vocabulary

A decoder reads a prompt once; its options are branches after it, blind to each other. All trees of a batch stand
in one row, without padding:

    places        0 1 2 3    4 5 6     7 8        9 …
    tokens        prompt     option 1  option 2   the next prompt       (options without their last token)
    positions     0 1 2 3    4 5 6     4 5        0 …

The head is computed where a token of an option is expected, nowhere else, and so is what only the head reads
(`flan/model/last_layer.py`). An encoder-decoder encodes the prompt once; its decoder reads the options as the
segments of a pack. What an option scores is what it would score alone, to rounding: softmax and sums are fp32
whatever the weights are.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from flan.data.tokens import ContextExceeded, Ids
from flan.errors import FlanError
from flan.model.attention import takes_trees
from flan.model.grouping import Size, fill, group
from flan.model.last_layer import ends_early, last_layer_at
from flan.model.load import Model
from flan.model.masks import block_causal_mask, block_mask
from flan.model.trees import tree_bounds, tree_mask


class NotFinite(FlanError):
    """The network gave a logit that is no number."""

    code, blame = "not_finite", "system"


class InvalidOptions(FlanError):
    """Nothing to choose from, or an option without a token."""

    code, blame = "options_invalid", "user"


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


class _Expected(NamedTuple):
    """What a batch expects, option after option."""

    logits: Tensor  # (U, V)
    places: Tensor
    """(N,): of each token, the row of the logits that speaks of it."""
    tokens: Tensor  # (N,)


@torch.inference_mode()
def score_options(
    model: Model, prompts: Sequence[Ids], options: Sequence[Sequence[Ids]], *, batch_tokens: int
) -> list[list[OptionScore]]:
    """The score of each option of each prompt, in the order given.

    Prompts are input ids of the model's contract; options are target ids, their end ids included: without
    them an option never loses to a longer one that begins with it. `batch_tokens` bounds the token slots of
    a forward pass and changes nothing but rounding. Raises ContextExceeded, InvalidOptions, NotFinite.
    """
    check_scorable(model, prompts, options)
    scores: list[list[OptionScore | None]] = [[None] * len(row) for row in options]
    pieces = list(_pieces(prompts, options, batch_tokens))
    for indices in _batches(model, pieces, batch_tokens):
        batch = [pieces[i] for i in indices]
        is_encoder_decoder = model.network.config.is_encoder_decoder
        expected = (_encoder_decoder_logits if is_encoder_decoder else _decoder_logits)(model, batch)
        logprobs_UV = expected.logits.float().log_softmax(-1)
        _hand_out(batch, logprobs_UV[expected.places, expected.tokens].tolist(), scores)
    found = [[score for score in row if score is not None] for row in scores]
    _check_finite(model, found)
    return found


def check_scorable(model: Model, prompts: Sequence[Ids], options: Sequence[Sequence[Ids]]) -> None:
    """Raise ContextExceeded or InvalidOptions where `score_options` would."""
    _check_options(prompts, options)
    _check_context(model, prompts, options)


def _batches(model: Model, pieces: list[_Piece], batch_tokens: int) -> list[list[int]]:
    sizes = [Size(len(piece.prompt), sum(map(len, piece.tokens))) for piece in pieces]
    if model.network.config.is_encoder_decoder:
        return group(sizes, batch_tokens)
    return fill([sum(size) for size in sizes], batch_tokens)


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


def _decoder_logits(model: Model, batch: list[_Piece]) -> _Expected:
    token_ids: list[Ids] = []
    positions: list[Ids] = []
    expected: list[tuple[Ids, Ids]] = []
    start = 0
    for _, prompt, _, options in batch:
        token_ids.append(prompt)
        positions.append(np.arange(len(prompt), dtype=np.int32))
        last, start = start + len(prompt) - 1, start + len(prompt)
        for tokens in options:
            length = len(tokens) - 1
            token_ids.append(tokens[:-1])
            positions.append(len(prompt) + np.arange(length, dtype=np.int32))
            # The first token is expected at the prompt's end, each other at the one before it.
            expected.append((np.r_[last, start + np.arange(length)], tokens))
            start += length
    network, device = model.network, model.network.device
    places_U, of_N = np.unique(np.concatenate([places for places, _ in expected]), return_inverse=True)
    trees = tree_bounds([(len(piece.prompt), [len(own) - 1 for own in piece.tokens]) for piece in batch])
    ids_1L = _tensor(np.concatenate(token_ids)[None], device)
    with _ending_at(network, _tensor(places_U, device), ids_1L.shape[1]) as kept_U:
        logits_1UV = network(
            input_ids=ids_1L,
            attention_mask=trees if takes_trees(network, device) else tree_mask(trees).to(device),
            position_ids=_tensor(np.concatenate(positions)[None], device),
            use_cache=False,
            logits_to_keep=kept_U,
        ).logits
    tokens_N = np.concatenate([tokens for _, tokens in expected])
    return _Expected(logits_1UV[0], _tensor(of_N, device), _tensor(tokens_N, device))


@contextmanager
def _ending_at(network: PreTrainedModel, places_U: Tensor, length: int) -> Iterator[Tensor]:
    """Within it the network gives its head no more than it must; which places of what it gives are `places_U`."""
    if not ends_early(network):
        yield places_U
        return
    chosen_1L = torch.zeros(1, length, dtype=torch.bool, device=places_U.device)
    chosen_1L[0, places_U] = True
    with last_layer_at(network, chosen_1L):
        yield torch.arange(len(places_U), device=places_U.device)


def _encoder_decoder_logits(model: Model, batch: list[_Piece]) -> _Expected:
    B, P = len(batch), max(len(piece.prompt) for piece in batch)
    W = max(sum(map(len, piece.tokens)) for piece in batch)
    prompt_ids, prompt_segments = np.zeros((B, P), np.int64), np.zeros((B, P), np.int64)
    token_ids = np.full((B, W), model.card.contract.prefix_ids[0], np.int64)
    segments = np.zeros((B, W), np.int64)
    places: list[Ids] = []
    for row, (_, prompt, _, options) in enumerate(batch):
        prompt_ids[row, : len(prompt)], prompt_segments[row, : len(prompt)] = prompt, 1
        start = 0
        for segment, tokens in enumerate(options, start=1):
            token_ids[row, start + 1 : start + len(tokens)] = tokens[:-1]
            segments[row, start : start + len(tokens)] = segment
            places.append(row * W + start + np.arange(len(tokens), dtype=np.int32))
            start += len(tokens)
    network, device = model.network, model.network.device
    prompt_segments_BP, segments_BW = _tensor(prompt_segments, device), _tensor(segments, device)
    hidden_BPD = network.get_encoder()(
        input_ids=_tensor(prompt_ids, device),
        attention_mask=block_mask(prompt_segments_BP, prompt_segments_BP),
    ).last_hidden_state
    logits_BWV = network(
        encoder_outputs=BaseModelOutput(last_hidden_state=hidden_BPD),
        attention_mask=block_mask(torch.ones_like(segments_BW), prompt_segments_BP),
        decoder_input_ids=_tensor(token_ids, device),
        decoder_attention_mask=block_causal_mask(segments_BW),
        use_cache=False,
    ).logits
    tokens_N = np.concatenate([tokens for piece in batch for tokens in piece.tokens])
    return _Expected(
        logits_BWV.flatten(0, 1), _tensor(np.concatenate(places), device), _tensor(tokens_N, device)
    )


def _hand_out(batch: list[_Piece], logprobs: list[float], scores: list[list[OptionScore | None]]) -> None:
    start = 0
    for piece in batch:
        for option, tokens in zip(piece.options, piece.tokens, strict=True):
            own = tuple(logprobs[start : start + len(tokens)])
            scores[piece.example][option] = OptionScore(sum(own), len(own), own)
            start += len(tokens)


def _check_options(prompts: Sequence[Ids], options: Sequence[Sequence[Ids]]) -> None:
    for number, (prompt, row) in enumerate(zip(prompts, options, strict=True)):
        if len(prompt) and len(row) and all(map(len, row)):
            continue
        what = "no token" if not len(prompt) else "no option" if not len(row) else "an option without a token"
        raise InvalidOptions(
            f"prompt {number} of {len(prompts)} has {what}", hint="leave the row out, or mend its template"
        )


def _check_finite(model: Model, scores: list[list[OptionScore]]) -> None:
    for number, row in enumerate(scores):
        for option, score in enumerate(row):
            if not math.isfinite(score.logprob):
                raise NotFinite(
                    f"{model.card.name} gives option {option} of prompt {number} a log-probability of "
                    f"{score.logprob}",
                    hint="its weights are damaged, or overflow: evaluate it in fp32, or go back to a checkpoint",
                )


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
