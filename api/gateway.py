"""Questions on their way to a served model, and answers on their way back.

A model is served by a rank on some node, which wants the token in its run directory. The body goes there as
it came and the answer comes back byte for byte as the rank writes it, so a stream is a stream. When the
client goes away, the rank is told by the connection's end.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import httpx
from anyio import to_thread
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from api.deps import Platform
from api.problems import HttpError
from flan.errors import FlanError
from workers.ledger import models
from workers.ledger.models import Served

_PASSED_ON = ("content-type", "cache-control", "retry-after")
_CLIENT_GONE = 499  # nobody reads it; it tells the figures apart


class NoModelNamed(HttpError):
    """The request names no model, and which one is meant cannot be told."""

    code, status = "model_needed", 422


class ModelUnreachable(HttpError):
    """The served model does not answer; it is being started again, or is gone."""

    code, status, blame = "model_unreachable", 503, "infra"


class ModelTooSlow(HttpError):
    """The served model did not answer in time."""

    code, status, blame = "model_timeout", 504, "infra"


async def forward(here: Platform, request: Request, path: str, model: str | None, body: bytes) -> Response:
    """The answer of the model called `model` (None = the default) to `body`, sent to its `path`.

    Raises ModelNotFound and NoModelNamed, both listing what is served; ModelUnreachable, ModelTooSlow.
    """
    served = await to_thread.run_sync(_find, here, model)
    token = await to_thread.run_sync(_token, served)
    sent = here.ranks.build_request(
        "POST",
        f"{served.url.rstrip('/')}{path}",
        content=body,
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "X-Request-Id": request.scope["flan.request_id"],
        },
        timeout=httpx.Timeout(here.settings.answer_timeout_s, connect=5),
    )
    answer = await _unless_gone(request, partial(_ask, here, sent))
    if answer is None:
        return Response(status_code=_CLIENT_GONE)
    headers = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
    return StreamingResponse(_bytes(answer), answer.status_code, headers)


def model_of(body: bytes) -> str | None:
    """What an OpenAI request calls its model; the rank reads the rest."""
    try:
        value: Any = json.loads(body)
    except ValueError:
        return None
    return value.get("model") if isinstance(value, dict) else None


def _find(here: Platform, model: str | None) -> Served:
    with here.sessions.begin() as session:
        if model is not None:
            try:
                return models.find_served(session, model)
            except models.ModelNotFound as error:
                error.pointer = "/model"
                raise
        served = models.find_default_served(session)
        names = sorted({each.name for each in models.all_served(session)})
    if served is None:
        several = f"served are: {', '.join(names)}" if names else "deploy a model with a serve job first"
        raise NoModelNamed("name a model", hint=several, pointer="/model", served=names)
    return served


def _token(served: Served) -> str:
    try:
        return served.token_path.read_text().strip()
    except FileNotFoundError as error:
        raise ModelUnreachable(f"model {served.name!r} has just stopped", hint="try again") from error


async def _ask(here: Platform, sent: httpx.Request) -> httpx.Response:
    """The head of the rank's answer; its body is still to be read."""
    try:
        return await here.ranks.send(sent, stream=True)
    except httpx.TimeoutException as error:
        raise ModelTooSlow("the model did not answer in time", hint="ask for less, or try again") from error
    except httpx.HTTPError as error:
        raise ModelUnreachable("the model cannot be reached now", hint="try again") from error


async def _unless_gone(
    request: Request, ask: Callable[[], Awaitable[httpx.Response]]
) -> httpx.Response | None:
    """What `ask` brings; None when the client goes away first, and then `ask` is given up."""
    outcome: httpx.Response | FlanError | None = None

    async def asking() -> None:
        nonlocal outcome
        try:
            outcome = await ask()
        except FlanError as error:
            outcome = error  # raised outside: a task group would wrap it
        both.cancel_scope.cancel()

    async def watching() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        both.cancel_scope.cancel()

    async with anyio.create_task_group() as both:
        both.start_soon(asking)
        both.start_soon(watching)
    if isinstance(outcome, FlanError):
        raise outcome
    return outcome


async def _bytes(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        with anyio.CancelScope(shield=True):
            await answer.aclose()
