"""A rank's end of the stream of training steps.

The steps are made by a process of their own, one for all ranks of a node (`flan.data.feeder`): each example is
encoded once, no thread of a rank works on data, and what a rank does for a step is to copy it out of shared
memory. The first rank opens the stream and the others join it.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping
from functools import cached_property
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Self

from flan.card import Contract
from flan.data.batches import StepBatch, StreamState, TaskCounts
from flan.data.children import Child, receive, share_pickle
from flan.data.feeder import STEPS_AHEAD, Opened, Ready
from flan.data.loaders import Material, Order
from flan.data.ring import Ring
from flan.data.rows import Rows
from flan.data.tokens import AnyTokenizer, serialised
from flan.spec import TuneSpec
from flan.tasks.task import Task


class Stream:
    """Steps of a tune spec, made ahead by another process. Close it, or use it in `with`.

    Opened by `open` and, at the other ranks of the node, `join`. Every rank gets the same steps.
    """

    def __init__(
        self,
        connection: Connection,
        receive: Callable[[], object],
        close: Callable[[], None],
        start: StreamState,
    ) -> None:
        self._connection, self._receive, self._close = connection, receive, close
        self._state: StreamState | str = start
        self.address = ""
        """Where the other ranks of the node join."""

    @classmethod
    def open(
        cls,
        spec: TuneSpec,
        tasks: Mapping[str, Task],
        rows: Mapping[str, Rows],
        tokenizer: AnyTokenizer,
        contract: Contract,
        start: StreamState | None = None,
        *,
        ranks: int = 1,
        loaders: int = 1,
    ) -> Self:
        """The stream from `start` on, for `ranks` ranks of this node; `loaders` processes encode its examples.

        `rows` holds the training rows of each of `tasks`. Neither number changes what comes.
        """
        start = start or StreamState()
        material = Material(spec, dict(tasks), dict(rows), serialised(tokenizer), contract)
        setup = share_pickle(Order(material, start, ranks, loaders))
        folder = Path(tempfile.mkdtemp(prefix="flan-stream-")) if ranks > 1 else None
        with socket.socket(socket.AF_UNIX) as listener:
            handles = []
            if folder is not None:
                listener.bind(str(folder / "ranks"))
                listener.listen(ranks)
                handles = [listener.fileno()]
            child = Child("flan.data.feeder", setup, handles=handles)
        os.close(setup)

        def close() -> None:
            child.close()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

        stream = cls(child.connection, child.receive, close, start)
        stream.address = str(folder / "ranks") if folder else ""
        return stream

    @classmethod
    def join(cls, address: str, start: StreamState | None = None) -> Self:
        """The stream that another rank of this node has opened, from the same `start`."""
        joined = socket.socket(socket.AF_UNIX)
        joined.connect(address)
        connection = Connection(joined.detach())
        return cls(connection, lambda: receive(connection), connection.close, start or StreamState())

    def next_step(self) -> StepBatch:
        """The next step. Raises what made the draws unusable when none can be used any more.

        LoaderDied when the process that makes them is gone.
        """
        ring, _ = self._opened
        ready = self._receive()
        assert isinstance(ready, Ready)
        packs = ring.read(ready.step)
        self._connection.send_bytes(b"taken")
        self._state = ready.state
        return StepBatch(packs, ready.target_tokens, ready.num_tokens, ready.draws)

    def digest(self) -> str:
        """sha256 over the first draws of the stream; waits until it has been opened, and raises as `next_step`."""
        return self._opened[1]

    def state(self) -> StreamState:
        """Where the stream stands after the step last handed out."""
        if isinstance(self._state, str):
            self._state = StreamState.model_validate_json(self._state)
        return self._state

    def counts(self) -> dict[str, TaskCounts]:
        """What became of the draws up to the step last handed out, by task."""
        return self.state().counts

    def close(self) -> None:
        """Take no more steps. At the rank that opened the stream: end the process that makes them."""
        self._close()

    @cached_property
    def _opened(self) -> tuple[Ring, str]:
        opened = self._receive()
        assert isinstance(opened, Opened)
        return Ring(opened.layout, STEPS_AHEAD, recv_handle(self._connection)), opened.digest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
