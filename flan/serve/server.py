"""The HTTP face of one served model: of a `serve` job, and of `flan serve MODEL` on its own.

    POST /generate /classify /score     the bearer token of the run directory
    POST /v1/completions, /v1/chat/completions; GET /v1/models: what OpenAI's clients speak
    GET  /model                         what is served
    GET  /health                        the model writes a token
    GET  /healthz /readyz               this process answers; its engine is well

uvicorn runs in a thread of its own and the engine in another; the main thread reads the wish, tells how it
goes and ends both. A request whose client goes away is taken back from the engine at once.
"""

import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flan.data.tokens import encode_prompt
from flan.errors import FlanError
from flan.serve import wire
from flan.serve.answers import classify_answer, generate_answer, score_answer
from flan.serve.asking import ClientGone, Face, admitted, problem_body
from flan.serve.messages import ClassifyRequest, GenerateRequest, ScoreRequest
from flan.serve.openai_face import OpenAIWording, answer_of, plan_openai, read_plans
from flan.serve.openai_messages import ChatRequest, CompletionRequest
from flan.serve.outcomes import EngineStopped
from flan.serve.plans import Rank, plan_classify, plan_generate, plan_score
from flan.serve.sequences import Completion
from flan.serve.status import Status
from flan.serve.streams import NativeWording, TokenStream
from flan.spec import Document, Sampling

STUCK_S = 30.0
"""An engine that has not finished a step for so long is not ready."""
_REQUEST_ID_CHARS = 128


def make_app(face: Face) -> ASGIApp:
    """The application that serves `face.model`."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(FlanError, _problem_of)
    app.add_exception_handler(HTTPException, _routing_problem_of)
    app.add_exception_handler(ClientGone, _nobody_reads)
    app.add_exception_handler(ClientDisconnect, _nobody_reads)
    app.add_exception_handler(Exception, _failure_of)
    model, engine, card = face.model, face.engine, face.model.card
    guarded = [Depends(_bearer(face.token))]

    @app.post("/generate", dependencies=guarded)
    async def generate(request: Request) -> Response:
        asking = await admitted(face, request)
        with asking.place:
            asked = asking.read(GenerateRequest)
            plan = await asking.planned(lambda: plan_generate(model, face.defaults, asked))
            if isinstance(plan, Rank):
                (scores,) = await asking.scored([plan])
                return _json(generate_answer(card, asked, plan, scores, asking.watch.timing()))
            if asked.stream:
                wording = NativeWording(asking, asked, plan)
                return TokenStream(asking, plan, wording, has_logprobs=asked.logprobs)
            writing = asking.writing(plan, asking.watch.spoke, has_logprobs=asked.logprobs)
            (completions,) = await asking.unless_gone([writing])
            return _json(generate_answer(card, asked, plan, completions, asking.watch.timing()))

    @app.post("/classify", dependencies=guarded)
    async def classify(request: Request) -> Response:
        asking = await admitted(face, request)
        with asking.place:
            asked = asking.read(ClassifyRequest)
            vote = await asking.planned(lambda: plan_classify(model, asked))
            scores = await asking.scored(vote.ranks)
            return _json(classify_answer(card, vote, scores, asking.watch.timing()))

    @app.post("/score", dependencies=guarded)
    async def score(request: Request) -> Response:
        asking = await admitted(face, request)
        with asking.place:
            asked = asking.read(ScoreRequest)
            plan = await asking.planned(lambda: plan_score(model, asked))
            (scores,) = await asking.scored([plan])
            return _json(score_answer(card, plan, scores, asking.watch.timing()))

    @app.post("/v1/completions", dependencies=guarded)
    async def complete(request: Request) -> Response:
        return await _openai(request, CompletionRequest)

    @app.post("/v1/chat/completions", dependencies=guarded)
    async def chat(request: Request) -> Response:
        return await _openai(request, ChatRequest)

    async def _openai(request: Request, document: type[CompletionRequest] | type[ChatRequest]) -> Response:
        asking = await admitted(face, request)
        with asking.place:
            asked = asking.read(document)
            plans = await asking.planned(lambda: plan_openai(model, face.defaults, asked))
            if asked.stream:
                return TokenStream(asking, plans[0].sample, OpenAIWording(asking, asked, plans[0]))
            writings = [
                asking.writing(each.sample, asking.watch.spoke, has_logprobs=True)
                for each in plans
                if each.writes
            ]
            written = iter(await asking.unless_gone(writings) if writings else [])
            completions = [next(written) if each.writes else [] for each in plans]
            texts = read_plans(asked, plans, completions)
            readings = [engine.read(ids, num_top=max(1, num_top)) for ids, num_top in texts]
            read = await asking.unless_gone(readings) if readings else []
            return JSONResponse(answer_of(model, asked, plans, completions, read))

    @app.get("/v1/models", dependencies=guarded)
    async def served_models() -> Response:
        names = sorted(face.names or {card.name})
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "flan"} for name in names]
        return JSONResponse({"object": "list", "data": data})

    @app.get("/model", dependencies=guarded)
    async def served_model() -> Response:
        about = {"object": "model", "card": card.model_dump(mode="json"), "contract": card.contract.digest()}
        return JSONResponse(about | {"sampling": face.defaults.model_dump(mode="json")})

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/health", dependencies=guarded)
    async def health(request: Request) -> Response:
        asking = await admitted(face, request)
        with asking.place:
            await asking.unless_gone([one_token(face)])
            return JSONResponse({"status": "ok", "timing": asking.watch.timing().model_dump()})

    @app.get("/readyz")
    async def readyz() -> Response:
        status = engine.status()
        figures = {"active": status.active, "waiting": status.waiting, "requests": status.requests}
        figures |= {"inside": face.admission.num_inside, "refused": face.admission.num_refused}
        figures |= {"tokens": status.tokens, "read_tokens": status.read_tokens}
        figures |= {"copied_tokens": status.copied_tokens}
        figures |= {"cache_places": status.cache_places, "cache_used": status.cache_used}
        if not is_ready(status):
            raise EngineStopped("the engine does not answer", hint="it is started anew", status=figures)
        return JSONResponse({"status": "ready", **figures})

    # Around everything, so that an answer to what nobody foresaw has an id too.
    return _RequestIds(app)


def is_ready(status: Status) -> bool:
    """Whether the engine answers: its thread lives, and was not lost in a step."""
    return status.is_alive and status.beat_age_s < STUCK_S


def one_token(face: Face) -> Future[list[Completion]]:
    """The most probable first token after an empty prompt, asked of the model. Raises Overloaded, EngineStopped."""
    nothing = encode_prompt(face.model.tokenizer, face.model.card.contract, "")
    return face.engine.generate(nothing, Sampling(temperature=0, max_new_tokens=1, seed=0))


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


async def _problem_of(request: Request, error: Exception) -> Response:
    assert isinstance(error, FlanError)
    status = wire.status_of(error)
    body = problem_body(request, error)
    return JSONResponse(body, status, headers=dict(wire.headers_of(error)), media_type=wire.PROBLEM_TYPE)


async def _routing_problem_of(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    wrong_way = f"{request.method} is not allowed here"
    there_is = wrong_way if error.status_code == 405 else f"there is nothing at {request.url.path}"
    return await _problem_of(request, wire.NoSuchRoute(there_is, status=error.status_code))


async def _failure_of(request: Request, error: Exception) -> Response:
    return await _problem_of(request, wire.Broken(f"{type(error).__name__}: {error}"))


async def _nobody_reads(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)
