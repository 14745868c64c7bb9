"""Every error of the API as one shape: RFC 9457 `application/problem+json`.

The status follows from the error's code or class. What is ours to mend says no more than that and the
request's id, which leads to the log: no path, no SQL, no stack leaves this process.
"""

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from api.surface import methods_at
from flan.errors import Blame, Conflict, FlanError, InvalidDocument, NotFound, Problem
from flan.faults import plain
from flan.serve.wire import with_message
from workers.ledger.session import LedgerUnavailable, is_passing

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"


class HttpError(FlanError):
    """An error that only the HTTP face knows; it says its own status."""

    status: ClassVar[int] = 422
    blame: ClassVar[Blame] = "user"

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers the status asks for."""
        return {}


class BadRequest(HttpError):
    """The request as a whole cannot be read."""

    code, status = "bad_request", 400


class InvalidParameter(HttpError):
    """A query or path parameter is not what it must be."""

    code, status = "invalid_parameter", 422


class TooLarge(HttpError):
    """The body is larger than this endpoint takes."""

    code, status = "too_large", 413


class UnsupportedMedia(HttpError):
    """The body's type is not one this endpoint reads."""

    code, status = "unsupported_media_type", 415


class OutOfRange(HttpError):
    """The database takes no such value, such as a version of twenty digits."""

    code, status = "out_of_range", 422


_DATA_EXCEPTION = "22"  # PostgreSQL's class of errors about values
_STATUS_OF_CODE = {"disk_full": 507, "model_not_found": 404, "overloaded": 429, "queue_full": 429}
_STATUS_OF_CLASS = {NotFound: 404, Conflict: 409, InvalidDocument: 422}
_STATUS_OF_BLAME = {"user": 422, "infra": 503, "system": 500}
_TITLES = {
    400: "The request cannot be read",
    401: "A valid key is needed",
    403: "The key does not allow this",
    404: "There is no such thing",
    405: "The method is not allowed here",
    409: "This contradicts what is already there",
    412: "It has changed in the meantime",
    413: "The body is too large",
    415: "The type of the body is not understood",
    421: "This host is not served here",
    422: "The request has a fault",
    428: "A precondition is needed",
    429: "Too much is asked at once",
    500: "Something broke on our side",
    502: "The served model gave no usable answer",
    503: "This cannot be answered now",
    504: "The served model took too long",
    507: "There is no space left",
}
_RETRY_AFTER_S = {429: "1", 503: "5"}


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem."""
    app.add_exception_handler(FlanError, lambda request, error: _of_flan(request, error))
    app.add_exception_handler(RequestValidationError, lambda request, error: _of_parameters(request, error))
    app.add_exception_handler(HTTPException, lambda request, error: _of_routing(request, error))
    for unavailable in (DBAPIError, PoolTimeout):
        app.add_exception_handler(unavailable, _of_database)


def status_of(error: FlanError) -> int:
    """The HTTP status of an error raised on purpose."""
    if isinstance(error, HttpError):
        return error.status
    if error.code in _STATUS_OF_CODE:
        return _STATUS_OF_CODE[error.code]
    if error.pointer is not None and error.blame == "user":
        return 422  # what is unknown or contradicts is in the body, not at the address
    for kind, status in _STATUS_OF_CLASS.items():
        if isinstance(error, kind):
            return status
    return _STATUS_OF_BLAME[error.blame]


def problem_of(error: FlanError, request: Request) -> JSONResponse:
    """`error` as the answer to `request`."""
    status = status_of(error)
    # What broke on our side may speak of folders and tables: the log has it, the answer does not.
    is_ours = status >= 500 and not isinstance(error, HttpError)
    if status >= 500:
        level, cause = (logging.ERROR, error) if is_ours else (logging.WARNING, None)
        extra = {"request_id": _request_id(request), "code": error.code}
        log.log(level, "request failed", extra=extra, exc_info=cause)
    faults = error.problems if isinstance(error, InvalidDocument) else _single_fault(error)
    values = {} if is_ours else {name: value for name, value in error.values.items() if name != "problems"}
    headers = error.headers if isinstance(error, HttpError) else {}
    return answer(
        request,
        status,
        error.code,
        _TITLES[status] if is_ours else error.message,
        hint=error.hint or (faults[0].get("hint") if len(faults) == 1 else None),
        faults=[] if is_ours else faults,
        values=values,
        headers=headers,
    )


def answer(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    hint: str | None = None,
    faults: list[Problem] | None = None,
    values: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem document. `faults` name places: a JSON pointer into the body, or a parameter."""
    retry_after = _RETRY_AFTER_S.get(status)
    body: dict[str, Any] = {
        "type": f"urn:flan:problem:{code}",
        "title": _TITLES.get(status, "The request failed"),
        "status": status,
        "code": code,
        "detail": detail,
        "hint": hint,
        "instance": request.url.path,
        "request_id": _request_id(request),
        "retryable": status in (429, 502, 503, 504) or code == "request_in_flight",
        "errors": faults or [],
        "values": dict(values or {}),
    }
    if request.url.path.startswith("/v1/"):
        body = with_message(body)
    more = {"Retry-After": retry_after} if retry_after else {}
    return JSONResponse(_without_folders(body, request), status, {**more, **(headers or {})}, MEDIA_TYPE)


