"""A POST sent twice makes one thing: the answer is kept with the thing, in the same transaction.

Whoever comes second waits on the key's row until the first has committed, and then reads its answer; when
the first fails, the second goes on by itself. So there is no "in progress" that a crash could leave behind.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api.auth import CallerHere
from api.bodies import Raw, read_raw
from api.catalog import idempotency
from api.problems import HttpError, InvalidParameter

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_LOCK_NOT_AVAILABLE = "55P03"


class KeyReused(HttpError):
    """An idempotency key came back with another request."""

    code, status = "idempotency_key_reused", 422


class RequestInFlight(HttpError):
    """The same request is being carried out right now."""

    code, status = "request_in_flight", 409

    @property
    def headers(self) -> Mapping[str, str]:
        """When to ask again."""
        return {"Retry-After": "1"}


class Answer(NamedTuple):
    """What a POST answers."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = {}
    secret: dict[str, Any] = {}
    """Fields of the body that are shown once and never stored."""

    def response(self) -> JSONResponse:
        """The answer on the wire."""
        return JSONResponse({**self.body, **self.secret}, self.status, headers=self.headers)


class Once(NamedTuple):
    """A request as idempotency sees it: who asks, what exactly, and under which key (None = none given)."""

    key: str | None
    key_id: str
    fingerprint: str

    def answer(self, session: Session, make: Callable[[], Answer]) -> Answer:
        """What `make` answers, now or when the request first came.

        Both happen in `session`'s transaction. Raises KeyReused, RequestInFlight.
        """
        if self.key is None:
            return make()
        try:
            earlier = idempotency.claim(session, self.key_id, self.key, self.fingerprint)
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
                raise RequestInFlight("a request with this Idempotency-Key is being carried out") from error
            raise
        if earlier is None:
            made = make()
            idempotency.keep(session, self.key_id, self.key, made.status, made.body, made.headers)
            return made
        if earlier.fingerprint != self.fingerprint:
            raise KeyReused(
                "this Idempotency-Key was used for another request",
                hint="use a fresh key for each new request",
            )
        assert earlier.status is not None
        headers = {**(earlier.headers or {}), "Idempotency-Replayed": "true"}
        return Answer(earlier.status, earlier.body or {}, headers)


IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="Any text, fresh for each new request; kept for 24 hours."),
]


def once_of(request: Request, caller: CallerHere, digest: str, key: str | None) -> Once:
    """The identity of a request whose body has the sha256 `digest`. Raises InvalidParameter."""
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidParameter("Idempotency-Key is 1 to 255 visible ASCII characters")
    query = "&".join(sorted(f"{name}={value}" for name, value in request.query_params.multi_items()))
    whole = f"{request.method} {request.url.path}?{query}\n{digest}"
    return Once(key, caller.key_id, hashlib.sha256(whole.encode()).hexdigest())


def _once(
    request: Request, caller: CallerHere, raw: Annotated[Raw, Depends(read_raw)], key: IdempotencyKey = None
) -> Once:
    return once_of(request, caller, hashlib.sha256(raw.data).hexdigest(), key)


OnceHere = Annotated[Once, Depends(_once)]
