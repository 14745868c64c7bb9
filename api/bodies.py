"""Request bodies: bytes within a cap → a JSON value that is safe to store → a document.

One parser for every document: strict, with every fault named by its place (flan.spec). Bodies that make
parsers or databases stumble (deep nesting, NUL characters, doubled names, numbers no JSON has) end here.
"""

import json
import math
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from anyio import to_thread
from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from api.deps import Here
from api.problems import BadRequest, TooLarge, UnsupportedMedia
from flan.errors import InvalidDocument
from flan.spec import Document, parse
from flan.tasks.yaml_text import parse_yaml

SHORT_BYTES = 16_384
"""A body up to which a thread of its own would take longer than reading it."""
MAX_DEPTH = 32
MAX_VALUES = 100_000
JSON = "application/json"
YAML = ("application/yaml", "application/x-yaml", "text/yaml")
"""The name that is registered, and those that are also used."""
MAX_YAML_BYTES = 256 * 1024  # the YAML reader is slow: a longer text would hold a thread for seconds
D = TypeVar("D", bound=Document)


class Raw(NamedTuple):
    """A body as it came."""

    data: bytes
    media_type: str


async def read_raw(request: Request, here: Here) -> Raw:
    """The whole body of a request. Raises TooLarge, UnsupportedMedia."""
    chunks = [chunk async for chunk in capped(request, here.settings.max_body_bytes)]
    media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    return Raw(b"".join(chunks), media_type)


async def capped(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """The body in pieces, refused as soon as it is known to be too long: by its header, or while it comes."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("a compressed body is not read", hint="send it without Content-Encoding")
    too_large = TooLarge(f"the body is larger than {max_bytes:,} bytes", max_bytes=max_bytes)
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large
    num_bytes = 0
    try:
        async for chunk in request.stream():
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                raise too_large
            yield chunk
    except ClientDisconnect as error:
        raise BadRequest("the body ended early") from error


async def read_json(raw: Annotated[Raw, Depends(read_raw)]) -> Any:
    """The JSON value of a body. Raises UnsupportedMedia, BadRequest, InvalidDocument."""
    return _json_of(raw) if len(raw.data) <= SHORT_BYTES else await to_thread.run_sync(_json_of, raw)


def _json_of(raw: Raw) -> Any:
    if not _is_json(raw):
        raise _unsupported(raw, [JSON])
    return checked(_loads(_text(raw.data)))


def read_json_or_yaml(raw: Annotated[Raw, Depends(read_raw)]) -> Any:
    """The value of a JSON or YAML body. Raises as read_json does."""
    if _is_json(raw):
        return _json_of(raw)
    if raw.media_type not in YAML:
        raise _unsupported(raw, [JSON, YAML[0]])
    if len(raw.data) > MAX_YAML_BYTES:
        raise TooLarge(f"YAML of more than {MAX_YAML_BYTES:,} bytes is not read", hint="send it as JSON")
    try:
        return checked(parse_yaml(_text(raw.data)))
    except RecursionError as error:
        raise _invalid("", "too_deep", f"nested more than {MAX_DEPTH} deep") from error


def _is_json(raw: Raw) -> bool:
    return raw.media_type == JSON or raw.media_type.endswith("+json")


def _unsupported(raw: Raw, accepted: list[str]) -> UnsupportedMedia:
    return UnsupportedMedia(
        f"this endpoint reads {' or '.join(accepted)}, not {raw.media_type}",
        hint=f"send the header Content-Type: {' or '.join(accepted)}",
        accepted=accepted,
    )


class Body(Generic[D]):
    """Dependency: the document of type `document` in the request's JSON body."""

    def __init__(self, document: type[D]) -> None:
        self._document = document

    async def __call__(
        self, raw: Annotated[Raw, Depends(read_raw)], value: Annotated[Any, Depends(read_json)]
    ) -> D:
        """The document. Raises InvalidDocument naming every fault."""
        if len(raw.data) <= SHORT_BYTES:
            return parse(self._document, value)
        return await to_thread.run_sync(parse, self._document, value)


def checked(value: Any) -> Any:
    """`value`, which a parser made of a client's text, if it can be stored. Raises InvalidDocument."""
    for num_values, (pointer, depth, part) in enumerate(_walk(value, "", 1), start=1):
        if depth > MAX_DEPTH:
            raise _invalid(pointer, "too_deep", f"nested more than {MAX_DEPTH} deep")
        if num_values > MAX_VALUES:
            raise _invalid("", "too_many_values", f"more than {MAX_VALUES:,} values")
        if isinstance(part, str):
            _check_text(pointer, part)
        elif isinstance(part, float) and not math.isfinite(part):
            raise _invalid(pointer, "not_finite", "not a finite number")
        elif isinstance(part, int) and abs(part) >= 2**64:
            raise _invalid(pointer, "too_big", "an integer of more than 64 bits")
    return value


def _walk(value: Any, pointer: str, depth: int) -> Iterator[tuple[str, int, Any]]:
    yield pointer, depth, value
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        for name, part in value.items():
            if not isinstance(name, str):
                raise _invalid(pointer, "name", f"the name {name!r} is not text", hint="put it in quotes")
            yield pointer, depth, name
            yield from _walk(part, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}", depth + 1)
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from _walk(part, f"{pointer}/{i}", depth + 1)


def _check_text(pointer: str, text: str) -> None:
    if "\0" in text:
        raise _invalid(pointer, "nul_character", "text cannot hold the character U+0000")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise _invalid(pointer, "surrogate", "text holds half of a surrogate pair, which is no character")


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: byte {error.start} is {data[error.start]:#04x}") from error


def _loads(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        message = f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        raise _invalid("", "json", message) from error
    except RecursionError as error:
        raise _invalid("", "too_deep", f"nested more than {MAX_DEPTH} deep") from error
    except ValueError as error:
        raise _invalid("", "json", f"not JSON we read: {error}") from error


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} stands twice in one object")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def _invalid(pointer: str, code: str, message: str, hint: str | None = None) -> InvalidDocument:
    problem = {"pointer": pointer, "code": code, "message": message} | ({"hint": hint} if hint else {})
    return InvalidDocument(f"{pointer or 'the body'}: {message}", [problem])
