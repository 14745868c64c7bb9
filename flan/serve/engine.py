"""One model, many requests at once: continuous batching in one thread.

    generate(), score() ──▶ waiting ──▶ join: a region of the cache, what is known of the prompt is copied ──▶ in flight
    in flight ──▶ a pass: one token for each answer, and as much of prompts and options as there is room beside them

Sequences join and leave at every pass; a long answer keeps no short one waiting, a long prompt is read in parts. What a
sequence says does not depend on its company, to rounding: its tokens depend on its own logits and its own noise. The
cache has a fixed size (`cache_bytes`): a request begins when all that it can ever need is free, so none that has begun
is ever put back. Clients take turns.

A client that goes away, or waits no longer, cancels its future; its sequences leave before the next pass. Any error
that is not of one request ends the thread, fails everything in flight and shows in `status()`: a half-working engine is
worse than one that is started anew.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import torch

from flan.data.tokens import Ids
from flan.model.load import Model
from flan.model.passes import CacheTooSmall, Passes
from flan.model.reading import ReadToken
from flan.model.regions import prefixes, whole
from flan.model.scoring import OptionScore, check_scorable
from flan.serve.aside import Aside, Reading
from flan.serve.batch import READ_BESIDE, Batch
from flan.serve.outcomes import EngineStopped, Overloaded, fail, stopped
from flan.serve.sequences import (
    AnswerRequest,
    Completion,
    Piece,
    Request,
    ScoreRequest,
    places_of_options,
)
from flan.serve.status import Status, Tally
from flan.serve.waiting import Waiting, tokens_of
from flan.spec import Sampling

CACHE_BYTES = 2**30
"""Of keys and values, unless said otherwise."""
WAITING_TOKENS = 2**20
"""Tokens, prompts and what may be written, of all requests that wait, unless said otherwise."""
STOP_S = 10.0
"""How long stop() waits for the pass that is running."""
BEAT_S = 0.5
"""An idle engine shows this often that it lives."""


class Engine:
    """Answers requests with one model. `start()` it; `stop()` it; in between, ask from any thread."""

    def __init__(
        self,
        model: Model,
        *,
        max_batch: int,
        max_waiting: int,
        cache_bytes: int = CACHE_BYTES,
        max_waiting_tokens: int = WAITING_TOKENS,
    ) -> None:
        self._model = model
        self._is_encoder_decoder = model.card.contract.architecture == "encoder_decoder"
        self._passes = Passes(model, cache_bytes)
        self._max_batch = max_batch
        self._max_waiting, self._max_waiting_tokens = max_waiting, max_waiting_tokens
        self._changed = threading.Condition()
        self._tally = Tally()
        self._waiting = Waiting()
        self._batch = Batch(model, self._passes, max_batch, self._changed, self._tally)
        self._aside = Aside(model, self._changed, self._tally)
        self._is_stopping = False
        self._failure: BaseException | None = None
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more, and give the cache's memory back; what is in flight ends in EngineStopped."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join(STOP_S)

    def status(self) -> Status:
        """How the engine is, now."""
        with self._changed:
            regions, tally = self._passes.regions, self._tally
            return Status(
                is_alive=self._thread.is_alive() and self._failure is None,
                beat_age_s=time.monotonic() - self._beat,
                active=len(self._batch.sequences),
                waiting=len(self._waiting) + len(self._aside.scorings),
                requests=tally.requests,
                tokens=tally.tokens,
                waiting_tokens=sum(map(tokens_of, self._waiting)),
                cache_places=regions.num_places,
                cache_used=regions.num_used,
                read_tokens=tally.read_tokens,
                copied_tokens=tally.copied_tokens,
            )

    @property
    def failure(self) -> BaseException | None:
        """What ended the engine; None while it is well."""
        return self._failure

    def generate(
        self,
        prompt: Ids,
        sampling: Sampling,
        *,
        n: int = 1,
        has_logprobs: bool = False,
        deliver: Callable[[Piece], None] | None = None,
        began: Callable[[], None] | None = None,
        client: str = "",
    ) -> Future[list[Completion]]:
        """n answers to `prompt`, in order; cancel the future and they are no longer written.

        The caller sees to it that prompt and answer fit the context and that `sampling` has a seed.
        `deliver` is called on the engine's thread with each piece of text, before the future is done, and `began` when
        the request begins; neither may raise. Clients take turns, whatever each asks. Raises Overloaded,
        EngineStopped, CacheTooSmall.
        """
        request = AnswerRequest(
            prompt=prompt,
            client=client,
            num_places=len(prompt) + sampling.max_new_tokens,
            prefixes=whole(prompt) if self._is_encoder_decoder else prefixes(prompt),
            began=began or _nothing,
            unbegun=deque(range(n)),
            sampling=sampling,
            n=n,
            has_logprobs=has_logprobs,
            deliver=deliver or _ignore,
        )
        return self._ask(request)

    def score(
        self,
        prompt: Ids,
        options: Sequence[Ids],
        *,
        began: Callable[[], None] | None = None,
        client: str = "",
    ) -> Future[list[OptionScore]]:
        """How probable each option (target ids) is after `prompt`; `began` and `client` as for generate.

        Raises Overloaded, EngineStopped, CacheTooSmall, ContextExceeded, InvalidOptions.
        """
        check_scorable(self._model, [prompt], [options])
        request = ScoreRequest(
            prompt=prompt,
            client=client,
            num_places=0 if self._is_encoder_decoder else len(prompt) + places_of_options(options),
            prefixes=() if self._is_encoder_decoder else prefixes(prompt),
            began=began or _nothing,
            unbegun=deque([0]),
            options=options,
        )
        return self._ask(request)

    def read(self, ids: Ids, *, num_top: int = 1) -> Future[list[ReadToken]]:
        """What a decoder expected at each token of a text but the first, between two passes of what is in flight.

        Raises EngineStopped; how many wait is for the caller to bound.
        """
        reading = Reading(ids, num_top, Future())
        with self._changed:
            self._check_running()
            self._aside.readings.append(reading)
            self._changed.notify()
        return reading.future

    def _check_running(self) -> None:
        if self._is_stopping or self._failure is not None:
            raise EngineStopped("the model is no longer served here", hint="try again in a moment")

    def _ask(self, request: Request) -> Future[Any]:
        num_places = self._passes.regions.num_places
        if request.num_places > num_places:
            raise CacheTooSmall(
                f"prompt and answer may take {request.num_places} tokens, the cache holds {num_places}",
                hint="shorten the prompt or lower max_new_tokens, or serve with larger cache_bytes",
                length=request.num_places, limit=num_places,
            )  # fmt: skip
        with self._changed:
            self._admit(request)
            if self._is_encoder_decoder and isinstance(request, ScoreRequest):
                self._aside.scorings.append(request)
            else:
                self._waiting.add(request)
            self._changed.notify()
        return request.future

    def _admit(self, request: Request) -> None:
        self._check_running()
        behind = self._behind(request)
        num_tokens = sum(map(tokens_of, behind))
        if (
            behind
            and behind[-1] is request
            and (len(behind) > self._max_waiting or num_tokens > self._max_waiting_tokens)
        ):
            raise Overloaded(
                f"{self._max_batch} sequences are in flight and {len(behind) - 1} requests wait",
                hint="try again in a moment, or serve with a larger max_waiting",
                max_batch=self._max_batch, waiting=len(behind) - 1, max_waiting=self._max_waiting,
                waiting_tokens=num_tokens - tokens_of(request), max_waiting_tokens=self._max_waiting_tokens,
            )  # fmt: skip

    def _behind(self, newcomer: Request) -> Sequence[Request]:
        """Requests that wait for others, `newcomer` last; one that begins with the next pass waits for nobody."""
        if self._is_encoder_decoder and isinstance(newcomer, ScoreRequest):
            return [*self._aside.scorings, newcomer][1:]
        behind: list[Request] = []
        in_use, places = len(self._batch.sequences), self._passes.regions.num_used
        for request in (*self._waiting, newcomer):
            if in_use >= self._max_batch or places + request.num_places > self._passes.regions.num_places:
                behind.append(request)
            in_use += len(request.unbegun)
            places += len(request.unbegun) * request.num_places
        return behind

    # Everything below runs on the engine's thread.

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                self._passes.warm_up(READ_BESIDE + self._max_batch, self._max_batch)
                while self._has_work():
                    self._forget_ended()
                    self._batch.join(self._waiting)
                    self._batch.run()
                    self._aside.score()
                    self._aside.read()
        except BaseException as error:  # noqa: BLE001 - whatever it was, everyone who waits must hear of it
            self._failure = error
        self._fail_everyone()
        self._passes.close()

    def _has_work(self) -> bool:
        with self._changed:
            self._beat = time.monotonic()
            while not (self._is_stopping or self._has_asked()):
                self._changed.wait(BEAT_S)
                self._beat = time.monotonic()
            return not self._is_stopping

    def _has_asked(self) -> bool:
        return bool(self._waiting or self._aside or self._batch.sequences)

    def _forget_ended(self) -> None:
        """Let go of requests whose client has gone or waits no longer, and of those that failed."""
        with self._changed:
            self._waiting.forget_ended()
            self._aside.forget_ended()
        self._batch.forget_ended()

    def _fail_everyone(self) -> None:
        with self._changed:
            futures = [
                *(sequence.request.future for sequence in self._batch.sequences),
                *(request.future for request in self._waiting),
                *self._aside.futures(),
            ]
            self._batch.sequences = []
            self._aside.clear()
            self._waiting.clear()
        for future in futures:
            fail(future, stopped())


def _ignore(piece: Piece) -> None:
    """For callers who want the whole answer only."""


def _nothing() -> None:
    """For callers who do not ask when it begins."""
