"""Answers that go out as they are written: pieces come from the engine's thread straight into the event loop."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Protocol

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from flan.errors import FlanError
from flan.serve import wire
from flan.serve.answers import generate_answer
from flan.serve.asking import Asking, problem_body
from flan.serve.messages import GenerateRequest
from flan.serve.plans import Sample
from flan.serve.sequences import Completion, Piece

HEARTBEAT_S = 10.0


class Wording(Protocol):
    """How an answer is said on the wire."""

    def piece(self, piece: Piece) -> bytes:
        """Some text, as it is written."""

    def end(self, completions: Sequence[Completion]) -> bytes:
        """What follows the last piece."""

    def fault(self, error: FlanError) -> bytes:
        """What ends it early."""


class NativeWording:
    """`token` events, then one `done` with all that a whole answer has; or an `error`."""

    def __init__(self, asking: Asking, asked: GenerateRequest, plan: Sample) -> None:
        self._asking, self._asked, self._plan = asking, asked, plan

    def piece(self, piece: Piece) -> bytes:
        """Some text, as it is written."""
        return wire.event("token", {"index": piece.sample, "text": piece.text})

    def end(self, completions: Sequence[Completion]) -> bytes:
        """The whole answer."""
        card, timing = self._asking.face.model.card, self._asking.watch.timing()
        return wire.event("done", generate_answer(card, self._asked, self._plan, completions, timing))

    def fault(self, error: FlanError) -> bytes:
        """A problem."""
        return wire.event("error", problem_body(self._asking.request, error))


class TokenStream(StreamingResponse):
    """An answer as it is written, in the words of `wording`."""

    def __init__(self, asking: Asking, plan: Sample, wording: Wording, *, has_logprobs: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Piece | None] = asyncio.Queue()

        def deliver(piece: Piece) -> None:
            asking.watch.spoke(piece)
            _tell(loop, self._events, piece)

        # Begun here, not in the stream: what is refused is refused with a status.
        self._future = asking.writing(plan, deliver, has_logprobs=has_logprobs)
        self._future.add_done_callback(lambda _: _tell(loop, self._events, None))
        self._asking, self._wording = asking, wording
        self._place = asking.place.kept()
        super().__init__(self._frames(), media_type=wire.EVENT_STREAM, headers={"Cache-Control": "no-store"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; whatever ends the sending early ends the writing too."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._future.cancel()
            self._place.give_back()

    async def _frames(self) -> AsyncIterator[bytes]:
        asking = self._asking
        while True:
            try:
                piece = await asyncio.wait_for(self._events.get(), min(HEARTBEAT_S, asking.left_s))
            except TimeoutError:
                if not asking.left_s:
                    yield self._wording.fault(asking.too_late())
                    return
                yield wire.HEARTBEAT
                continue
            if piece is None:
                break
            yield self._wording.piece(piece)
        try:
            completions = self._future.result()
        except FlanError as error:
            yield self._wording.fault(error)
            return
        yield self._wording.end(completions)


def _tell(loop: asyncio.AbstractEventLoop, events: asyncio.Queue[Piece | None], piece: Piece | None) -> None:
    # The loop is closed once the server has ended: then nobody is there to be told.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(events.put_nowait, piece)
