"""One answer being written: its tokens, its text as far as it is certain, and when it ends."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from flan.data.tokens import Ids
from flan.model.load import Model
from flan.model.sampling import noise
from flan.serve.text import Characters, Stops
from flan.spec import Sampling

FinishReason = Literal["stop", "length"]


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


@dataclass(frozen=True)
class Request:
    """A request for n answers to one prompt."""

    prompt: Ids
    sampling: Sampling
    n: int
    has_logprobs: bool
    deliver: Callable[[Piece], None]
    began: Callable[[], None]
    unbegun: deque[int]
    completions: list[Completion] = field(default_factory=list)
    future: Future[list[Completion]] = field(default_factory=Future)


class Writing:
    """One answer being written."""

    def __init__(self, request: Request, sample: int, model: Model) -> None:
        self.request, self.sample = request, sample
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.finish_reason: FinishReason | None = None
        self._end = list(model.card.contract.end_ids)
        self._characters = Characters(model.tokenizer)
        self._stops = Stops(request.sampling.stop)
        self._num_read = 0
        self._text: list[str] = []

    @property
    def noise(self) -> float:
        """What decides the next token."""
        seed = self.request.sampling.seed
        assert seed is not None, "answers.py draws a seed where the request has none"
        return noise(seed, self.sample, len(self.tokens))

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
