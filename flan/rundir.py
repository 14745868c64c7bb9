"""The run directory: the only interface between a rank and whoever started it.

    run/
      spec.json      what to do: the resolved spec
      run.json       how this attempt is set up: RunSettings
      wish.json      {"wish": "run" | "pause" | "cancel"}, replaced atomically by the supervisor
      token          the bearer token a serve rank accepts (mode 0600)
      events.jsonl   what happened: numbered lines, appended by rank 0 only
      outcome.json   how it ended: Outcome, written by rank 0 last, or by the first rank that failed
      logs/rank-0.log …   stdout and stderr of each rank
      logs/rank-0.stacks  where each thread of a rank stood when it hung, or was asked with SIGUSR2
      model/ base/   exported models (tune); results.json; samples/ (evaluate)
    checkpoints/     beside the attempts of a job, shared by them: run.json names the folder
    answers/         beside it: what an evaluation has found so far

A rank needs nothing else: no database, no queue. Started by hand or by torchrun it does the same.

Events a rank writes, with their data:

    run.started         kind, ranks, device, resumed_from (step, 0 = from the start)
    stage.changed       stage: prepare | train | evaluate | serve | finalize
    data.opened         draws: digest of the first 10,000 draws of the training stream
    batch.first         packs, target_tokens, num_segments; segments of the first pack of step 1, token by token
    progress            step, total_steps (or done, total, what), eta_s, and figures worth a line
    metrics             step, values: {"train/loss": …}; a replayed step overwrites
    leakage.checked     policy, train_rows, num_shared, held_out, left_out, shared, report …: rows were compared
    leakage.found       policy, shared: and the run refused
    memory.planned      micro_batch, is_auto; pack_lengths; states_, activations_, snapshot_ and room_bytes of a rank
    checkpoint.written  step, path (name inside the checkpoints folder), manifest_sha256, size_bytes
    model.written       name, role: tuned | base, path (folder inside the run directory)
    results.written     path (file inside the run directory), summary
    serve.ready         url
    warning             code, message
    run.stopped         wish, step: the wish was obeyed, a checkpoint lies ready
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from flan.errors import Blame, FlanError
from flan.spec import Document, Spec, parse, parse_spec
from flan.store import write_atomically

Wish = Literal["run", "pause", "cancel"]
EXIT_STOPPED = 75
"""Exit status of a rank that obeyed a wish (EX_TEMPFAIL). 0 = done; anything else = failed."""
HUNG = "hung"
"""Code of the outcome of a rank that gave up waiting for a step."""

SPEC, RUN, WISH, EVENTS, OUTCOME, TOKEN = (
    "spec.json",
    "run.json",
    "wish.json",
    "events.jsonl",
    "outcome.json",
    "token",
)


class RunSettings(Document):
    """run.json: where things lie and how this attempt is set up. Nothing here changes a result."""

    attempt: int = Field(ge=1)
    store: str
    """Folder of the artifact store."""
    data: str | None = None
    """Folder of datasets in hub layout (FLAN_DATA)."""
    checkpoints: str
    """Folder that holds the checkpoints of all attempts."""
    resume_from: str | None = None
    """Name of a checkpoint in that folder; "latest" = the newest that verifies; None = from the start."""
    ranks: int = Field(default=1, ge=1)
    stall_s: float = Field(default=120.0, gt=0)
    """A training step may take this long, or ten times as long as steps do, before a rank gives up."""
    device: Literal["cpu", "cuda"] = "cpu"
    serve_host: str = "127.0.0.1"
    serve_port: int = 0
    """Port of a serve rank; 0 = any free one."""


class Event(Document):
    """One line of events.jsonl. `line` counts from 1 in each attempt, without gaps."""

    line: int = Field(ge=1)
    at: float
    """Unix seconds by the rank's clock; for people, never for order."""
    type: str
    data: dict[str, Any]


class Outcome(Document):
    """How an attempt ended, as its ranks saw it."""

    status: Literal["done", "stopped", "failed"]
    code: str | None = None
    blame: Blame | None = None
    message: str | None = None
    hint: str | None = None
    values: dict[str, Any] = {}


class EventWriter:
    """Appends numbered events to a run directory. One writer per directory: rank 0."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / EVENTS
        self._line = sum(1 for _ in read_events(self._path, after=0))
        # A half-written last line (the machine died) is cut off: its number is used again.
        complete = self._path.read_bytes().rfind(b"\n") + 1 if self._path.exists() else 0
        self._file = self._path.open("ab")
        self._file.truncate(complete)

    def append(self, type_: str, **data: Any) -> None:
        """Write one event. It is on its way to the reader when this returns."""
        self._line += 1
        event = {"line": self._line, "at": round(time.time(), 3), "type": type_, "data": data}
        self._file.write(json.dumps(event, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Make everything written survive a power loss."""
        os.fsync(self._file.fileno())
        self._file.close()


def read_events(path: Path, *, after: int) -> Iterator[Event]:
    """The complete events of `path` whose line is greater than `after`, in order.

    Stops before a line that is not finished yet. A missing file has no events.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            event = parse(Event, json.loads(line))
            if event.line > after:
                yield event


def prepare(directory: Path, spec: Spec, settings: RunSettings) -> None:
    """Make a run directory ready for its ranks."""
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    Path(settings.checkpoints).mkdir(parents=True, exist_ok=True)
    _write(directory / SPEC, spec)
    _write(directory / RUN, settings)
    write_wish(directory, "run")


def stacks_path(directory: Path, rank: int) -> Path:
    """Where a rank's stacks go."""
    return directory / "logs" / f"rank-{rank}.stacks"


def read_spec(directory: Path) -> Spec:
    """The resolved spec of a run directory."""
    return parse_spec(json.loads((directory / SPEC).read_text()))


def read_settings(directory: Path) -> RunSettings:
    """run.json."""
    return parse(RunSettings, json.loads((directory / RUN).read_text()))


def write_wish(directory: Path, wish: Wish) -> None:
    """Tell the ranks what is wanted; rank 0 reads it once a step."""
    write_atomically(directory / WISH, json.dumps({"wish": wish}).encode())


def read_wish(directory: Path) -> Wish:
    """What is wanted of the ranks. A missing file means: run."""
    try:
        wish = json.loads((directory / WISH).read_text())["wish"]
    except FileNotFoundError:
        return "run"
    assert wish in get_args(Wish), wish
    return wish  # type: ignore[no-any-return]


def write_outcome(directory: Path, outcome: Outcome) -> None:
    """Say how it ended; the last thing a rank writes."""
    _write(directory / OUTCOME, outcome)


def read_outcome(directory: Path) -> Outcome | None:
    """How it ended; None when no rank could say (they were killed)."""
    path = directory / OUTCOME
    return parse(Outcome, json.loads(path.read_text())) if path.exists() else None


def failure(error: BaseException) -> Outcome:
    """The outcome of an attempt that ended in `error`."""
    if isinstance(error, FlanError):
        values: Mapping[str, Any] = error.values
        return Outcome(
            status="failed", code=error.code, blame=error.blame, message=error.message, hint=error.hint,
            values=dict(values),
        )  # fmt: skip
    return Outcome(
        status="failed", code="internal", blame="system", message=f"{type(error).__name__}: {error}"
    )


def _write(path: Path, document: Document) -> None:
    write_atomically(path, (document.model_dump_json(indent=1) + "\n").encode())
