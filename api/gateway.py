"""Questions on their way to a served model, and answers on their way back.

A model is served by a rank on some node, which wants the token in its run directory. The body goes there as
it came and the answer comes back byte for byte as the rank writes it, so a stream is a stream. When the
client goes away, the rank is told by the connection's end.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
import httpx
from anyio import to_thread
from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from sqlalchemy.orm import Session

from api.auth import caller
from api.deps import Platform
from api.problems import HttpError
from flan.errors import FlanError, did_you_mean
from flan.serve.wire import CALLER_HEADER
from workers.ledger import jobs, models
from workers.ledger.models import Served
from workers.ledger.tables import Job

_CUT = (
    b'event: error\ndata: {"status": 503, "code": "model_unreachable", '
    b'"detail": "the model stopped in the middle of its answer", "retryable": true}\n\n'
)
_NOT_YET = ("running", "queued", "pausing", "paused")
"""States, as shown, of a serve job that may come to answer; the nearest first."""
TRIES = 2
_TRY_ANOTHER = (429, 503)
"""What a replica says that is full, or stops: another one may have room."""
_TOKENS: dict[Path, str] = {}
_TOKENS_KEPT = 1_000
_PASSED_ON = ("content-type", "cache-control", "retry-after")
NOBODY_WAITS = Response(status_code=499)
"""For a client that went away. Nobody reads it; it tells the figures apart."""


class NoModelNamed(HttpError):
    """The request names no model, and which one is meant cannot be told."""

    code, status = "model_needed", 422


class ModelStarting(HttpError):
    """The model is to be served, and its job is not so far yet."""

    code, status, blame = "model_starting", 503, "infra"


class ModelUnreachable(HttpError):
    """The served model does not answer; it is being started again, or is gone."""

    code, status, blame = "model_unreachable", 503, "infra"


class ModelTooSlow(HttpError):
    """The served model did not answer in time."""

    code, status, blame = "model_timeout", 504, "infra"


class Asked(NamedTuple):
    """The head of a served model's answer, its body still to be read, and what ends with it."""

    answer: httpx.Response
    in_hand: AbstractContextManager[None]

    async def close(self) -> None:
        """The answer was read, or nobody reads on: then the rank is told by the connection's end."""
        with anyio.CancelScope(shield=True):
            await self.answer.aclose()
        self.in_hand.__exit__(None, None, None)


async def forward(here: Platform, request: Request, path: str, model: str | None, body: bytes) -> Response:
    """The answer of the model called `model` (None = the default) to `body`, as it writes it.

    Raises what `ask` raises.
    """
    asked = await ask(here, request, path, model, body)
    return NOBODY_WAITS if asked is None else await passed_on(asked)


async def ask(here: Platform, request: Request, path: str, model: str | None, body: bytes) -> Asked | None:
    """The head of a served model's answer; None when the client went away.

    A question changes nothing, so one that a replica cannot answer, because it died, stops or is full, is put once
    more to another one. Raises ModelNotFound and NoModelNamed, both listing what is served; ModelStarting,
    ModelUnreachable, ModelTooSlow.
    """
    tried: set[str] = set()
    replicas = await to_thread.run_sync(_find, here, model)
    while True:
        replica = here.replicas.choose(replicas)
        tried.add(replica.url)
        outcome: Asked | ModelUnreachable | None
        try:
            outcome = await _unless_gone(request, partial(_ask_one, here, request, path, replica, body))
        except ModelUnreachable as error:
            outcome = error
        if outcome is None or (isinstance(outcome, Asked) and outcome.answer.status_code not in _TRY_ANOTHER):
            return outcome
        replicas = await _others(here, model, tried) if len(tried) < TRIES else []
        if not replicas:
            break
        if isinstance(outcome, Asked):
            await outcome.close()
    if isinstance(outcome, ModelUnreachable):
        raise outcome
    return outcome


async def _others(here: Platform, model: str | None, tried: set[str]) -> list[Served]:
    """The replicas there are by now, without those that were asked."""
    try:
        found = await to_thread.run_sync(_find, here, model)
    except FlanError:
        return []  # what the one that was asked says is nearer to the truth
    return [replica for replica in found if replica.url not in tried]


async def _ask_one(here: Platform, request: Request, path: str, replica: Served, body: bytes) -> Asked:
    token = await _token(replica)
    sent = here.ranks.build_request(
        "POST",
        f"{replica.url.rstrip('/')}{path}",
        content=body,
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "X-Request-Id": request.scope["flan.request_id"],
            CALLER_HEADER: caller(request).key_id,
        },
        timeout=httpx.Timeout(here.settings.answer_timeout_s, connect=5),
    )
    in_hand = here.replicas.asking(replica)
    in_hand.__enter__()
    try:
        return Asked(await _send(here, sent, replica), in_hand)
    except BaseException:
        in_hand.__exit__(None, None, None)
        raise


