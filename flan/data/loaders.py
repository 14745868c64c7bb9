"""Several processes that encode the draws of one stream between them; `main` is what one of them does.

Block k goes to loader k modulo their number, and the answers are taken in the order of the blocks: however
many there are, each draw is encoded once, and the stream is the same.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, cycle
from typing import NamedTuple

from tokenizers import Tokenizer

from flan.card import Contract
from flan.data.batches import StreamState
from flan.data.children import Child, begin, hear, read_pickle, tell, telling
from flan.data.encoding import BLOCK, Encoded, LocalEncoder
from flan.data.rows import Rows
from flan.spec import TuneSpec
from flan.tasks.task import Task

AHEAD = 2
"""Blocks that each loader has in hand: one that it works on, one that waits to be taken."""


class Material(NamedTuple):
    """What a stream is made from, in a form that goes from process to process."""

    spec: TuneSpec
    tasks: dict[str, Task]
    rows: dict[str, Rows]
    tokenizer: str
    """As tokenizer.json has it."""
    contract: Contract

    def encoder(self) -> LocalEncoder:
        """Encodes in this process."""
        tokenizer = Tokenizer.from_str(self.tokenizer)
        return LocalEncoder(self.spec, self.tasks, self.rows, tokenizer, self.contract)


class Order(NamedTuple):
    """What a feeder is to do."""

    material: Material
    start: StreamState
    ranks: int
    """How many take its steps."""
    loaders: int
    """Processes that encode; 1 = the feeder itself."""


class Loaders:
    """`number` loaders at work; `setup` is the file descriptor of the Order. They end with this process."""

    def __init__(self, setup: int, number: int) -> None:
        self._children = [Child("flan.data.loaders", setup) for _ in range(number)]

    def encode(self, draws: Sequence[int]) -> list[Encoded]:
        """What becomes of some draws, in their order."""
        blocks = (draws[i : i + BLOCK] for i in range(0, len(draws), BLOCK))
        return [*chain.from_iterable(self._in_order(blocks))]

    def blocks(self, start: int) -> Iterator[list[Encoded]]:
        """What becomes of the draws from `start` on, in order, BLOCK at a time, without end."""
        return self._in_order(range(first, first + BLOCK) for first in count(start, BLOCK))

    def close(self) -> None:
        """End the loaders."""
        for child in self._children:
            child.close()

    def _in_order(self, blocks: Iterable[Sequence[int]]) -> Iterator[list[Encoded]]:
        asked: deque[Child] = deque()
        for child, block in zip(cycle(self._children), blocks, strict=False):
            child.send(block)
            asked.append(child)
            if len(asked) == AHEAD * len(self._children):
                yield asked.popleft().receive()
        while asked:
            yield asked.popleft().receive()


def main() -> None:
    """Be a loader: encode what is asked for, until nobody asks."""
    told = begin()
    with telling([told.connection]):
        order: Order = read_pickle(told.setup)
        encoder = order.material.encoder()
        while True:
            tell(told.connection, encoder.encode(hear(told.connection)))
