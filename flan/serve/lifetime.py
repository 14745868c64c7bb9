"""A served model from its start to its end: as the rank of a `serve` job, or by hand."""

import http.client
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
import uvicorn

from flan import rundir
from flan.data.bases import model_directory
from flan.errors import FlanError
from flan.model.load import Model, load_model
from flan.rundir import EventWriter
from flan.serve.admission import Admission
from flan.serve.asking import Face
from flan.serve.engine import Engine
from flan.serve.plans import MAX_PROMPTS
from flan.serve.server import is_ready, make_app, one_token
from flan.serve.status import Status
from flan.spec import ServeSpec
from flan.stopping import WishReader
from flan.store import Store, write_atomically

WISH_EVERY_S = 0.25
PROGRESS_EVERY_S = 10.0
DRAIN_S = 5
"""How long running requests may go on after a wish to stop."""
START_S = 60.0
KEEP_ALIVE_S = 75
"""An idle connection is kept so long: longer than clients keep theirs, so that none is closed as a request comes."""
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
_LOOPBACK = ("127.0.0.1", "localhost")


class ServingFailed(FlanError):
    """The engine or the HTTP server of a served model ended by itself."""

    code, blame = "serving_failed", "infra"


class PortUnusable(FlanError):
    """The server cannot listen where it was told to."""

    code, blame = "port_unusable", "infra"


class TokenNeeded(FlanError):
    """A model would be served to the network without a token."""

    code, blame = "token_needed", "user"


class Server:
    """A model that answers at `url`."""

    def __init__(self, face: Face, host: str, port: int) -> None:
        self._face, self._engine = face, face.engine
        try:
            self._socket = socket.create_server((host, port), backlog=1_024)
        except OSError as error:
            raise PortUnusable(f"{host}:{port}: {error.strerror}", hint="choose another port") from error
        # Connections inherit it. asyncio would set it for sockets that it makes; without it the body of an answer
        # waits 40 ms for the acknowledgement of its head.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A wildcard address is no place to send anyone to: the node's name is.
        name = socket.gethostname() if host == "0.0.0.0" else host  # noqa: S104
        self.url = f"http://{name}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            make_app(face),
            http="h11",
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_S,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._uvicorn.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )

    def start(self) -> None:
        """Returns when the model answers. Raises ServingFailed."""
        self._engine.start()
        self._thread.start()
        address = self._socket.getsockname()
        connection = http.client.HTTPConnection(address[0], address[1], timeout=START_S)
        try:
            connection.request("GET", "/readyz")
            status = connection.getresponse().status
        except OSError as error:
            raise ServingFailed("the HTTP server did not start", hint="its log says why") from error
        finally:
            connection.close()
        if status != 200:
            raise ServingFailed(f"the served model is not ready: {status}") from self._engine.failure

    def warm_up(self) -> None:
        """Let the model write a token, so that no request pays for what happens only once. Raises ServingFailed."""
        try:
            one_token(self._face).result(START_S)
        except (FlanError, TimeoutError) as error:
            raise ServingFailed("the model wrote no token", hint="its log says more") from error

    def check(self) -> Status:
        """How the engine is. Raises ServingFailed when it does not answer any more."""
        status = self._engine.status()
        if not is_ready(status) or not self._thread.is_alive():
            message = f"the served model ended by itself: {self._engine.failure or 'it hangs'}"
            raise ServingFailed(
                message, hint="it is started anew; its log says more"
            ) from self._engine.failure
        return status

    def wait(self, seconds: float) -> None:
        """Let time pass; less of it when the HTTP server ends."""
        self._thread.join(seconds)

    def stop(self) -> None:
        """No new requests; those that run have DRAIN_S to finish, then they are cut off."""
        self._uvicorn.should_exit = True
        self._thread.join(2 * DRAIN_S)
        self._engine.stop()
        self._socket.close()


