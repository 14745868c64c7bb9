"""Lists in pages that start after an id, and single objects that carry an ETag."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

from fastapi import Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from api.problems import HttpError
from flan.spec import canonical_json

MAX_LIMIT = 100
T = TypeVar("T")


class PreconditionFailed(HttpError):
    """What is to be changed is no longer what the client saw."""

    code, status = "precondition_failed", 412


class PreconditionRequired(HttpError):
    """A change must say what it changes."""

    code, status = "precondition_required", 428


class Page(NamedTuple):
    """Which part of a list is wanted."""

    after: str | None
    limit: int


async def _page(
    after: Annotated[
        str | None, Query(max_length=128, description="Start after the object with this id.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="At most this many.")] = 20,
) -> Page:
    return Page(after, limit)


PageHere = Annotated[Page, Depends(_page)]


def listing(found: Sequence[T], page: Page, show: Callable[[T], BaseModel]) -> JSONResponse:
    """A page of `found`, which holds up to one object more than the page: whether there is more."""
    data = [show(item).model_dump(mode="json") for item in found[: page.limit]]
    ids = [item["id"] for item in data] or [None]
    body = {
        "object": "list",
        "data": data,
        "has_more": len(found) > page.limit,
        "first_id": ids[0],
        "last_id": ids[-1],
    }
    return JSONResponse(body)


def cut(items: Sequence[T], page: Page, id_of: Callable[[T], str]) -> list[T]:
    """Of a list that is whole in memory: what `listing` wants for `page`."""
    ids = [id_of(item) for item in items]
    start = ids.index(page.after) + 1 if page.after in ids else 0
    return list(items[start : start + page.limit + 1])


def etag_of(body: Any) -> str:
    """Strong ETag of a JSON body."""
    return f'"{hashlib.sha256(canonical_json(body).encode()).hexdigest()[:32]}"'


def tag_of(shown: BaseModel) -> str:
    """ETag of an object as it is shown."""
    return etag_of(shown.model_dump(mode="json"))


def single(request: Request, shown: BaseModel) -> Response:
    """One object with its ETag; 304 when the client has it already."""
    body = shown.model_dump(mode="json")
    etag = etag_of(body)
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if etag in _tags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return JSONResponse(body, headers=headers)


def require_match(request: Request, current: str | None) -> None:
    """Raise unless If-Match names what is there (`current` = its ETag; None = nothing: If-None-Match: *)."""
    if current is None:
        if request.headers.get("if-match") is not None:
            raise PreconditionFailed("there is nothing yet that If-Match could name")
        return
    given = request.headers.get("if-match")
    if given is None:
        raise PreconditionRequired("If-Match is needed", hint="read it first, and send its ETag as If-Match")
    if "*" not in _tags(given) and current not in _tags(given):
        raise PreconditionFailed("it has changed since you read it", hint="read it again")


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",") if tag.strip()}
