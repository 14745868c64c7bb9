"""Following events.jsonl while rank 0 writes it."""

import json
from pathlib import Path

from flan.errors import InvalidDocument
from flan.rundir import Event
from flan.spec import parse
from workers.ledger.journal import BadEvent

BATCH = 200


class Tail:
    """Reads new complete lines. What was read counts once `advance` is called: until then it comes again."""

    def __init__(self, path: Path, *, after: int) -> None:
        self._path = path
        self._offset = self._next = 0
        self._skip = after

    def read(self) -> list[Event]:
        """The next complete events, at most BATCH; none when rank 0 wrote nothing new. Raises BadEvent."""
        events: list[Event] = []
        self._next = self._offset
        if not self._path.exists():
            return events
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while len(events) < BATCH and (line := file.readline()).endswith(b"\n"):
                self._next += len(line)
                event = self._parse(line)
                if event.line > self._skip:
                    events.append(event)
        return events

    def _parse(self, line: bytes) -> Event:
        try:
            return parse(Event, json.loads(line))
        except (ValueError, InvalidDocument) as error:
            raise BadEvent(f"{self._path.name}: a line that is no event: {line[:200]!r}") from error

    def advance(self) -> None:
        """What `read` returned last is safe elsewhere."""
        self._offset = self._next
