"""One model, many requests at once: continuous batching in one thread.

    generate() ──▶ waiting ──▶ join: read the prompt once, n rows ──▶ in flight ──▶ step: one token for each
    score()    ──▶ waiting ──▶ between two steps, through flan.model.scoring

Sequences join and leave at every step; a long answer keeps no short one waiting. What a sequence says does
not depend on its company: a prompt is read alone, a row's token depends on its own logits and noise, and
rounding is all that a batch may change.

A client that goes away cancels its future; its rows leave with the step that is running. Any error that is not of one
request ends the thread, fails everything in flight and shows in `status()`: a half-working engine is worse
than one that is started anew.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flan.data.tokens import Ids
from flan.errors import FlanError
from flan.model.flight import Reader, Rows
from flan.model.load import Model
from flan.model.reading import ReadToken, read_tokens
from flan.model.sampling import draw_tokens, token_logprobs
from flan.model.scoring import NotFinite, OptionScore, score_options
from flan.serve.sequences import Completion, Piece, Request, Writing
from flan.spec import Sampling

READ_TOKENS = 2_048
"""Prompt tokens read between two steps, at least one prompt: what those in flight wait for newcomers."""
SCORE_TOKENS = 2_048
"""Token slots of a forward pass that scores options; requests scored between two steps, at least one."""
STOP_S = 10.0
"""How long stop() waits for the step that is running."""
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
    """Seconds since the last step, or since an idle engine looked for work."""
    active: int
    """Sequences in flight."""
    waiting: int
    """Requests that have not begun."""
    requests: int
    """Finished since the start."""
    tokens: int
    """Drawn since the start."""


class _Scoring(NamedTuple):
    prompt: Ids
    options: Sequence[Ids]
    future: Future[list[OptionScore]]
    began: Callable[[], None]


class _Reading(NamedTuple):
    ids: Ids
    num_top: int
    future: Future[list[ReadToken]]


class Engine:
    """Answers requests with one model. `start()` it; `stop()` it; in between, ask from any thread."""

    def __init__(self, model: Model, *, max_batch: int, max_waiting: int) -> None:
        self._model = model
        self._reader = Reader(model)
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: deque[Request] = deque()
        self._scorings: deque[_Scoring] = deque()
        self._readings: deque[_Reading] = deque()
        self._sequences: list[Writing] = []
        self._rows: Rows | None = None
        self._changed = threading.Condition()
        self._is_stopping = False
        self._failure: BaseException | None = None
        self._beat = time.monotonic()
        self._num_requests = self._num_tokens = 0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more; what is in flight ends in EngineStopped."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join(STOP_S)

    def status(self) -> Status:
        """How the engine is, now."""
        with self._changed:
            return Status(
                is_alive=self._thread.is_alive() and self._failure is None,
                beat_age_s=time.monotonic() - self._beat,
                active=len(self._sequences),
                waiting=len(self._waiting) + len(self._scorings),
                requests=self._num_requests,
                tokens=self._num_tokens,
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
    ) -> Future[list[Completion]]:
        """n answers to `prompt`, in order; cancel the future and they are no longer written.

        The caller sees to it that prompt and answer fit the context and that `sampling` has a seed.
        `deliver` is called on the engine's thread with each piece of text, before the future is done; it
        must not raise, nor must `began`, which is called there when the prompt is taken up. Raises Overloaded,
        EngineStopped.
        """
        unbegun = deque(range(n))
        request = Request(prompt, sampling, n, has_logprobs, deliver or _ignore, began or _nothing, unbegun)
        with self._changed:
            in_use = len(self._sequences) + sum(len(other.unbegun) for other in self._waiting)
            self._admit(must_wait=in_use >= self._max_batch)
            self._waiting.append(request)
            self._changed.notify()
        return request.future

    def score(
        self, prompt: Ids, options: Sequence[Ids], *, began: Callable[[], None] | None = None
    ) -> Future[list[OptionScore]]:
        """How probable each option (target ids) is after `prompt`; `began` as for generate.

        Raises Overloaded, EngineStopped.
        """
        scoring = _Scoring(prompt, options, Future(), began or _nothing)
        with self._changed:
            self._admit(must_wait=bool(self._scorings))
            self._scorings.append(scoring)
            self._changed.notify()
        return scoring.future

    def read(self, ids: Ids, *, num_top: int = 1) -> Future[list[ReadToken]]:
        """What a decoder expected at each token of a text but the first, between two steps of what is in flight.

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

    def _admit(self, *, must_wait: bool) -> None:
        self._check_running()
        waiting = self._num_behind()
        if must_wait and waiting >= self._max_waiting:
            raise Overloaded(
                f"{self._max_batch} sequences are in flight and {waiting} requests wait",
                hint="try again in a moment, or serve with a larger max_waiting",
                max_batch=self._max_batch, waiting=waiting, max_waiting=self._max_waiting,
            )  # fmt: skip

    def _num_behind(self) -> int:
        """Requests that wait for others; one that begins with the next step waits for nobody."""
        num_behind, in_use = max(0, len(self._scorings) - 1), len(self._sequences)
        for request in self._waiting:
            num_behind += in_use >= self._max_batch
            in_use += len(request.unbegun)
        return num_behind

    # Everything below runs on the engine's thread.

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._has_work():
                    self._forget_ended()
                    self._join()
                    self._step()
                    self._score()
                    self._read()
        except BaseException as error:  # noqa: BLE001 - whatever it was, everyone who waits must hear of it
            self._failure = error
        self._fail_everyone()

    def _has_work(self) -> bool:
        with self._changed:
            self._beat = time.monotonic()
            while not (
                self._is_stopping or self._waiting or self._scorings or self._readings or self._sequences
            ):
                self._changed.wait(BEAT_S)
                self._beat = time.monotonic()
            return not self._is_stopping

    def _forget_ended(self) -> None:
        """Let go of waiting requests whose client has gone, or of which a begun sequence failed."""
        with self._changed:
            self._waiting = deque(request for request in self._waiting if not request.future.done())

    def _join(self) -> None:
        """Let waiting requests begin while there is room; each new sequence gets its first token."""
        parts, logits, num_read = [], [], 0
        num_before = len(self._sequences)
        while self._waiting and len(self._sequences) < self._max_batch and num_read < READ_TOKENS:
            request = self._waiting[0]
            request.began()
            row, logits_1V = self._reader.read(request.prompt)
            num_read += len(request.prompt)
            num_joining = min(self._max_batch - len(self._sequences), len(request.unbegun))
            with self._changed:
                for _ in range(num_joining):
                    self._sequences.append(Writing(request, request.unbegun.popleft(), self._model))
                if not request.unbegun:
                    self._waiting.popleft()
            parts.append(row.kept([0] * num_joining))
            logits.append(logits_1V.expand(num_joining, -1))
        if parts:
            self._rows = Rows.merged([*([self._rows] if self._rows else []), *parts])
            self._advance(self._sequences[num_before:], torch.cat(logits))

    def _step(self) -> None:
        if self._rows is None:
            return
        logits_BV = self._reader.write(self._rows, [sequence.tokens[-1] for sequence in self._sequences])
        self._advance(list(self._sequences), logits_BV)

    def _advance(self, sequences: Sequence[Writing], logits_BV: Tensor) -> None:
        """One token more for each of `sequences`; those that end with it leave, and those nobody waits for."""
        is_finite = logits_BV.amax(dim=-1).isfinite().tolist()
        samplings = [sequence.request.sampling for sequence in sequences]
        tokens_B = draw_tokens(logits_BV, samplings, [sequence.noise for sequence in sequences])
        if any(sequence.request.has_logprobs for sequence in sequences):
            for sequence, logprob in zip(
                sequences, token_logprobs(logits_BV, tokens_B).tolist(), strict=True
            ):
                if sequence.request.has_logprobs:
                    sequence.logprobs.append(logprob)
        for sequence, token, is_number in zip(sequences, tokens_B.tolist(), is_finite, strict=True):
            if not is_number:
                _fail(sequence.request.future, NotFinite("the model's logits are not finite"))
                continue
            sequence.push(token)
            if sequence.finish_reason is not None:
                self._complete(sequence)
        self._num_tokens += len(sequences)
        self._keep([
            sequence.finish_reason is None and not sequence.request.future.done()
            for sequence in self._sequences
        ])  # fmt: skip

    def _complete(self, sequence: Writing) -> None:
        request = sequence.request
        request.completions.append(sequence.completion())
        if len(request.completions) == request.n and request.future.set_running_or_notify_cancel():
            self._num_requests += 1
            request.future.set_result(sorted(request.completions))

    def _keep(self, is_kept: Sequence[bool]) -> None:
        if all(is_kept):
            return
        kept = [row for row, keep in enumerate(is_kept) if keep]
        assert self._rows is not None
        self._rows = self._rows.kept(kept) if kept else None
        with self._changed:
            self._sequences = [self._sequences[row] for row in kept]

    def _score(self) -> None:
        """Score what waits for it, as much as fills one forward pass."""
        with self._changed:
            self._scorings = deque(scoring for scoring in self._scorings if not scoring.future.cancelled())
            batch = list(_first_to_fill(SCORE_TOKENS, self._scorings))
        if not batch:
            return
        for scoring in batch:
            scoring.began()
        scores: Sequence[list[OptionScore] | FlanError]
        try:
            scores = score_options(
                self._model,
                [scoring.prompt for scoring in batch],
                [scoring.options for scoring in batch],
                batch_tokens=SCORE_TOKENS,
            )
        except FlanError as error:
            scores = [error] * len(batch)
        with self._changed:
            # Only now: had the engine failed in between, they would be told so.
            for _ in batch:
                self._scorings.popleft()
        for scoring, own in zip(batch, scores, strict=True):
            if isinstance(own, FlanError):
                _fail(scoring.future, own)
            elif scoring.future.set_running_or_notify_cancel():
                self._num_requests += 1
                scoring.future.set_result(own)

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
            futures: list[Future[Any]] = [
                *(sequence.request.future for sequence in self._sequences),
                *(request.future for request in self._waiting),
                *(scoring.future for scoring in self._scorings),
                *(reading.future for reading in self._readings),
            ]
            self._sequences, self._waiting, self._scorings = [], deque(), deque()
            self._readings = deque()
        for future in futures:
            _fail(future, _stopped())


def _stopped() -> EngineStopped:
    return EngineStopped("the model stopped being served", hint="try again in a moment")


def _first_to_fill(room: int, scorings: Iterable[_Scoring]) -> Iterator[_Scoring]:
    for scoring in scorings:
        yield scoring
        room -= len(scoring.prompt) + sum(map(len, scoring.options))
        if room <= 0:
            return


def _fail(future: Future[Any], error: FlanError) -> None:
    # A request of several sequences is failed once; one whose client is gone, not at all.
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)


def _ignore(piece: Piece) -> None:
    """For callers who want the whole answer only."""


def _nothing() -> None:
    """For callers who do not ask when it begins."""
