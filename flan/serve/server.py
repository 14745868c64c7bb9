"""The HTTP face of one served model: of a `serve` job, and of `flan serve MODEL` on its own.

    POST /generate /classify /score     the bearer token of the run directory
    GET  /model                         what is served
    GET  /healthz /readyz               this process answers; its engine answers

uvicorn runs in a thread of its own and the engine in another; the main thread reads the wish, tells how it
goes and ends both. A request whose client goes away is taken back from the engine at once.
"""

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flan.errors import FlanError, NotFound
from flan.model.load import Model
from flan.serve import wire
from flan.serve.answers import classify_answer, generate_answer, score_answer
from flan.serve.engine import Engine, EngineStopped, Status
from flan.serve.messages import ClassifyRequest, GenerateRequest, ScoreRequest
from flan.serve.plans import Rank, Sample, plan_classify, plan_generate, plan_score
from flan.serve.sequences import Piece
from flan.spec import Document, Reference, Sampling, parse

MAX_BODY_BYTES = 2**20
HEARTBEAT_S = 10.0
STUCK_S = 30.0
"""An engine that has not finished a step for so long is not ready."""
_REQUEST_ID_CHARS = 128
T = TypeVar("T")
D = TypeVar("D", bound=Document)
log = logging.getLogger(__name__)


class Face(NamedTuple):
    """What the routes know."""

    model: Model
    engine: Engine
    defaults: Sampling
    token: str | None
    """None: anyone may ask."""
    names: frozenset[str] | None = None
    """Names the model answers to. None: whoever passed the request on has chosen this model."""


class _ClientGone(Exception):
    """Nobody waits for the answer any more."""


