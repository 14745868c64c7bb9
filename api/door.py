"""What happens to every request before and after its route: its id, its host, its headers, its last resort."""

import logging
import re
import secrets
import time

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems, reference
from api.auth import may_change
from api.deps import Platform

log = logging.getLogger(__name__)
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'",
}


class Door:
    """Outermost layer of the application."""

    def __init__(self, app: ASGIApp, here: Platform) -> None:
        self._app = app
        self._allowed_hosts = frozenset(here.settings.allowed_hosts)
        self._metrics, self._recent = here.metrics, here.recent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong inside, the answer is a problem document."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _GIVEN_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        scope["flan.request_id"] = request_id
        started, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if may_change(scope):
                    self._recent.forget()
                _add_headers(MutableHeaders(scope=message), scope["path"], request_id)
            await send(message)

        try:
            if _host(headers) in self._allowed_hosts:
                await self._app(scope, receive, send_with_headers)
            else:
                await _misdirected(Request(scope))(scope, receive, send_with_headers)
        except Exception as error:
            log.error("unexpected error", extra={"request_id": request_id}, exc_info=error)
            if status:
                raise
            broken = problems.answer(
                Request(scope), 500, "internal", "something broke on our side",
                hint=f"the operator finds the cause in the log under {request_id}",
            )  # fmt: skip
            await broken(scope, receive, send_with_headers)
        finally:
            self._metrics.observe(scope, status, time.perf_counter() - started)


def _host(headers: Headers) -> str:
    """The Host header without its port, in lower case."""
    return re.sub(r":\d+$", "", headers.get("host", "")).lower()


def _misdirected(request: Request) -> ASGIApp:
    return problems.answer(
        request, 421, "misdirected", "this host name is not served here",
        hint="use the address `flan up` printed, or add the name to FLAN_ALLOWED_HOSTS",
    )  # fmt: skip


def _add_headers(headers: MutableHeaders, path: str, request_id: str) -> None:
    headers["X-Request-Id"] = request_id
    for name, value in _SECURITY.items():
        headers.setdefault(name, value)
    if path == reference.PATH:
        headers["Content-Security-Policy"] = reference.POLICY
    headers.setdefault("Cache-Control", "no-store")
