"""The process that makes the steps of a stream for all ranks of a node; `main` is what it does.

It works ahead: a step is made as soon as every rank has taken the one whose slot it gets. The first rank
started it and ends it; the others join at the listener.
"""

import os
import socket
from collections import Counter
from collections.abc import Iterator
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import NamedTuple

from flan.data.batches import Steps
from flan.data.children import Unheard, begin, read_pickle, tell, telling
from flan.data.loaders import Loaders, Order
from flan.data.ring import Layout, Ring

STEPS_AHEAD = 3
"""Steps made ready while the network computes."""


class Opened(NamedTuple):
    """The first step is made; the ring's file descriptor comes next."""

    layout: Layout
    digest: str
    """Of the stream's first draws."""


class Ready(NamedTuple):
    """A step lies in the ring."""

    step: int
    """Steps before it since the stream was opened."""
    target_tokens: int
    num_tokens: int
    draws: tuple[tuple[int, ...], ...]
    state: str
    """StreamState after it, as JSON."""


class Audience:
    """The ranks that take steps: the first, and those that join at `listener`."""

    def __init__(self, first: Connection, listener: socket.socket | None, others: int) -> None:
        self.first = first
        self._joined = [first]
        self._listener, self._others = listener, others

    def __iter__(self) -> Iterator[Connection]:
        """All of them, the first one first; waits for who has not joined yet."""
        yield from tuple(self._joined)
        while self._listener is not None and self._others > 0:
            joined, _ = self._listener.accept()
            self._others -= 1
            self._joined.append(Connection(joined.detach()))
            yield self._joined[-1]
        if self._listener is not None:
            Path(self._listener.getsockname()).unlink(missing_ok=True)
            self._listener.close()
            self._listener = None

    def leave(self, rank: Connection) -> None:
        """A rank has gone. Raises Unheard when it is the first."""
        if rank is self.first:
            raise Unheard
        self._joined.remove(rank)


def main() -> None:
    """Be a feeder until the first rank has gone."""
    told = begin()
    order: Order = read_pickle(told.setup)
    listener = socket.socket(fileno=told.handles[0]) if told.handles else None
    audience = Audience(told.connection, listener, order.ranks - 1)
    with telling(audience):
        _feed(order, told.setup, audience)


def _feed(order: Order, setup: int, audience: Audience) -> None:
    here = order.material.encoder()
    encoder = Loaders(setup, order.loaders) if order.loaders > 1 else here
    os.close(setup)
    draws = here.digest()
    steps = Steps(order.material.spec, order.material.contract, encoder, draws, order.start)
    batch = steps.make()
    ring = Ring(Layout.of(batch.packs), STEPS_AHEAD)
    for rank in audience:
        tell(rank, Opened(ring.layout, draws))
        send_handle(rank, ring.handle, 0)
    taken: Counter[Connection] = Counter()
    for step in count():
        for rank in audience:
            _wait(audience, rank, taken, step - STEPS_AHEAD)
        ring.write(step, batch.packs)
        ready = Ready(step, *batch[1:], steps.state().model_dump_json())
        for rank in audience:
            _tell(audience, rank, ready)
        batch = steps.make()


def _wait(audience: Audience, rank: Connection, taken: Counter[Connection], step: int) -> None:
    """Until `rank` has taken `step`, so that its slot is free."""
    try:
        while taken[rank] <= step:
            rank.recv_bytes()
            taken[rank] += 1
    except (EOFError, ConnectionError):
        audience.leave(rank)


def _tell(audience: Audience, rank: Connection, ready: Ready) -> None:
    try:
        rank.send(ready)
    except ConnectionError:
        audience.leave(rank)
