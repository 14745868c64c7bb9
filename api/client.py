"""The command line's side of HTTP: requests with a key, problems as errors, event streams that come back."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from flan.errors import FlanError
from flan.terminal import UNKNOWN, UNREACHABLE, USAGE

if TYPE_CHECKING:  # importing it costs more than everything else here together
    import httpx

DEFAULT_SERVER = "http://127.0.0.1:8000"
SERVER_VARIABLE = "FLAN_SERVER"
PATIENCE_S = 120.0
"""How long a followed stream waits for a server that is away."""


class Unreachable(FlanError):
    """No server answers."""

    code: ClassVar[str] = "server_unreachable"
    blame = "infra"
    exit_status = UNREACHABLE


KEY_HINT = "set FLAN_API_KEY, or FLAN_HOME to the folder whose file `key` holds one (see what `flan up` said)"


class Refused(FlanError):
    """The server answered with a problem."""

    code: ClassVar[str] = "refused"
    blame = "user"

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        hint = KEY_HINT if status == 401 else problem.get("hint")
        super().__init__(str(problem.get("detail") or f"the server answered {status}"), hint=hint)
        self.status = status
        self.problem = {**problem, "detail": self.message, "hint": hint}

    @property
    def exit_status(self) -> int:
        """UNREACHABLE = the server cannot answer now, UNKNOWN = not found or not allowed, else USAGE."""
        if self.status >= 500:
            return UNREACHABLE
        # What a body names and nobody knows is 422.
        is_unknown = self.status in (401, 403, 404) or str(self.problem.get("code")).endswith("not_found")
        return UNKNOWN if is_unknown else USAGE


class Event(NamedTuple):
    """One frame of an event stream."""

    id: str | None
    type: str
    data: dict[str, Any]


class Client:
    """Speaks to one server."""

    def __init__(self, server: str, key: str | None) -> None:
        import httpx

        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.address = server.rstrip("/")
        self._http = httpx.Client(
            base_url=self.address, headers=headers, timeout=httpx.Timeout(310, connect=5)
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON at `path`. Raises Refused, Unreachable."""
        return self.send("GET", path, params=parameters)

    def send(
        self,
        method: str,
        path: str,
        *,
        json_body: Any = None,
        content: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON that the server answers; None for an empty answer. Raises Refused, Unreachable."""
        given = {name: value for name, value in (params or {}).items() if value is not None}
        with self._reaching():
            answer = self._http.request(
                method, path, json=json_body, content=content, params=given, headers=dict(headers or {})
            )
        if answer.status_code >= 400:
            raise Refused(answer.status_code, _problem(answer))
        return answer.json() if answer.content else None

    def all(self, path: str, limit: int, after: str | None = None, **parameters: Any) -> list[dict[str, Any]]:
        """Up to `limit` objects of a list, over as many pages as it takes. Raises Refused, Unreachable."""
        found: list[dict[str, Any]] = []
        while len(found) < limit:
            page = self.get(path, after=after, limit=min(limit - len(found), 100), **parameters)
            found += page["data"]
            after = page["last_id"]
            if not page["has_more"]:
                break
        return found

    def stream(self, method: str, path: str, json_body: Any = None) -> Iterator[Event]:
        """The frames of one event stream, until it ends. Raises Refused, Unreachable."""
        with self._reaching(), self._http.stream(method, path, json=json_body, timeout=60) as answer:
            if answer.status_code >= 400:
                answer.read()
                raise Refused(answer.status_code, _problem(answer))
            yield from _frames(answer.iter_lines())

    def follow(self, job_id: str, after: int = 0) -> Iterator[Event]:
        """The events of a job until it has ended, over restarts of the server. Raises Refused, Unreachable."""
        away_since: float | None = None
        while True:
            try:
                for event in self.stream("GET", f"/jobs/{job_id}/events?stream=true&after={after}"):
                    away_since = None
                    after = int(event.id) if event.id else after
                    yield event
                    if event.type == "stream.end":
                        return
            except (Unreachable, Refused) as error:
                if isinstance(error, Refused) and error.status < 500:
                    raise
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > PATIENCE_S:
                    raise
            time.sleep(1)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.TransportError as error:
            raise Unreachable(
                f"no answer from {self.address}: {error}", hint="start it with `flan up`, or set --server"
            ) from error
        except httpx.InvalidURL as error:
            raise Unreachable(f"{self.address} is no address: {error}", hint="set --server") from error


def connect(server: str | None) -> Client:
    """A client with the key of FLAN_API_KEY, else the one in FLAN_HOME. Without a scheme, http is meant."""
    address = server or os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER
    return Client(address if "://" in address else f"http://{address}", _key())


def _key() -> str | None:
    if given := os.environ.get("FLAN_API_KEY"):
        return given
    path = Path(os.environ.get("FLAN_HOME") or ".flan") / "key"
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _problem(answer: "httpx.Response") -> dict[str, Any]:
    try:
        value = answer.json()
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"detail": f"the server answered {answer.status_code}"}


def _frames(lines: Iterator[str]) -> Iterator[Event]:
    id_, type_ = None, "message"
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "id":
            id_ = value
        elif name == "event":
            type_ = value
        elif name == "data":
            yield Event(id_, type_, json.loads(value))
            id_, type_ = None, "message"
