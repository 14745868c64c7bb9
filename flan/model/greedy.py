"""Greedy continuations, many prompts at a time: how an evaluation lets a model write.

    # B sequences in flight, V vocabulary

Sequences join and leave as in a served model (`flan/model/flight.py`): one that has ended makes room for the next
prompt, and nobody waits for the longest answer. Written out rather than left to `generate()`, which takes defaults from
files that come with the weights (repetition penalties, forced tokens): an evaluation says all of what it does here.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from flan.data.tokens import Ids
from flan.model.flight import Reader, Rows
from flan.model.load import Model
from flan.model.scoring import NotFinite

REFILL = 0.75
"""Prompts join when so few of the places are taken: each time, the keys and values of all are copied."""


class Continuation(NamedTuple):
    """What the model wrote after a prompt, without the end ids."""

    token_ids: tuple[int, ...]
    is_finished: bool
    """False: cut at the limit of new tokens or of the context."""


class _Writing(NamedTuple):
    """A sequence in flight."""

    number: int
    """Of its prompt."""
    slots: int
    """Tokens of the prompt and those that may follow."""
    limit: int
    """How many may follow."""
    text: list[int]


def greedy(
    model: Model, prompts: Sequence[Ids], *, max_new_tokens: int, batch_tokens: int
) -> list[Continuation]:
    """The continuations of all prompts, in their order."""
    written: dict[int, Continuation] = {}
    for ended in continuations(model, prompts, max_new_tokens=max_new_tokens, batch_tokens=batch_tokens):
        written.update(ended)
    return [written[number] for number in range(len(prompts))]


@torch.inference_mode()
def continuations(
    model: Model, prompts: Sequence[Ids], *, max_new_tokens: int, batch_tokens: int
) -> Iterator[list[tuple[int, Continuation]]]:
    """The most probable next token, again and again, until the end ids; those that end together, longest prompts first.

    Each comes with the number of its prompt. `batch_tokens` bounds the token slots in flight, those still to be
    written included, and changes nothing but rounding. Raises NotFinite.
    """
    reader, end = Reader(model), list(model.card.contract.end_ids)
    waiting = deque(sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i)))
    flight: list[_Writing] = []
    rows: Rows | None = None
    while waiting or flight:
        joining: list[_Writing] = []
        parts: list[Rows] = []
        for number in _admitted(prompts, waiting, flight, max_new_tokens, batch_tokens):
            limit = min(max_new_tokens, _room(model, prompts[number]))
            writing = _Writing(number, len(prompts[number]) + limit, limit, [])
            if limit > 0:
                row, logits_1V = reader.read(prompts[number])
                writing.text.extend(_most_probable(model, logits_1V))
                parts.append(row)
            joining.append(writing)
        if flight and rows is not None:
            logits_BV = reader.write(rows, [writing.text[-1] for writing in flight])
            for writing, token in zip(flight, _most_probable(model, logits_BV), strict=True):
                writing.text.append(token)
        if parts:
            rows = Rows.merged([*([rows] if rows is not None else []), *parts])
        ended = [writing for writing in (*flight, *joining) if _has_ended(writing, end)]
        flight, rows = _still_in_flight([*flight, *(each for each in joining if each.limit > 0)], rows, end)
        if ended:
            yield [(writing.number, _continuation(writing.text, end)) for writing in ended]


def _admitted(
    prompts: Sequence[Ids],
    waiting: deque[int],
    flight: Sequence[_Writing],
    max_new_tokens: int,
    batch_tokens: int,
) -> Iterator[int]:
    """Prompts for which there is room beside those in flight, taken from those that wait; at least one is in flight."""
    if not waiting:
        return
    width = max([each.slots for each in flight] + [len(prompts[waiting[0]]) + max_new_tokens])
    places = max(1, batch_tokens // width)
    if flight and len(flight) > REFILL * places:
        return
    for _ in range(min(places - len(flight), len(waiting))):
        yield waiting.popleft()


def _still_in_flight(
    flight: list[_Writing], rows: Rows | None, end: list[int]
) -> tuple[list[_Writing], Rows | None]:
    kept = [place for place, writing in enumerate(flight) if not _has_ended(writing, end)]
    if rows is None or not kept:
        return [], None
    return [flight[place] for place in kept], rows if len(kept) == len(flight) else rows.kept(kept)


def _most_probable(model: Model, logits_BV: Tensor) -> list[int]:
    highest_B, tokens_B = logits_BV.float().max(dim=-1)
    if not highest_B.isfinite().all():
        raise NotFinite(
            f"{model.card.name} gives logits that are no numbers",
            hint="its weights are damaged, or overflow: evaluate it in fp32, or go back to a checkpoint",
        )
    return tokens_B.tolist()


def _has_ended(writing: _Writing, end: list[int]) -> bool:
    return len(writing.text) >= writing.limit or writing.text[-len(end) :] == end


def _room(model: Model, prompt: Ids) -> int:
    # A decoder places what it writes after the prompt; an encoder-decoder begins anew.
    is_after_prompt = model.card.contract.architecture == "decoder"
    return max(0, model.card.context_length - (len(prompt) if is_after_prompt else 0))


def _continuation(text: list[int], end: list[int]) -> Continuation:
    is_finished = text[-len(end) :] == end
    return Continuation(tuple(text[: -len(end)] if is_finished else text), is_finished)
