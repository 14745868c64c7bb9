"""Requests that have not begun, and in whose turn it is to begin."""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain, zip_longest

from flan.serve.sequences import Request, ScoreRequest


class Waiting:
    """The requests of all clients. A client that asks much waits behind its own requests, not others behind them."""

    def __init__(self) -> None:
        self._of_client: OrderedDict[str, list[Request]] = OrderedDict()
        """Clients in the order of their turns."""

    def __iter__(self) -> Iterator[Request]:
        return chain.from_iterable(self._of_client.values())

    def __len__(self) -> int:
        return sum(map(len, self._of_client.values()))

    def add(self, request: Request) -> None:
        """The last of its client."""
        self._of_client.setdefault(request.client, []).append(request)

    def in_turn(self) -> Iterator[Request]:
        """One of each client, then the second of each, and so on."""
        for turn in zip_longest(*map(list, self._of_client.values())):
            yield from (request for request in turn if request is not None)

    def begun(self, request: Request) -> None:
        """A sequence of it has begun: the next turn is another client's. It leaves with its last sequence."""
        if not request.unbegun:
            self._of_client[request.client].remove(request)
        self._of_client.move_to_end(request.client)
        self._sweep()

    def forget_ended(self) -> None:
        """Let go of those whose client is gone, or that failed."""
        for client, requests in self._of_client.items():
            self._of_client[client] = [request for request in requests if not request.future.done()]
        self._sweep()

    def clear(self) -> None:
        """Nobody waits."""
        self._of_client.clear()

    def _sweep(self) -> None:
        for client in [client for client, requests in self._of_client.items() if not requests]:
            del self._of_client[client]


def tokens_of(request: Request) -> int:
    """Tokens that it waits to have read and, at most, written."""
    if isinstance(request, ScoreRequest):
        return len(request.prompt) + sum(map(len, request.options))
    return len(request.unbegun) * request.num_places
