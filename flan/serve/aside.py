"""What the engine answers between two passes: texts that are read, and options after an encoded prompt."""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from flan.data.tokens import Ids
from flan.errors import FlanError
from flan.model.load import Model
from flan.model.reading import ReadToken, read_tokens
from flan.model.scoring import OptionScore, score_options
from flan.serve.batch import READ_TOKENS
from flan.serve.outcomes import fail, stopped
from flan.serve.sequences import ScoreRequest
from flan.serve.status import Tally
from flan.serve.waiting import tokens_of


class Reading(NamedTuple):
    """A text whose tokens' log-probabilities are wanted."""

    ids: Ids
    num_top: int
    """The most probable tokens that are wanted beside each."""
    future: Future[list[ReadToken]]


class Aside:
    """Requests that share no pass with others, in the order they came. `changed` guards them."""

    def __init__(self, model: Model, changed: threading.Condition, tally: Tally) -> None:
        self._model, self._changed, self._tally = model, changed, tally
        self.scorings: deque[ScoreRequest] = deque()
        """Of an encoder-decoder."""
        self.readings: deque[Reading] = deque()

    def __len__(self) -> int:
        return len(self.scorings) + len(self.readings)

    def futures(self) -> list[Future[Any]]:
        """Of all that wait."""
        return [*(each.future for each in self.scorings), *(each.future for each in self.readings)]

    def clear(self) -> None:
        """Nobody waits."""
        self.scorings.clear()
        self.readings.clear()

    def forget_ended(self) -> None:
        """Let go of requests whose client has gone; the caller holds `changed`."""
        self.scorings = deque(each for each in self.scorings if not each.future.done())

    def score(self) -> None:
        """Score what waits for it, as much as fills one forward pass."""
        if not self.scorings:
            return
        room, some = READ_TOKENS, list[ScoreRequest]()
        with self._changed:
            for request in self.scorings:
                some.append(request)
                room -= tokens_of(request)
                if room <= 0:
                    break
        for request in some:
            request.began()
        scores: Sequence[list[OptionScore] | FlanError]
        try:
            scores = score_options(
                self._model,
                [request.prompt for request in some],
                [request.options for request in some],
                batch_tokens=READ_TOKENS,
            )
        except FlanError as error:
            scores = [error] * len(some)
        with self._changed:
            # Only now: had the engine failed in between, they would be told so.
            for _ in some:
                self.scorings.popleft()
        for request, own in zip(some, scores, strict=True):
            if isinstance(own, FlanError):
                fail(request.future, own)
            elif not request.future.done():
                self._tally.answer(request.future, own)

    def read(self) -> None:
        """Read one of the texts that wait for it."""
        with self._changed:
            reading = self.readings.popleft() if self.readings else None
        if reading is None or not reading.future.set_running_or_notify_cancel():
            return
        try:
            found = read_tokens(self._model, reading.ids, reading.num_top)
        except FlanError as error:
            reading.future.set_exception(error)
        except BaseException:
            reading.future.set_exception(stopped())
            raise
        else:
            self._tally.requests += 1
            reading.future.set_result(found)
