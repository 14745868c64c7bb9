"""A request that is inside a served model: its place, its body, its clock, and whether anybody waits for it."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from flan.errors import FlanError, NotFound
from flan.model.load import Model
from flan.model.scoring import OptionScore
from flan.serve import wire
from flan.serve.admission import Admission, Place
from flan.serve.engine import Engine
from flan.serve.messages import ClassifyRequest, GenerateRequest, ScoreRequest
from flan.serve.openai_messages import OpenAIRequest
from flan.serve.plans import Rank, Sample
from flan.serve.sequences import Completion, Piece
from flan.serve.watch import Watch
from flan.spec import Reference, Sampling, parse

MAX_BODY_BYTES = 4 * 2**20
"""Room for a task's document and solved rows beside the question."""
SHORT_BYTES = 16_384
"""A body up to which a thread of its own would take longer than the tokenizer."""
SCORED_AT_ONCE = 32
"""Prompts of one request that wait to be scored at once."""
T = TypeVar("T")
A = TypeVar("A", bound=GenerateRequest | ClassifyRequest | ScoreRequest | OpenAIRequest)
log = logging.getLogger(__name__)


class Face(NamedTuple):
    """What the routes know."""

    model: Model
    engine: Engine
    admission: Admission
    defaults: Sampling
    token: str | None
    """None: anyone may ask."""
    names: frozenset[str] | None = None
    """Names the model answers to. None: whoever passed the request on has chosen this model."""
    timeout_s: float = 300.0
    """How long an answer may take, where the request does not say."""


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class Asking:
    """A request that is inside: its place, its body, its clock, and whether anybody waits for it."""

    def __init__(self, face: Face, request: Request, body: bytes, place: Place, watch: Watch) -> None:
        self.face, self.request, self.place, self.watch = face, request, place, watch
        self._body = body
        self._timeout_s = face.timeout_s

    def read(self, document: type[A]) -> A:
        """The body. Raises BadRequest, InvalidDocument, NotFound."""
        try:
            value = json.loads(self._body)
        except (ValueError, RecursionError) as error:
            raise wire.BadRequest(f"the body is not JSON: {error}") from error
        asked = parse(document, value)
        _check_name(self.face, asked.model)
        self._timeout_s = min(asked.timeout_s or self.face.timeout_s, self.face.timeout_s)
        return asked

    async def planned(self, plan: Callable[[], T]) -> T:
        """What `plan` makes of the request: here where the text is short, beside the event loop where it is long."""
        return plan() if len(self._body) <= SHORT_BYTES else await run_in_threadpool(plan)

    def writing(
        self, plan: Sample, deliver: Callable[[Piece], None], *, has_logprobs: bool = False
    ) -> Future[list[Completion]]:
        """The answer, begun. Raises Overloaded, EngineStopped."""
        return self.face.engine.generate(
            plan.prompt,
            plan.sampling,
            n=plan.n,
            has_logprobs=has_logprobs,
            deliver=deliver,
            began=self.watch.began,
            client=self.place.caller,
        )

    async def scored(self, ranks: Sequence[Rank]) -> list[list[OptionScore]]:
        """The scores of each of `ranks`, asked few at a time: one request is not to fill the queue."""
        found: list[list[OptionScore]] = []
        for start in range(0, len(ranks), SCORED_AT_ONCE):
            some = ranks[start : start + SCORED_AT_ONCE]
            engine, began, client = self.face.engine, self.watch.began, self.place.caller
            found += await self.unless_gone(
                [engine.score(rank.prompt, rank.targets, began=began, client=client) for rank in some]
            )
        return found

    async def unless_gone(self, futures: Sequence[Future[T]]) -> list[T]:
        """What the engine gives; taken back from it when the client goes away first, or the time is over.

        Raises DeadlineExceeded.
        """
        answer = asyncio.gather(*map(asyncio.wrap_future, futures))
        gone = asyncio.ensure_future(_disconnect(self.request))
        either: list[asyncio.Future[Any]] = [answer, gone]
        try:
            await asyncio.wait(either, timeout=self.left_s, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if gone.done():
                raise ClientGone
            raise self.too_late()
        finally:
            gone.cancel()
            answer.cancel()
            for future in futures:
                future.cancel()

    @property
    def left_s(self) -> float:
        """How long the answer may still take."""
        return max(0.0, self._timeout_s - self.watch.age_s)

    def too_late(self) -> wire.DeadlineExceeded:
        """What is said when nothing is left."""
        return wire.DeadlineExceeded(
            f"the answer was not there after {self._timeout_s:g} s",
            hint="ask for less, or give it a longer timeout_s",
            pointer="/timeout_s", timeout_s=self._timeout_s,
        )  # fmt: skip


async def admitted(face: Face, request: Request) -> Asking:
    """The request with its place. Raises TooLarge, Overloaded."""
    watch, caller = Watch(), request.headers.get(wire.CALLER_HEADER)
    # Refused before it has come: what is refused is to cost those inside as little as may be.
    face.admission.check(caller, _declared_bytes(request))
    body = await _body(request)
    place = face.admission.enter(caller, len(body))
    return Asking(face, request, body, place, watch)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> bytes:
    """The body as it came. Raises TooLarge."""
    too_large = wire.TooLarge(f"the body is larger than {MAX_BODY_BYTES:,} bytes", max_bytes=MAX_BODY_BYTES)
    if _declared_bytes(request) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise too_large
    return bytes(body)


def _declared_bytes(request: Request) -> int:
    declared = request.headers.get("content-length", "0")
    return int(declared) if declared.isdecimal() else 0


def _check_name(face: Face, name: Reference | None) -> None:
    if name is not None and face.names is not None and name not in face.names:
        served = sorted(face.names)
        raise NotFound(f"no model {name!r} here", hint=f"served is {served[0]}", pointer="/model")


def problem_body(request: Request, error: FlanError) -> dict[str, Any]:
    request_id = str(request.scope["flan.request_id"])
    if wire.status_of(error) == 500:
        log.error("request failed", extra={"request_id": request_id, "code": error.code}, exc_info=error)
    return wire.problem(error, request.url.path, request_id)
