"""Questions on their way to a served model, and answers on their way back.

A model is served by a rank on some node, which wants the token in its run directory. The body goes there as
it came and the answer comes back byte for byte as the rank writes it, so a stream is a stream. When the
client goes away, the rank is told by the connection's end.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from anyio import to_thread
from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from sqlalchemy.orm import Session

from api.auth import caller
from api.deps import Platform
from api.problems import HttpError
from api.ranks import RankAnswer, RankGone, RankSilent
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

    answer: RankAnswer
    in_hand: ExitStack

    def close(self) -> None:
        """The answer was read, or nobody reads on: then the rank is told by the connection's end."""
        self.answer.close()
        self.in_hand.close()


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
    replicas = await here.recent.recall(("served", model), partial(_find, here, model))
    while True:
        replica = here.replicas.choose(replicas)
        tried.add(replica.url)
        outcome: Asked | ModelUnreachable | None
        try:
            outcome = await _ask_one(here, request, path, replica, body)
        except ModelUnreachable as error:
            outcome = error
        if outcome is None or (isinstance(outcome, Asked) and outcome.answer.status not in _TRY_ANOTHER):
            return outcome
        replicas = await _others(here, model, tried) if len(tried) < TRIES else []
        if not replicas:
            break
        if isinstance(outcome, Asked):
            outcome.close()
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


async def _ask_one(here: Platform, request: Request, path: str, replica: Served, body: bytes) -> Asked | None:
    with ExitStack() as in_hand:
        # Before anything is waited for: whoever chooses next is to know of it.
        in_hand.enter_context(here.replicas.asking(replica))
        answer = await _unless_gone(request, _send(here, request, path, replica, body))
        return Asked(answer, in_hand.pop_all()) if answer is not None else None


async def _send(here: Platform, request: Request, path: str, replica: Served, body: bytes) -> RankAnswer:
    """The head of the rank's answer; its body is still to be read. Raises ModelUnreachable, ModelTooSlow."""
    token = await _token(replica)
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "X-Request-Id": request.scope["flan.request_id"],
        CALLER_HEADER: caller(request).key_id,
    }
    try:
        return await here.ranks.ask(f"{replica.url.rstrip('/')}{path}", headers, body)
    except RankSilent as error:
        raise _too_slow() from error
    except RankGone as error:
        raise ModelUnreachable(
            f"the replica of {replica.name!r} that was asked has gone", hint="try again", job=replica.job_id
        ) from error


def _too_slow() -> ModelTooSlow:
    return ModelTooSlow("the model did not answer in time", hint="ask for less, or try again")


async def passed_on(asked: Asked) -> Response:
    """A rank's answer, as the client gets it. Raises ModelUnreachable, ModelTooSlow."""
    answer = asked.answer
    headers = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
    if answer.is_stream:
        return StreamingResponse(closing(asked, answer.pieces()), answer.status, headers)
    return Response(await read_whole(asked), answer.status, headers)


async def read_whole(asked: Asked) -> bytes:
    """The body of an answer that is no stream. Raises ModelUnreachable, ModelTooSlow."""
    try:
        return await asked.answer.read()
    except RankSilent as error:
        raise _too_slow() from error
    except RankGone as error:
        raise ModelUnreachable("the model stopped in the middle of its answer", hint="try again") from error
    finally:
        asked.close()


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


async def _unless_gone(request: Request, ask: Coroutine[Any, Any, RankAnswer]) -> RankAnswer | None:
    """What `ask` brings; None when the client goes away first, and then `ask` is given up."""
    asking, gone = asyncio.ensure_future(ask), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((asking, gone), return_when=asyncio.FIRST_COMPLETED)
        return asking.result() if asking.done() else None
    except asyncio.CancelledError:
        asking.add_done_callback(_close_unread)
        raise
    finally:
        gone.cancel()
        asking.cancel()


def _close_unread(asking: asyncio.Future[RankAnswer]) -> None:
    if not asking.cancelled() and asking.exception() is None:
        asking.result().close()


async def _gone(request: Request) -> None:
    """Returns when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def closing(asked: Asked, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """`frames`, made from a stream that is closed with them."""
    try:
        async for frame in frames:
            yield frame
    except (RankGone, RankSilent):
        # The status has left: the stream itself must say that it was cut.
        yield _CUT
    finally:
        asked.close()
