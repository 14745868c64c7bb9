"""Draws → token ids, a block of them at a time: the costly part of the stream, and the one that can be shared out."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple, Protocol

import numpy as np

from flan.card import Contract
from flan.data.examples import Examples
from flan.data.mixture import Draw
from flan.data.rows import Rows
from flan.data.tokens import AnyTokenizer, Fitted, Tokens
from flan.errors import FlanError
from flan.spec import TuneSpec
from flan.tasks.task import Task

BLOCK = 64
"""Draws that are encoded together. At FLAN's lengths that is some 10 ms of work."""


class Encoded(NamedTuple):
    """What became of a draw."""

    task: str
    """What it is counted as: the task, behind the name of its part where there are several."""
    template: int
    """Which of the task's used templates, counted from 0."""
    tokens: Tokens | FlanError
    """Its ids, or why it cannot be used: InputTooLong, TargetTooLong, RowError, UnreadableRow."""
    was_cut: bool
    other_row: bool
    """Whether the template passes over the row of the draw, and another was taken."""


class Encoder(Protocol):
    """Whoever encodes draws. Equal draws give equal ids, whoever does it and in whatever order."""

    def encode(self, draws: Sequence[int]) -> list[Encoded]:
        """What becomes of some draws, in their order."""

    def blocks(self, start: int) -> Iterator[list[Encoded]]:
        """What becomes of the draws from `start` on, in order, BLOCK at a time, without end."""


class LocalEncoder:
    """Encodes in this process. `rows` holds the training rows of each of `tasks`."""

    def __init__(
        self,
        spec: TuneSpec,
        tasks: Mapping[str, Task],
        rows: Mapping[str, Rows],
        tokenizer: AnyTokenizer,
        contract: Contract,
    ) -> None:
        self._examples = Examples(spec, tasks, rows)
        self._tokenizer, self._contract = tokenizer, contract
        self._learns_inputs = spec.loss_on == "all"

    def encode(self, draws: Sequence[int]) -> list[Encoded]:
        """What becomes of some draws, in their order."""
        drawn = [(self._examples.asked(number), number) for number in draws]
        found = self._examples.fit_draws(drawn, self._tokenizer, self._contract)
        return [self._encoded(draw, number, each) for (draw, number), each in zip(drawn, found, strict=True)]

    def _encoded(self, draw: Draw, number: int, fitted: Fitted | FlanError) -> Encoded:
        tokens, was_cut = (
            (fitted, False)
            if isinstance(fitted, FlanError)
            else (self._learned(fitted.tokens), fitted.was_cut)
        )
        key, drawn = self._examples.key((draw.leaf, draw.task)), self._examples.draw(number)
        return Encoded(key, draw.template, tokens, was_cut, other_row=draw.row != drawn.row)

    def _learned(self, tokens: Tokens) -> Tokens:
        """With `loss_on: all`, whatever follows the first token is the target."""
        if not self._learns_inputs:
            return tokens
        ids = np.concatenate(tokens)
        return Tokens(ids[:1], ids[1:])

    def blocks(self, start: int) -> Iterator[list[Encoded]]:
        """What becomes of the draws from `start` on, in order, BLOCK at a time, without end."""
        return (self.encode(range(first, first + BLOCK)) for first in count(start, BLOCK))

    def digest(self) -> str:
        """sha256 over the first draws of the stream."""
        return self._examples.digest()
