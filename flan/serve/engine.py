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

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flan.data.tokens import Ids
from flan.errors import FlanError
from flan.model.keys import Feed
from flan.model.load import Model
from flan.model.passes import CacheTooSmall, Passes
from flan.model.reading import ReadToken, read_tokens
from flan.model.regions import NOTHING, Region, prefixes, whole
from flan.model.sampling import draw_tokens, penalized, token_logprobs
from flan.model.scoring import NotFinite, OptionScore, check_scorable, score_options
from flan.serve.sequences import (
    AnswerRequest,
    Completion,
    Piece,
    Request,
    ScoreRequest,
    Scoring,
    Writing,
    places_of_options,
)
from flan.serve.waiting import Waiting
from flan.spec import Sampling

READ_TOKENS = 2_048
"""Tokens of prompts and options that are read in a pass when nobody is being written to."""
READ_BESIDE = 1_024
"""The same while others are: so much longer they wait for their next token."""
CACHE_BYTES = 2**30
"""Of keys and values, unless said otherwise."""
WAITING_TOKENS = 2**20
"""Tokens, prompts and what may be written, of all requests that wait, unless said otherwise."""
STOP_S = 10.0
"""How long stop() waits for the pass that is running."""
BEAT_S = 0.5
"""An idle engine shows this often that it lives."""


class Overloaded(FlanError):
    """As many requests wait as may wait."""

    code, blame = "overloaded", "infra"


class EngineStopped(FlanError):
    """The engine no longer runs: it was told to stop, or it failed."""

    code, blame = "engine_stopped", "infra"


class Status(NamedTuple):
    """How the engine is."""

    is_alive: bool
    beat_age_s: float
    """Seconds since the last pass, or since an idle engine looked for work."""
    active: int
    """Sequences in flight."""
    waiting: int
    """Requests that have not begun, or not with all their answers."""
    requests: int
    """Finished since the start."""
    tokens: int
    """Drawn since the start."""
    waiting_tokens: int = 0
    """Tokens of the requests that wait, what they may write included."""
    cache_places: int = 0
    """Tokens whose keys and values the cache has room for."""
    cache_used: int = 0
    """Places taken by sequences in flight; the others are free or remember prompts."""
    read_tokens: int = 0
    """Prompt tokens computed since the start."""
    copied_tokens: int = 0
    """Prompt tokens that were not, because the cache had them."""


