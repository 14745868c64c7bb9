"""What a served model puts on the wire besides its answers: problems (RFC 9457) and server-sent events."""

import json
import secrets
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from flan.errors import FlanError, InvalidDocument, NotFound

PROBLEM_TYPE = "application/problem+json"
EVENT_STREAM = "text/event-stream"
CALLER_HEADER = "x-flan-caller"
"""Whose question it is, by the id of a key: callers share the places of a model."""
HEARTBEAT = b": waiting\n\n"
"""A comment: it keeps proxies from taking a slow answer for a dead one."""

_STATUS_OF_CODE = {
    "bad_request": 400,
    "unauthorized": 401,
    "too_large": 413,
    "overloaded": 429,
    "deadline_exceeded": 504,
}
_STATUS_OF_BLAME = {"user": 422, "infra": 503, "system": 500}
_TITLES = {
    400: "The request cannot be read",
    401: "A valid token is needed",
    404: "There is no such thing",
    405: "The method is not allowed here",
    413: "The body is too large",
    422: "The request has a fault",
    429: "Too much is asked at once",
    500: "Something broke on our side",
    503: "This cannot be answered now",
    504: "The answer took too long",
}
_RETRY_AFTER_S = {429: "1", 503: "5"}


def new_id(prefix: str) -> str:
    """An id for logs, behind what it is of."""
    return f"{prefix}{secrets.token_hex(12)}"


class BadRequest(FlanError):
    """The body cannot be read."""

    code, blame = "bad_request", "user"


class TooLarge(FlanError):
    """The body is larger than a request may be."""

    code, blame = "too_large", "user"


class Unauthorized(FlanError):
    """The bearer token is missing or wrong."""

    code, blame = "unauthorized", "user"


class NoSuchRoute(FlanError):
    """There is nothing at a path, or not for this method."""

    code, blame = "not_found", "user"


class DeadlineExceeded(FlanError):
    """The answer was not there in time."""

    code, blame = "deadline_exceeded", "infra"


class Broken(FlanError):
    """Something failed that should not."""

    code, blame = "internal", "system"


def status_of(error: FlanError) -> int:
    """The HTTP status of an error raised on purpose."""
    if isinstance(error, NoSuchRoute):
        return int(error.values["status"])
    if isinstance(error, NotFound):
        return 404
    return _STATUS_OF_CODE.get(error.code, _STATUS_OF_BLAME[error.blame])


def headers_of(error: FlanError) -> Mapping[str, str]:
    """Headers that an error's status asks for."""
    status = status_of(error)
    retry_after = error.values.get("retry_after_s", _RETRY_AFTER_S.get(status))
    retry = {"Retry-After": str(retry_after)} if retry_after else {}
    return retry | ({"WWW-Authenticate": "Bearer"} if status == 401 else {})


def problem(error: FlanError, path: str, request_id: str) -> dict[str, Any]:
    """`error` as a problem document. What is ours to mend says no more than that: the log has it."""
    status = status_of(error)
    if isinstance(error, InvalidDocument):
        faults = error.problems
    else:
        place = {"pointer": error.pointer, "code": error.code, "message": error.message}
        faults = [place] if error.pointer is not None else []
    is_ours = status == 500
    body = {
        "type": f"urn:flan:problem:{error.code}",
        "title": _TITLES.get(status, "The request failed"),
        "status": status,
        "code": error.code,
        "detail": _TITLES[500] if is_ours else error.message,
        "hint": error.hint,
        "instance": path,
        "request_id": request_id,
        "retryable": status in (429, 503, 504),
        "errors": faults,
        "values": {}
        if is_ours
        else {name: value for name, value in error.values.items() if name != "problems"},
    }
    return with_message(body) if path.startswith("/v1/") else body


def with_message(problem: dict[str, Any]) -> dict[str, Any]:
    """`problem` with the two members more that OpenAI's clients look for: what to tell their user, and where."""
    hint = f" ({problem['hint']})" if problem.get("hint") else ""
    pointers = [fault.get("pointer") for fault in problem.get("errors") or ()]
    param = next(filter(None, pointers), "").lstrip("/") or None
    return problem | {"message": f"{problem.get('detail')}{hint}", "param": param}


def event(name: str, data: BaseModel | Mapping[str, Any]) -> bytes:
    """One server-sent event; its data is one line of JSON."""
    value = data.model_dump(mode="json") if isinstance(data, BaseModel) else data
    return f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n".encode()