def make_app(face: Face) -> ASGIApp:
    """The application that serves `face.model`."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(FlanError, _problem_of)
    app.add_exception_handler(HTTPException, _routing_problem_of)
    app.add_exception_handler(_ClientGone, _nobody_reads)
    app.add_exception_handler(ClientDisconnect, _nobody_reads)
    app.add_exception_handler(Exception, _failure_of)
    model, engine, card = face.model, face.engine, face.model.card
    guarded = [Depends(_bearer(face.token))]

    @app.post("/generate", dependencies=guarded)
    async def generate(request: Request) -> Response:
        asked = await _read(request, GenerateRequest)
        _check_name(face, asked.model)
        plan = await run_in_threadpool(plan_generate, model, face.defaults, asked)
        if isinstance(plan, Rank):
            scores = await _unless_gone(request, engine.score(plan.prompt, plan.targets))
            return _json(generate_answer(card, asked, plan, scores))
        if asked.stream:
            return _TokenStream(face, request, asked, plan)
        writing = engine.generate(plan.prompt, plan.sampling, n=plan.n, has_logprobs=asked.logprobs)
        completions = await _unless_gone(request, writing)
        return _json(generate_answer(card, asked, plan, completions))

    @app.post("/classify", dependencies=guarded)
    async def classify(request: Request) -> Response:
        asked = await _read(request, ClassifyRequest)
        _check_name(face, asked.model)
        plan = await run_in_threadpool(plan_classify, model, asked)
        scores = await _unless_gone(request, engine.score(plan.prompt, plan.targets))
        return _json(classify_answer(card, plan, scores))

    @app.post("/score", dependencies=guarded)
    async def score(request: Request) -> Response:
        asked = await _read(request, ScoreRequest)
        _check_name(face, asked.model)
        plan = await run_in_threadpool(plan_score, model, asked)
        scores = await _unless_gone(request, engine.score(plan.prompt, plan.targets))
        return _json(score_answer(card, plan, scores))

    @app.get("/model", dependencies=guarded)
    async def served_model() -> Response:
        about = {"object": "model", "card": card.model_dump(mode="json"), "contract": card.contract.digest()}
        return JSONResponse(about | {"sampling": face.defaults.model_dump(mode="json")})

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> Response:
        status = engine.status()
        figures = {"active": status.active, "waiting": status.waiting, "requests": status.requests}
        if not is_ready(status):
            raise EngineStopped("the engine does not answer", hint="it is started anew", status=figures)
        return JSONResponse({"status": "ready", **figures})

    # Around everything, so that an answer to what nobody foresaw has an id too.
    return _RequestIds(app)


def is_ready(status: Status) -> bool:
    """Whether the engine answers: its thread lives, and was not lost in a step."""
    return status.is_alive and status.beat_age_s < STUCK_S


class _TokenStream(StreamingResponse):
    """An answer as it is written: `token` events, then one `done` with all that a whole answer has."""

    def __init__(self, face: Face, request: Request, asked: GenerateRequest, plan: Sample) -> None:
        loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Piece | None] = asyncio.Queue()
        # Begun here, not in the stream: what is refused is refused with a status.
        self._future = face.engine.generate(
            plan.prompt,
            plan.sampling,
            n=plan.n,
            has_logprobs=asked.logprobs,
            deliver=lambda piece: _tell(loop, self._events, piece),
        )
        self._future.add_done_callback(lambda _: _tell(loop, self._events, None))
        self._face, self._request, self._asked, self._plan = face, request, asked, plan
        super().__init__(self._frames(), media_type=wire.EVENT_STREAM, headers={"Cache-Control": "no-store"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; whatever ends the sending early ends the writing too."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._future.cancel()

    async def _frames(self) -> AsyncIterator[bytes]:
        while True:
            try:
                piece = await asyncio.wait_for(self._events.get(), HEARTBEAT_S)
            except TimeoutError:
                yield wire.HEARTBEAT
                continue
            if piece is None:
                break
            yield wire.event("token", {"index": piece.sample, "text": piece.text})
        try:
            completions = self._future.result()
        except FlanError as error:
            yield wire.event("error", _problem_body(self._request, error))
            return
        yield wire.event("done", generate_answer(self._face.model.card, self._asked, self._plan, completions))


def _tell(loop: asyncio.AbstractEventLoop, events: asyncio.Queue[Piece | None], piece: Piece | None) -> None:
    # The loop is closed once the server has ended: then nobody is there to be told.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(events.put_nowait, piece)


async def _unless_gone(request: Request, future: Future[T]) -> T:
    """What the engine gives; taken back from it when the client goes away first."""
    answer = asyncio.wrap_future(future)
    gone = asyncio.ensure_future(_disconnect(request))
    either: list[asyncio.Future[Any]] = [answer, gone]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise _ClientGone
        return answer.result()
    finally:
        gone.cancel()
        future.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read(request: Request, document: type[D]) -> D:
    """The body as a document. Raises TooLarge, BadRequest, InvalidDocument."""
    too_large = wire.TooLarge(f"the body is larger than {MAX_BODY_BYTES:,} bytes", max_bytes=MAX_BODY_BYTES)
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise too_large
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise wire.BadRequest(f"the body is not JSON: {error}") from error
    return parse(document, value)


def _check_name(face: Face, name: Reference | None) -> None:
    if name is not None and face.names is not None and name not in face.names:
        served = sorted(face.names)
        raise NotFound(f"no model {name!r} here", hint=f"served is {served[0]}", pointer="/model")


def _bearer(token: str | None) -> Callable[[Request], Awaitable[None]]:
    async def check(request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        is_right = secrets.compare_digest(given.strip().encode(), (token or "").encode())
        if token is not None and not (scheme.lower() == "bearer" and is_right):
            raise wire.Unauthorized("a valid token is needed", hint="send Authorization: Bearer TOKEN")

    return check


class _RequestIds:
    """Gives every request an id, or keeps the one it came with; it is in each answer and problem."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        is_usable = 0 < len(given) <= _REQUEST_ID_CHARS and given.isascii() and given.isprintable()
        request_id = given if is_usable else f"req_{secrets.token_hex(12)}"
        scope["flan.request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        await self._app(scope, receive, send_with_id)


def _json(document: Document) -> Response:
    return Response(document.model_dump_json(), media_type="application/json")


def _problem_body(request: Request, error: FlanError) -> dict[str, Any]:
    request_id = str(request.scope["flan.request_id"])
    if wire.status_of(error) == 500:
        log.error("request failed", extra={"request_id": request_id, "code": error.code}, exc_info=error)
    return wire.problem(error, request.url.path, request_id)


async def _problem_of(request: Request, error: Exception) -> Response:
    assert isinstance(error, FlanError)
    status = wire.status_of(error)
    body = _problem_body(request, error)
    return JSONResponse(body, status, headers=dict(wire.headers_of(status)), media_type=wire.PROBLEM_TYPE)


async def _routing_problem_of(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    wrong_way = f"{request.method} is not allowed here"
    there_is = wrong_way if error.status_code == 405 else f"there is nothing at {request.url.path}"
    return await _problem_of(request, wire.NoSuchRoute(there_is, status=error.status_code))


async def _failure_of(request: Request, error: Exception) -> Response:
    return await _problem_of(request, wire.Broken(f"{type(error).__name__}: {error}"))


async def _nobody_reads(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)