class _Reading(NamedTuple):
    ids: Ids
    num_top: int
    future: Future[list[ReadToken]]


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
        self._waiting = Waiting()
        self._flight: list[Writing | Scoring] = []
        self._encoded_scorings: deque[ScoreRequest] = deque()
        """Of an encoder-decoder: scored apart from the answers, between two passes."""
        self._readings: deque[_Reading] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._failure: BaseException | None = None
        self._beat = time.monotonic()
        self._num_requests = self._num_tokens = self._num_read = self._num_copied = 0
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
            regions = self._passes.regions
            return Status(
                is_alive=self._thread.is_alive() and self._failure is None,
                beat_age_s=time.monotonic() - self._beat,
                active=len(self._flight),
                waiting=len(self._waiting) + len(self._encoded_scorings),
                requests=self._num_requests,
                tokens=self._num_tokens,
                waiting_tokens=sum(_tokens_of(request) for request in self._waiting),
                cache_places=regions.num_places,
                cache_used=regions.num_used,
                read_tokens=self._num_read,
                copied_tokens=self._num_copied,
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
        reading = _Reading(ids, num_top, Future())
        with self._changed:
            self._check_running()
            self._readings.append(reading)
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
                self._encoded_scorings.append(request)
            else:
                self._waiting.add(request)
            self._changed.notify()
        return request.future

    def _admit(self, request: Request) -> None:
        self._check_running()
        behind = self._behind(request)
        num_tokens = sum(map(_tokens_of, behind))
        if (
            behind
            and behind[-1] is request
            and (len(behind) > self._max_waiting or num_tokens > self._max_waiting_tokens)
        ):
            raise Overloaded(
                f"{self._max_batch} sequences are in flight and {len(behind) - 1} requests wait",
                hint="try again in a moment, or serve with a larger max_waiting",
                max_batch=self._max_batch, waiting=len(behind) - 1, max_waiting=self._max_waiting,
                waiting_tokens=num_tokens - _tokens_of(request), max_waiting_tokens=self._max_waiting_tokens,
            )  # fmt: skip

    def _behind(self, newcomer: Request) -> Sequence[Request]:
        """Requests that wait for others, `newcomer` last; one that begins with the next pass waits for nobody."""
        if self._is_encoder_decoder and isinstance(newcomer, ScoreRequest):
            return [*self._encoded_scorings, newcomer][1:]
        behind: list[Request] = []
        in_use, places = len(self._flight), self._passes.regions.num_used
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
                    self._join()
                    self._pass()
                    self._score_encoded()
                    self._read()
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
        return bool(self._waiting or self._encoded_scorings or self._readings or self._flight)

    def _forget_ended(self) -> None:
        """Let go of requests whose client has gone or waits no longer, and of those that failed."""
        with self._changed:
            self._waiting.forget_ended()
            self._encoded_scorings = deque(each for each in self._encoded_scorings if not each.future.done())
        self._keep([not sequence.request.future.done() for sequence in self._flight])

    def _join(self) -> None:
        """Let waiting requests begin while there is room."""
        room = READ_TOKENS
        while len(self._flight) < self._max_batch and room > 0:
            with self._changed:
                begun = self._begin()
            if begun is None:
                return
            request, region = begun
            if request.unbegun[0] == 0:
                request.began()
            if self._is_encoder_decoder and region.num_read == 0:
                self._passes.encode(region, request.prompt)
                self._num_read += len(request.prompt)
                room -= len(request.prompt)
            with self._changed:
                number = request.unbegun.popleft()
                if isinstance(request, AnswerRequest):
                    self._flight.append(Writing(request, number, region, self._model))
                elif isinstance(request, ScoreRequest):
                    self._flight.append(Scoring(request, region))
                self._waiting.begun(request)

    def _begin(self) -> tuple[Request, Region] | None:
        """The next request that can begin, and a region for its next sequence, with what is known of its prompt."""
        regions = self._passes.regions
        for request in self._waiting.in_turn():
            shared = regions.shared(request.prefixes)
            if not shared.is_ready:
                # Its beginning is being read for another: it will be there to be copied.
                continue
            region = regions.take(request.num_places, request.prefixes, shared)
            if region is None and shared.source is not None:
                # What it could have copied is in the way.
                shared = NOTHING
                region = regions.take(request.num_places, request.prefixes, shared)
            if region is None:
                # Nobody overtakes it: a large request would wait for ever.
                return None
            if shared.source is not None:
                self._passes.copy(shared.source, region, shared.length)
                self._num_copied += shared.length
            return request, region
        return None

    def _pass(self) -> None:
        """Feed every sequence that there is room for, and tell each what the model says."""
        if not self._flight:
            return
        room = READ_TOKENS if all(sequence.is_reading for sequence in self._flight) else READ_BESIDE
        fed: list[tuple[Writing | Scoring, list[Feed]]] = []
        for sequence in self._flight:
            if sequence.is_reading and room <= 0:
                continue
            feeds = sequence.feeds(room)
            if sequence.is_reading:
                room -= sum(len(feed.tokens) for feed in feeds)
            fed.append((sequence, feeds))
        logits_UV = self._passes.run([feed for _, feeds in fed for feed in feeds])
        writers: list[Writing] = []
        rows: list[int] = []
        scorings: list[tuple[Scoring, list[Feed], int]] = []
        row = 0
        for sequence, feeds in fed:
            self._note_read(sequence, feeds)
            num_wanted = sum(feed.num_wanted for feed in feeds)
            if isinstance(sequence, Scoring):
                scorings.append((sequence, feeds, row))
            elif num_wanted:
                writers.append(sequence)
                rows.append(row)
            row += num_wanted
        if writers:
            self._write(writers, logits_UV if len(rows) == row else logits_UV[rows])
        if scorings:
            self._score(scorings, logits_UV)
        self._keep([not _has_ended(sequence) for sequence in self._flight])

    def _note_read(self, sequence: Writing | Scoring, feeds: Sequence[Feed]) -> None:
        region, length = sequence.region, len(sequence.request.prompt)
        if region.num_read < length:
            self._num_read += len(feeds[0].tokens)
            region.num_read += len(feeds[0].tokens)

    def _write(self, writers: Sequence[Writing], logits_BV: Tensor) -> None:
        """One token more for each of `writers`."""
        samplings = [writer.request.sampling for writer in writers]
        penalized_BV = logits_BV
        if any(sampling.repetition_penalty != 1 for sampling in samplings):
            seen = [
                writer.seen if writer.request.sampling.repetition_penalty != 1 else [] for writer in writers
            ]
            penalized_BV = penalized(logits_BV, samplings, seen)
        tokens_B, is_finite_B = draw_tokens(penalized_BV, samplings, [writer.noise for writer in writers])
        if any(writer.request.has_logprobs for writer in writers):
            logprobs = token_logprobs(logits_BV, tokens_B).tolist()
            for writer, logprob in zip(writers, logprobs, strict=True):
                if writer.request.has_logprobs:
                    writer.logprobs.append(logprob)
        for writer, token, is_number in zip(writers, tokens_B.tolist(), is_finite_B.tolist(), strict=True):
            if not is_number:
                _fail(writer.request.future, NotFinite("the model's logits are not finite"))
                continue
            writer.push(token)
            if writer.finish_reason is not None:
                self._complete(writer)
        self._num_tokens += len(writers)

    def _complete(self, writer: Writing) -> None:
        request = writer.request
        request.completions.append(writer.completion())
        if len(request.completions) == request.n:
            self._answer(request.future, sorted(request.completions))

    def _score(self, scorings: Sequence[tuple[Scoring, list[Feed], int]], logits_UV: Tensor) -> None:
        """The log-probabilities of what the options of this pass expect."""
        asked = [(sequence, feeds, row, sequence.scored(feeds)) for sequence, feeds, row in scorings]
        rows = [row + own for _, _, row, scored in asked for own in scored.rows]
        tokens = [token for *_, scored in asked for token in scored.tokens]
        logprobs: list[float] = []
        if rows:
            of_U = logits_UV.logsumexp(dim=-1)
            logprobs = (logits_UV[rows, tokens] - of_U[rows]).tolist()
        start = 0
        for sequence, feeds, _, scored in asked:
            sequence.hear(feeds, logprobs[start : start + len(scored.rows)])
            start += len(scored.rows)
            if sequence.has_ended:
                self._answer_scores(sequence.request.future, sequence.scores())

    def _answer_scores(self, future: Future[Any], scores: list[OptionScore]) -> None:
        if not all(math.isfinite(score.logprob) for score in scores):
            _fail(future, NotFinite("the model gives an option a log-probability that is no number"))
            return
        self._answer(future, scores)

    def _answer(self, future: Future[Any], result: object) -> None:
        if future.set_running_or_notify_cancel():
            self._num_requests += 1
            future.set_result(result)

    def _keep(self, is_kept: Sequence[bool]) -> None:
        """Let go of the others; what was read of their prompts is remembered."""
        if all(is_kept):
            return
        with self._changed:
            for sequence, keep in zip(self._flight, is_kept, strict=True):
                if not keep:
                    self._passes.regions.give_back(sequence.region)
            self._flight = [each for each, keep in zip(self._flight, is_kept, strict=True) if keep]

    def _score_encoded(self) -> None:
        """Score what waits for it on an encoder-decoder, as much as fills one forward pass."""
        if not self._encoded_scorings:
            return
        room, batch = READ_TOKENS, list[ScoreRequest]()
        with self._changed:
            for request in self._encoded_scorings:
                batch.append(request)
                room -= _tokens_of(request)
                if room <= 0:
                    break
        for request in batch:
            request.began()
        scores: Sequence[list[OptionScore] | FlanError]
        try:
            scores = score_options(
                self._model,
                [request.prompt for request in batch],
                [request.options for request in batch],
                batch_tokens=READ_TOKENS,
            )
        except FlanError as error:
            scores = [error] * len(batch)
        with self._changed:
            # Only now: had the engine failed in between, they would be told so.
            for _ in batch:
                self._encoded_scorings.popleft()
        for request, own in zip(batch, scores, strict=True):
            if isinstance(own, FlanError):
                _fail(request.future, own)
            elif not request.future.done():
                self._answer(request.future, own)

    def _read(self) -> None:
        """Read one of the texts that wait for it."""
        with self._changed:
            reading = self._readings.popleft() if self._readings else None
        if reading is None or not reading.future.set_running_or_notify_cancel():
            return
        try:
            found = read_tokens(self._model, reading.ids, reading.num_top)
        except FlanError as error:
            reading.future.set_exception(error)
        except BaseException:
            reading.future.set_exception(_stopped())
            raise
        else:
            self._num_requests += 1
            reading.future.set_result(found)

    def _fail_everyone(self) -> None:
        with self._changed:
            futures = [
                *(sequence.request.future for sequence in self._flight),
                *(request.future for request in self._waiting),
                *(request.future for request in self._encoded_scorings),
                *(reading.future for reading in self._readings),
            ]
            self._flight, self._encoded_scorings, self._readings = [], deque(), deque()
            self._waiting.clear()
        for future in futures:
            _fail(future, _stopped())


def _stopped() -> EngineStopped:
    return EngineStopped("the model stopped being served", hint="try again in a moment")


def _tokens_of(request: Request) -> int:
    if isinstance(request, ScoreRequest):
        return len(request.prompt) + sum(map(len, request.options))
    return len(request.unbegun) * request.num_places


def _has_ended(sequence: Writing | Scoring) -> bool:
    is_written = isinstance(sequence, Writing) and sequence.finish_reason is not None
    return is_written or sequence.request.future.done()


def _fail(future: Future[Any], error: FlanError) -> None:
    # A request of several sequences is failed once; one whose client is gone, not at all.
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)


def _ignore(piece: Piece) -> None:
    """For callers who want the whole answer only."""


def _nothing() -> None:
    """For callers who do not ask when it begins."""