async def passed_on(asked: Asked) -> Response:
    """A rank's answer, as the client gets it. Raises ModelUnreachable."""
    answer = asked.answer
    headers = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
    if is_stream(answer):
        return StreamingResponse(closing(asked, answer.aiter_raw()), answer.status_code, headers)
    return Response(await read_whole(asked), answer.status_code, headers)


def is_stream(answer: httpx.Response) -> bool:
    """Whether it comes piece by piece."""
    return str(answer.headers.get("content-type", "")).startswith("text/event-stream")


async def read_whole(asked: Asked) -> bytes:
    """The body of an answer that is no stream. Raises ModelUnreachable."""
    try:
        return await asked.answer.aread()
    except httpx.HTTPError as error:
        raise ModelUnreachable("the model stopped in the middle of its answer", hint="try again") from error
    finally:
        await asked.close()


def _find(here: Platform, model: str | None) -> list[Served]:
    with here.sessions.begin() as session:
        if model is None:
            return _find_default(session)
        try:
            return models.find_served(session, model)
        except models.ModelNotFound as error:
            if (job := _on_its_way(session, model)) is not None:
                raise _starting(job) from error
            error.pointer = "/model"
            registered = _registered(session, model)
            if registered is not None:
                error.hint = f"{error.hint}; {registered}" if error.values["served"] else registered
            raise


def _find_default(session: Session) -> list[Served]:
    served = models.find_default_served(session)
    if served:
        return served
    names = sorted({each.name for each in models.all_served(session)})
    if not names and (job := _on_its_way(session)) is not None:
        raise _starting(job)
    several = f"served are: {', '.join(names)}" if names else "deploy a model with a serve job first"
    raise NoModelNamed("name a model", hint=several, pointer="/model", served=names)


def _on_its_way(session: Session, model: str | None = None) -> Job | None:
    """The serve job that will answer for `model` (None = any) once it runs: the one nearest to it."""
    try:
        digest = models.find(session, model).digest if model is not None else None
    except models.ModelNotFound:
        digest = None
    for state in _NOT_YET:
        for job in jobs.page(session, wanted=jobs.JobFilter(state=state, kind="serve"), limit=jobs.PAGE):
            pinned = (job.spec.get("pins") or {}).get("model")
            is_no_replica = job.url is None or job.wish != "run"
            if is_no_replica and (model in (None, job.name) or (digest is not None and pinned == digest)):
                return job
    return None


def _starting(job: Job) -> ModelStarting:
    state = models.replica_state(job)
    is_resting = state in ("paused", "pausing")
    hint = f"resume it: POST /jobs/{job.id}/resume" if is_resting else "ask again in a few seconds"
    return ModelStarting(
        f"model {job.name!r} does not answer yet: job {job.id} is {state}", hint=hint, job=job.id, state=state
    )


def _registered(session: Session, model: str) -> str | None:
    """What the registered models have to do with a name that is not served."""
    name, _, _ = model.partition("@")
    known = [version.name for version in models.page(session, limit=models.PAGE)]
    if name in known:
        return f"{name!r} is registered: deploy it with a serve job"
    return did_you_mean(name, known)


async def _token(served: Served) -> str:
    """The token of an attempt's run directory: it never changes. Raises ModelUnreachable."""
    try:
        return _TOKENS[served.token_path]
    except KeyError:
        pass
    try:
        token = (await to_thread.run_sync(served.token_path.read_text)).strip()
    except FileNotFoundError as error:
        raise ModelUnreachable(f"model {served.name!r} has just stopped", hint="try again") from error
    if len(_TOKENS) >= _TOKENS_KEPT:
        _TOKENS.clear()
    _TOKENS[served.token_path] = token
    return token


async def _send(here: Platform, sent: httpx.Request, replica: Served) -> httpx.Response:
    """The head of the rank's answer; its body is still to be read."""
    try:
        return await here.ranks.send(sent, stream=True)
    except httpx.TimeoutException as error:
        raise ModelTooSlow("the model did not answer in time", hint="ask for less, or try again") from error
    except httpx.HTTPError as error:
        raise ModelUnreachable(
            f"the replica of {replica.name!r} that was asked has gone", hint="try again", job=replica.job_id
        ) from error


async def _unless_gone(request: Request, ask: Callable[[], Awaitable[Asked]]) -> Asked | None:
    """What `ask` brings; None when the client goes away first, and then `ask` is given up."""
    outcome: Asked | FlanError | None = None

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


async def closing(asked: Asked, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """`frames`, made from a stream that is closed with them."""
    try:
        async for frame in frames:
            yield frame
    except httpx.HTTPError:
        # The status has left: the stream itself must say that it was cut.
        yield _CUT
    finally:
        await asked.close()