def _without_folders(value: Any, request: Request) -> Any:
    """`value` with the folders of this machine called by their settings: where they lie is no client's concern."""
    if isinstance(value, str):
        for name, folder in request.app.state.platform.settings.folders.items():
            value = value.replace(folder, name)
        return value
    if isinstance(value, list | tuple):
        return [_without_folders(part, request) for part in value]
    if isinstance(value, dict):
        return {name: _without_folders(part, request) for name, part in value.items()}
    return value


def _single_fault(error: FlanError) -> list[Problem]:
    place = {"pointer": error.pointer} if error.pointer is not None else {}
    if isinstance(error, InvalidParameter) and "parameter" in error.values:
        place = {"parameter": error.values["parameter"]}
    if not place:
        return []
    hint = {"hint": error.hint} if error.hint else {}
    return [{**place, "code": error.code, "message": error.message, **hint}]


def _of_flan(request: Request, error: FlanError) -> Response:
    return problem_of(error, request)


def _of_parameters(request: Request, error: RequestValidationError) -> Response:
    faults = [_of_parameter(fault) for fault in error.errors()]
    first = faults[0]
    detail = f"{first['parameter']}: {first['message']}"
    return answer(request, 422, InvalidParameter.code, detail, hint=first.get("hint"), faults=faults)


def _of_parameter(fault: Any) -> Problem:
    said = plain(fault)
    hint = {"hint": said.hint} if said.hint else {}
    return {"parameter": str(fault["loc"][-1]), "code": str(fault["type"]), "message": said.message, **hint}


def _of_routing(request: Request, error: HTTPException) -> Response:
    codes = {404: "not_found", 405: "method_not_allowed", 400: BadRequest.code, 413: TooLarge.code}
    details = {404: f"there is nothing at {request.url.path}", 405: f"{request.method} is not allowed here"}
    headers = dict(error.headers or {})
    if error.status_code == 405:
        # The router knows of the first route it met; a path has all the methods of its routes.
        headers["Allow"] = ", ".join(methods_at(request.app, request.url.path))
    return answer(
        request,
        error.status_code,
        codes.get(error.status_code, "http_error"),
        details.get(error.status_code, str(error.detail)),
        headers=headers,
    )


async def _of_database(request: Request, error: Exception) -> Response:
    if is_passing(error):
        return problem_of(LedgerUnavailable("the database cannot be used now", hint="try again"), request)
    state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    if state.startswith(_DATA_EXCEPTION):
        return problem_of(OutOfRange("the request holds a number or text that cannot be stored"), request)
    raise error


def _request_id(request: Request) -> str:
    return str(request.scope.get("flan.request_id", ""))
