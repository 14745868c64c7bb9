"""Who may do what: bearer keys with scopes, and no route without a declared scope.

A key is `flan_<id>_<secret>`. The secret is 256 random bits, so its plain sha256 tells nothing about it; the
database holds only that. A key is looked up at every request: revoked means refused at the next one.
"""

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args

from fastapi import Depends, FastAPI, Request
from fastapi.params import Depends as DependsParameter
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api import reference
from api.catalog import keys
from api.deps import Here
from api.parameters import refuse_unknown
from api.problems import HttpError

Scope = Literal["jobs:read", "jobs:write", "data:write", "generate", "admin", "metrics:read"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_PUBLIC_PATHS = frozenset({"/", reference.PATH, reference.FILES_PATH, "/openapi.json"})
_bearer = HTTPBearer(auto_error=False, scheme_name="key", description="An API key: flan_…")


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
    return NewKey(key_id, f"flan_{key_id}_{secret}", hashlib.sha256(secret.encode()).hexdigest())


def key_id_of(text: str) -> str:
    """The public part of a key's text; empty when it has none."""
    prefix, _, rest = text.partition("_")
    return rest.partition("_")[0] if prefix == "flan" else ""


class Needs:
    """Dependency of a route: the caller's key has `scope`."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def __call__(
        self,
        request: Request,
        here: Here,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> Caller:
        """The caller. Raises Unauthenticated, Forbidden."""
        if credentials is None or len(request.headers.getlist("authorization")) != 1:
            raise Unauthenticated("a key is needed", hint="send Authorization: Bearer flan_…")
        caller = _authenticate(here, credentials.credentials)
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

    def __call__(self, request: Request) -> None:
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


def _authenticate(here: Here, text: str) -> Caller:
    refused = Unauthenticated("the key is not valid", hint="it may be mistyped, expired or revoked")
    key_id, secret = key_id_of(text), text.rpartition("_")[2]
    if not key_id.isalnum() or not secret.isalnum():
        raise refused
    with here.sessions.begin() as session:
        key = keys.usable(session, key_id)
    # Compared also when there is no such key, so that the time taken does not tell which ids exist.
    expected = key.secret_sha256 if key else "0" * 64
    is_right = secrets.compare_digest(hashlib.sha256(secret.encode()).hexdigest(), expected)
    if key is None or not is_right:
        raise refused
    return Caller(key.id, frozenset(key.scopes))
