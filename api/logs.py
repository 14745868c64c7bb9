"""Logs of ranks: text files in the run directory, on storage that the API shares with the workers."""

from pathlib import Path

from api.job_shapes import LogShape
from flan.errors import NotFound
from workers.ledger.tables import Attempt

MAX_BYTES = 256 * 1024


class NotStarted(NotFound):
    """No rank has written anything, because none was started."""

    code = "not_started"


def read(attempt: Attempt, rank: int, offset: int) -> LogShape:
    """A piece of a log from `offset` on, in whole lines where it has any. Raises NotFound.

    A negative offset counts from the end.
    """
    path = _path(attempt, rank)
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = max(0, size + offset) if offset < 0 else min(offset, size)
            file.seek(start)
            data = file.read(MAX_BYTES)
    except FileNotFoundError as error:
        raise NotFound(
            f"attempt {attempt.number} of job {attempt.job_id} has no log of rank {rank}",
            hint="ranks count from 0; a log is there once the rank has started",
        ) from error
    whole = data.rfind(b"\n") + 1
    if offset < 0 and start > 0:
        first = data.find(b"\n") + 1
        start, data, whole = start + first, data[first:], whole - first
    piece = data[:whole] if whole > 0 else data
    return LogShape(
        job_id=attempt.job_id,
        attempt=attempt.number,
        rank=rank,
        offset=start,
        next_offset=start + len(piece),
        size_bytes=size,
        text=piece.decode(errors="replace"),
    )


def _path(attempt: Attempt, rank: int) -> Path:
    if attempt.run_directory is None:
        which = f"attempt {attempt.number} of job {attempt.job_id}"
        if attempt.ended_at is None:
            raise NotStarted(f"{which} has not started yet", hint="its ranks are being launched")
        raise NotStarted(f"{which} was never started", hint=f"it ended before that: {attempt.ending}")
    return Path(attempt.run_directory) / "logs" / f"rank-{rank}.log"
