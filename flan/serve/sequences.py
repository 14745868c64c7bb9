"""What is asked of the engine, and the sequences it makes of it: answers being written, options being scored.

A sequence says what it is to be fed next, and hears what the model says to it. It knows its region of the cache, but no
other sequence: the engine puts them together.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from flan.data.characters import Characters
from flan.data.tokens import Ids
from flan.model.keys import Feed
from flan.model.load import Model
from flan.model.regions import Prefix, Region
from flan.model.sampling import noise
from flan.model.scoring import OptionScore
from flan.serve.text import Stops
from flan.spec import Sampling

FinishReason = Literal["stop", "length"]
BRANCHES = 512
"""Tokens of options that are scored in one pass; one option at least."""


class Piece(NamedTuple):
    """Text of answer number `sample`, as it is written."""

    sample: int
    text: str


class Completion(NamedTuple):
    """One finished answer; `sample` counts the answers to a request, from 0."""

    sample: int
    text: str
    finish_reason: FinishReason
    """stop: the model's end of answer or a stop string; length: max_new_tokens."""
    token_ids: tuple[int, ...]
    """Everything drawn, an end of answer included."""
    token_logprobs: tuple[float, ...]
    """By the model itself: temperature 1, nothing cut off. Empty unless asked for."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Request:
    """What every request has."""

    prompt: Ids
    client: str
    num_places: int
    """Of the cache, for each of its sequences."""
    prefixes: tuple[Prefix, ...]
    began: Callable[[], None]
    """Called when it begins."""
    unbegun: deque[int]
    """Its sequences that have not begun."""
    future: Future[Any] = field(default_factory=Future)


@dataclass(frozen=True, eq=False, kw_only=True)
class AnswerRequest(Request):
    """n answers to one prompt."""

    sampling: Sampling
    n: int
    has_logprobs: bool
    deliver: Callable[[Piece], None]
    completions: list[Completion] = field(default_factory=list)


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoreRequest(Request):
    """How probable each option is after one prompt."""

    options: Sequence[Ids]


class Writing:
    """One answer being written."""

    def __init__(self, request: AnswerRequest, sample: int, region: Region, model: Model) -> None:
        self.request, self.sample, self.region = request, sample, region
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.finish_reason: FinishReason | None = None
        contract = model.card.contract
        self._encoded = len(request.prompt) if contract.architecture == "encoder_decoder" else 0
        self._starts = contract.prefix_ids[0] if self._encoded else None
        self._end = list(contract.end_ids)
        self._characters = Characters(model.tokenizer)
        self._stops = Stops(request.sampling.stop)
        self._num_read = 0
        self._text: list[str] = []

    @property
    def is_reading(self) -> bool:
        """Whether its prompt is not read to the end."""
        return self.region.num_read < len(self.request.prompt)

    def feeds(self, room: int) -> list[Feed]:
        """What comes next: some of the prompt, at most `room` tokens of it, or the token drawn last."""
        prompt = self.request.prompt
        if self.is_reading:
            return next_of_prompt(self.region, prompt, room)
        if not self._encoded:
            return [Feed(self.region, self.tokens[-1:], len(prompt) + len(self.tokens) - 1, 1)]
        last = self.tokens[-1] if self.tokens else self._starts
        assert last is not None
        return [Feed(self.region, [last], len(self.tokens), 1, encoded=self._encoded)]

    @property
    def noise(self) -> float:
        """What decides the next token."""
        seed = self.request.sampling.seed
        assert seed is not None, "answers.py draws a seed where the request has none"
        return noise(seed, self.sample, len(self.tokens))

    @property
    def seen(self) -> list[int]:
        """What a repetition is a repetition of: the prompt and the answer so far."""
        return [*self.request.prompt.tolist(), *self.tokens]

    def push(self, token: int) -> None:
        """Go on by `token`; what can be shown of it is delivered."""
        self.tokens.append(token)
        if self.tokens[-len(self._end) :] == self._end:
            self._num_read = len(self.tokens)
            self._finish("stop")
            return
        # The beginning of an end of several ids is no text unless something else follows.
        ready = len(self.tokens) - self._overlap_with_end()
        while self._num_read < ready and not self._stops.is_met:
            self._show(self._stops.push(self._characters.push(self.tokens[self._num_read])))
            self._num_read += 1
        if self._stops.is_met:
            self.finish_reason = "stop"
        elif len(self.tokens) >= self.request.sampling.max_new_tokens:
            self._finish("length")

    def completion(self) -> Completion:
        """The answer, once it is finished."""
        assert self.finish_reason is not None
        text = "".join(self._text)
        return Completion(self.sample, text, self.finish_reason, tuple(self.tokens), tuple(self.logprobs))

    def _finish(self, reason: FinishReason) -> None:
        pieces = [self._characters.push(token) for token in self.tokens[self._num_read :]]
        self._show(self._stops.push("".join([*pieces, self._characters.rest()])))
        if not self._stops.is_met:
            self._show(self._stops.rest())
        self.finish_reason = "stop" if self._stops.is_met else reason

    def _show(self, text: str) -> None:
        if text:
            self._text.append(text)
            self.request.deliver(Piece(self.sample, text))

    def _overlap_with_end(self) -> int:
        longest = min(len(self.tokens), len(self._end) - 1)
        return next((n for n in range(longest, 0, -1) if self.tokens[-n:] == self._end[:n]), 0)


class Scored(NamedTuple):
    """Tokens whose log-probabilities a pass gives: rows of its logits that are wanted, and what each should say."""

    rows: list[int]
    tokens: list[int]


class Scoring:
    """The options of one request being scored: branches after its prompt, as many in a pass as there is room for."""

    def __init__(self, request: ScoreRequest, region: Region) -> None:
        self.request, self.region = request, region
        self._logprobs: list[list[float]] = [[] for _ in request.options]
        self._group: range = range(0)
        """The options of this pass."""
        self._num_scored = 0

    @property
    def is_reading(self) -> bool:
        """It is always read to, never writes."""
        return True

    def feeds(self, room: int) -> list[Feed]:
        """What comes next: some of the prompt, its end with the first options, or more options."""
        prompt, num_read = self.request.prompt, self.region.num_read
        self._group = range(0)
        found = []
        if num_read < len(prompt):
            found = next_of_prompt(self.region, prompt, room)
            num_read, room = num_read + len(found[0].tokens), room - len(found[0].tokens)
            if num_read < len(prompt):
                return found
        self._group = _first_to_fill(min(room, BRANCHES), self.request.options, self._num_scored, not found)
        branches = [self.request.options[number][:-1] for number in self._group]
        if any(map(len, branches)):
            lengths = tuple(map(len, branches))
            found.append(
                Feed(self.region, np.concatenate(branches), len(prompt), sum(lengths), branches=lengths)
            )
        return found

    def scored(self, feeds: Sequence[Feed]) -> Scored:
        """What is to be read off the logits wanted by `feeds`, in the order that `hear` takes it."""
        rows, tokens, row = [], [], 0
        if feeds and not feeds[0].branches and feeds[0].num_wanted:
            row = 1
            rows += [0] * len(self.request.options)
            tokens += [int(option[0]) for option in self.request.options]
        for number in self._group:
            rest = self.request.options[number][1:].tolist()
            rows += range(row, row + len(rest))
            tokens += rest
            row += len(rest)
        return Scored(rows, tokens)

    def hear(self, feeds: Sequence[Feed], logprobs: Sequence[float]) -> None:
        """What was read off."""
        start = 0
        if feeds and not feeds[0].branches and feeds[0].num_wanted:
            for own in self._logprobs:
                own.append(logprobs[start])
                start += 1
        for number in self._group:
            length = len(self.request.options[number]) - 1
            self._logprobs[number] += logprobs[start : start + length]
            start += length
        self._num_scored += len(self._group)

    @property
    def has_ended(self) -> bool:
        """Whether every option is scored."""
        return self._num_scored == len(self.request.options)

    def scores(self) -> list[OptionScore]:
        """All of them, in order."""
        return [OptionScore(sum(own), len(own), tuple(own)) for own in self._logprobs]


def places_of_options(options: Sequence[Ids]) -> int:
    """Places that the branches of one pass need at most."""
    lengths = [len(option) - 1 for option in options]
    return min(sum(lengths), max(BRANCHES, *lengths))


def next_of_prompt(region: Region, prompt: Ids, room: int) -> list[Feed]:
    """The next tokens of a prompt, at most `room`; logits are wanted after its last one."""
    first = region.num_read
    last = min(len(prompt), first + room)
    return [Feed(region, prompt[first:last], first, int(last == len(prompt)))]


def _first_to_fill(room: int, options: Sequence[Ids], first: int, must_go_on: bool) -> range:
    last = first
    while last < len(options) and (room >= len(options[last]) - 1 or (must_go_on and last == first)):
        room -= len(options[last]) - 1
        last += 1
    return range(first, last)
