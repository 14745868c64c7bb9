"""Who may do what: bearer keys with scopes, and no route without a declared scope.

A key is `flan_<id>_<secret>`. The secret is 256 random bits, so its plain sha256 tells nothing about it; the
database holds only that. What a key may do is asked again after a second (api/recent.py): once
revoked it is refused at the next request to the process that revoked it, and at any other within a second.

A browser shows its key once (POST /session) and is known by a cookie from then on: one that no script can read, that
browsers send with requests of our own pages alone (SameSite=Strict), and that changes something only where the
request says that it comes from here (Origin). To a browser all ports of a host are one place for cookies, so the port
is in the cookie's name: who is signed in to one platform stays so while signing in to its neighbour.
"""

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, get_args
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request
from fastapi.params import Depends as DependsParameter
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection
from starlette.types import Scope as ASGIScope

from api import dashboard, reference
from api.catalog import keys, sign_ins
from api.catalog.tables import ApiKey
from api.deps import Here
from api.parameters import refuse_unknown
from api.problems import HttpError

Scope = Literal["jobs:read", "jobs:write", "data:write", "generate", "admin", "metrics:read"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
COOKIE = "flan_session"
_PUBLIC_PATHS = frozenset({*dashboard.PATHS, reference.PATH, reference.FILES_PATH, "/openapi.json"})
_CHANGE_NOTHING = frozenset({"GET", "HEAD"})
_bearer = HTTPBearer(auto_error=False, scheme_name="key", description="An API key: flan_…")


def cookie_name(request: HTTPConnection) -> str:
    """What the cookie of a browser is called that found us at this address."""
    _, _, port = request.headers.get("host", "").rpartition(":")
    return f"{COOKIE}_{port}" if port.isascii() and port.isdigit() else COOKIE


class _Cookie(APIKeyCookie):
    async def __call__(self, request: HTTPConnection) -> str | None:
        return request.cookies.get(cookie_name(request))


_cookie = _Cookie(
    name=COOKIE,
    auto_error=False,
    scheme_name="session",
    description="Of a browser: POST /session sets it. An address with a port has it in the name: flan_session_8000.",
)


class Unauthenticated(HttpError):
    """No key, or none that is known."""

    code, status = "unauthenticated", 401

    @property
    def headers(self) -> Mapping[str, str]:
        """What kind of proof is asked for."""
        return {"WWW-Authenticate": "Bearer"}


class Forbidden(HttpError):
    """The key is good, but not for this."""

    code, status = "forbidden", 403


class ForeignOrigin(HttpError):
    """A page of another site asks with the cookie of ours."""

    code, status = "foreign_origin", 403


class NewKey(NamedTuple):
    """A key that was just made; `text` is shown once and kept nowhere."""

    id: str
    text: str
    secret_sha256: str


class Caller(NamedTuple):
    """Who asks."""

    key_id: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether this scope was given; `admin` holds all of them."""
        return scope in self.scopes or "admin" in self.scopes


class UndeclaredScope(Exception):
    """A route says neither which scope it needs nor that it is public: the application does not start."""


def new_key() -> NewKey:
    """A fresh key."""
    key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    return NewKey(key_id, f"flan_{key_id}_{secret}", digest_of(secret))


def key_id_of(text: str) -> str:
    """The public part of a key's text; empty when it has none."""
    prefix, _, rest = text.partition("_")
    return rest.partition("_")[0] if prefix == "flan" else ""


class Needs:
    """Dependency of a route: the caller's key has `scope`."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(
        self,
        request: Request,
        here: Here,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
        token: Annotated[str | None, Depends(_cookie)],
    ) -> Caller:
        """The caller. Raises Unauthenticated, ForeignOrigin, Forbidden."""
        if "authorization" in request.headers:
            if credentials is None or len(request.headers.getlist("authorization")) != 1:
                raise Unauthenticated("one bearer key is needed", hint="send Authorization: Bearer flan_…")
            key = credentials.credentials
            caller = await here.recent.recall(("key", digest_of(key)), partial(_holder, here, key))
        elif token is not None:
            refuse_other_origins(request)
            caller = await here.recent.recall(("session", digest_of(token)), partial(_signed_in, here, token))
        else:
            raise Unauthenticated("a key is needed", hint="send Authorization: Bearer flan_…")
        if not caller.may(self.scope):
            raise Forbidden(
                f"the key {caller.key_id} lacks the scope {self.scope}",
                hint=f"ask for a key with {self.scope}",
                scope=self.scope,
            )
        refuse_unknown(request)
        request.state.caller = caller
        return caller


class Public:
    """Dependency of a route that anyone may use."""

    async def __call__(self, request: Request) -> None:
        """Nothing is asked."""
        refuse_unknown(request)


def needs(scope: Scope) -> Any:
    """For a route's `dependencies`: only keys with `scope`."""
    return Depends(Needs(scope))


PUBLIC = Depends(Public())


def caller(request: Request) -> Caller:
    """Who asks; for routes that have declared a scope."""
    found = request.state.caller
    assert isinstance(found, Caller)
    return found


CallerHere = Annotated[Caller, Depends(caller)]


def scope_of(route: APIRoute) -> Scope | None:
    """The scope a route needs; None = public. Raises UndeclaredScope."""
    declared = [
        dependency.dependency
        for dependency in route.dependencies
        if isinstance(dependency, DependsParameter) and isinstance(dependency.dependency, Needs | Public)
    ]
    if len(declared) != 1:
        raise UndeclaredScope(
            f"{sorted(route.methods or ())} {route.path} declares {len(declared)} scopes, not one"
        )
    only = declared[0]
    return only.scope if isinstance(only, Needs) else None


def declared_scopes(app: FastAPI) -> Iterator[tuple[str, str, Scope | None]]:
    """(method, path, scope) of every route of `app`. Raises UndeclaredScope."""
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            for method in sorted(route.methods or ()):
                yield method, str(context.path), scope_of(route)
        elif context.path not in _PUBLIC_PATHS:
            raise UndeclaredScope(f"{context.path} is served without a scope")


def may_change(scope: ASGIScope) -> bool:
    """Whether the request of `scope`, which has been routed, may have changed what the platform knows.

    Looking does not, nor does asking a served model.
    """
    route = scope.get("route")
    return (
        scope["method"] not in _CHANGE_NOTHING
        and isinstance(route, APIRoute)
        and scope_of(route) != "generate"
    )


def key_of(session: Session, text: str) -> ApiKey:
    """The key that is written out in `text`. Raises Unauthenticated."""
    refused = Unauthenticated("the key is not valid", hint="it may be mistyped, expired or revoked")
    key_id, secret = key_id_of(text), text.rpartition("_")[2]
    if not key_id.isalnum() or not secret.isalnum():
        raise refused
    key = keys.usable(session, key_id)
    # Compared also when there is no such key, so that the time taken does not tell which ids exist.
    expected = key.secret_sha256 if key else "0" * 64
    is_right = secrets.compare_digest(digest_of(secret), expected)
    if key is None or not is_right:
        raise refused
    return key


def digest_of(secret: str) -> str:
    """What the database keeps of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def refuse_other_origins(request: Request) -> None:
    """Raise ForeignOrigin where a request that changes something does not say that it comes from our own pages."""
    if request.method in _CHANGE_NOTHING:
        return
    origin = request.headers.get("origin")
    if origin is None or urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower():
        raise ForeignOrigin(
            "the request does not come from this platform's own pages",
            hint="programs send a key instead of a cookie: Authorization: Bearer flan_…",
        )


def _holder(here: Here, key: str) -> Caller:
    """Whose key it is. Raises Unauthenticated."""
    with here.sessions.begin() as session:
        return _caller_of(key_of(session, key))


def _signed_in(here: Here, token: str) -> Caller:
    """Who signed in as the holder of `token`. Raises Unauthenticated: it is over, or its key is."""
    with here.sessions.begin() as session:
        found = sign_ins.find(session, digest_of(token))
        key = keys.usable(session, found.key_id) if found else None
        if key is None:
            raise Unauthenticated("nobody is signed in here any more", hint="sign in with a key")
        return _caller_of(key)


def _caller_of(key: ApiKey) -> Caller:
    return Caller(key.id, frozenset(key.scopes))