def serve(spec: ServeSpec, directory: Path, events: EventWriter) -> Literal["stopped"]:
    """Serve the pinned model until another wish than to run, or SIGTERM. `spec` is resolved.

    Raises what loading the model raises, and ServingFailed when the engine ends by itself.
    """
    settings = rundir.read_settings(directory)
    events.append("run.started", kind=spec.kind, ranks=1, device=settings.device, resumed_from=0)
    events.append("stage.changed", stage="prepare")
    assert spec.pins is not None and spec.pins.model is not None, "resolve() refuses a preset here"
    wishes = WishReader(directory, reads_file=True)
    with wishes.listening():
        source = Store(Path(settings.store)).verify_tree(spec.pins.model)
        model = load_model(source, dtype=_DTYPES[spec.precision], device=settings.device)
        face = face_of(model, spec, token=_token(directory))
        with _running(Server(face, settings.serve_host, settings.serve_port)) as server:
            # What warmed it up is nobody's request.
            warm = server.check()
            events.append("stage.changed", stage="serve")
            events.append("serve.ready", url=server.url)
            _watch(server, wishes, events, warm)
    events.append("run.stopped", wish=wishes.read(), step=0)
    return "stopped"


def serve_model(reference: str, *, host: str, port: int, token: str | None) -> None:
    """Serve a model directory, or a model of the hub's local cache, until Ctrl-C or SIGTERM.

    Without a token anyone who reaches the port may ask: then only this machine may. Raises TokenNeeded.
    """
    if token is None and host not in _LOOPBACK:
        raise TokenNeeded(f"{host} can be reached from elsewhere", hint="set FLAN_SERVE_TOKEN or --token")
    model = load_model(model_directory(reference))
    defaults = ServeSpec(name=model.card.name, model=reference)
    face = face_of(model, defaults, token=token, names=frozenset({model.card.name, reference}))
    is_over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: is_over.set())
    with _running(Server(face, host, port)) as server:
        print(f"{model.card.name} answers at {server.url}; Ctrl-C stops it", flush=True)
        while not is_over.wait(WISH_EVERY_S):
            server.check()


def face_of(model: Model, spec: ServeSpec, *, token: str | None, names: frozenset[str] | None = None) -> Face:
    """The engine of `model` and the places before it, as `spec` says."""
    # The places bound what waits; the engine's own queue also holds the prompts of one request to classify.
    engine = Engine(
        model,
        max_batch=spec.max_batch,
        max_waiting=spec.max_waiting + MAX_PROMPTS,
        cache_bytes=spec.cache_bytes,
        max_waiting_tokens=spec.max_waiting_tokens,
    )
    admission = Admission(
        max_batch=spec.max_batch, max_waiting=spec.max_waiting, max_chars=spec.max_waiting_chars
    )
    return Face(model, engine, admission, spec.sampling, token, names, spec.timeout_s)


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        server.warm_up()
        yield server
    finally:
        server.stop()


def _watch(server: Server, wishes: WishReader, events: EventWriter, first: Status) -> None:
    """Until the wish is another than to run. Tells how it goes, when something happened after `first`."""
    started = told = time.monotonic()
    requests = tokens = 0
    while wishes.read() == "run":
        status, now = server.check(), time.monotonic()
        answered, written = status.requests - first.requests, status.tokens - first.tokens
        if now - told >= PROGRESS_EVERY_S and (answered, written) != (requests, tokens):
            rate = round((written - tokens) / (now - told), 1)
            busy = {"active": status.active, "waiting": status.waiting}
            events.append("progress", done=answered, what="requests", eta_s=None, tokens_per_s=rate, **busy)
            values = {"serve/requests": answered, "serve/tokens_per_s": rate}
            values |= {f"serve/{name}": value for name, value in busy.items()}
            events.append("metrics", step=int(now - started), values=values)
            told, requests, tokens = now, answered, written
        server.wait(WISH_EVERY_S)


def _token(directory: Path) -> str:
    """The token of the run directory; made here when whoever prepared the directory made none."""
    path = directory / rundir.TOKEN
    if not path.exists():
        write_atomically(path, secrets.token_urlsafe(32).encode(), mode=0o600)
    return path.read_text().strip()
