"""The questions about one split of a task, answered: shared among ranks, kept between attempts.

Each rank answers every so-many-th row and keeps what the model said (`flan/evaluate/kept.py`). At the end of a part all
of them meet: rank 0 hears how it went elsewhere, says how to go on, and reads what all have kept. Nothing else passes
between ranks that have the whole model each; those that share its weights take turns (`flan/model/sharding.py`).
"""

import json
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Literal, NamedTuple, Protocol

from flan.data.rows import Rows
from flan.data.shots import Shots
from flan.errors import FlanError
from flan.evaluate.answering import Answered, answer, answered
from flan.evaluate.kept import Kept, key_of
from flan.evaluate.questions import Question, ask, rows_of, scoring_of, templates_of
from flan.model.load import Model
from flan.model.sharding import Turns
from flan.rundir import EventWriter
from flan.spec import EvaluateSpec
from flan.stopping import WishReader
from flan.tasks.task import Task

PROGRESS_EVERY_S = 1.0
OF_THE_TASK = (FlanError, ValueError, TypeError, LookupError, ArithmeticError)
"""What can go wrong with a task, its rows or its metrics. A machine that fails ends the attempt instead."""
_End = Literal["done", "stopped", "failed"]


class Peers(Protocol):
    """The ranks of a run."""

    @property
    def rank(self) -> int:
        """Which one this is."""

    @property
    def world_size(self) -> int:
        """How many they are."""

    def tell(self, key: str, word: str) -> None:
        """Say `word` to whoever asks for `key`."""

    def hear(self, key: str) -> str:
        """Wait for what is said under `key`."""


class Stopped(Exception):  # no error, but the way out of the loops
    """Something else than running is wished for."""


class FailedElsewhere(FlanError):
    """Another rank could not answer its share of a task."""

    code, blame = "rank_failed", "user"


class Part(NamedTuple):
    """The rows of a task that are reported, or those that its best template is chosen on."""

    task: Task
    spec: EvaluateSpec
    """As if they were all there is."""
    rows: Rows
    shots: Shots | None

    @property
    def num_questions(self) -> int:
        """How many there are, those that cannot be asked included."""
        return len(rows_of(self.spec, self.task, len(self.rows))) * len(templates_of(self.spec, self.task))


class Pauses:
    """What happens between two rows or batches: progress is told, at most once a second, and the wish is read.

    Only rank 0 has `events`; it counts as if the others were as far as itself, and is put right by `reach`.
    """

    def __init__(self, events: EventWriter | None, wishes: WishReader, total: int, num_ranks: int) -> None:
        self.done = 0
        self._events, self._wishes, self._total, self._num_ranks = events, wishes, total, num_ranks
        self._started = self._said = time.monotonic()

    def after(self, count: int, task: str) -> None:
        """`count` more questions are done. Raises Stopped when the run is to end here."""
        self._tell(min(self._total, self.done + count * self._num_ranks), task)
        if self._wishes.read() != "run":
            raise Stopped

    def reach(self, done: int, task: str) -> None:
        """So many questions are done, at all ranks."""
        self._tell(done, task)

    def _tell(self, done: int, task: str) -> None:
        is_news, self.done = done != self.done, done
        is_due = done == self._total or time.monotonic() - self._said >= PROGRESS_EVERY_S
        if self._events is not None and is_news and is_due:
            self._said = time.monotonic()
            eta_s = (self._said - self._started) / max(1, done) * (self._total - done)
            self._events.append("progress", done=done, total=self._total, what=task, eta_s=round(eta_s, 1))


class Found(NamedTuple):
    """What rank 0 knows of a part in the end."""

    answered: list[Answered]
    """In order of template and row."""
    num_skipped: Counter[int]
    """Template → rows that could not be asked about."""


def answer_part(
    part: Part, kept: Kept, model: Model, peers: Peers, pauses: Pauses, *, turns: Turns | None = None
) -> Found | None:
    """Answer this rank's share, meet the others; all answers at rank 0, None elsewhere.

    `turns` are those of a model whose weights the ranks share.
    Raises Stopped at all ranks if it is raised at one; and what is wrong with the task, at rank 0 whichever it was
    found at, elsewhere FailedElsewhere.
    """
    before = pauses.done
    questions: list[Question] = []
    num_skipped: Counter[int] = Counter()

    def work() -> None:
        with turns.taken() if turns is not None else nullcontext():
            ask_and_answer()

    def ask_and_answer() -> None:
        numbers = rows_of(part.spec, part.task, len(part.rows))
        own = set(numbers[peers.rank :: peers.world_size])
        for asked in ask(part.spec, part.task, part.rows, model, part.shots, () if peers.rank == 0 else own):
            questions.extend(asked.questions)
            num_skipped.update(asked.skipped)
            pauses.after(0, part.task.name)
        _answer_share(part, kept, [each for each in questions if each.row in own], model, pauses)

    _together(work, f"{part.task.name}/{part.spec.split}", peers)
    if peers.rank != 0:
        return None
    pauses.reach(before + part.num_questions, part.task.name)
    said = kept.read(part.task.name, part.spec.split)
    found = [answered(part.task, each, said[key_of(each)], part.spec.choose_by) for each in questions]
    found.sort(key=lambda one: key_of(one.question))
    return Found(found, num_skipped)


def _answer_share(
    part: Part, kept: Kept, questions: Sequence[Question], model: Model, pauses: Pauses
) -> None:
    task, split = part.task.name, part.spec.split
    done = kept.read(task, split).keys()
    pauses.after(sum(key_of(each) in done for each in questions), task)
    for batch, said in answer(part.spec, scoring_of(part.spec, part.task), questions, model, done):
        kept.add(task, split, batch, said)
        pauses.after(len(batch), task)


def _together(work: Callable[[], None], name: str, peers: Peers) -> None:
    """Do `work` at every rank, and end alike."""
    end: _End = "done"
    failure: Exception | None = None
    try:
        work()
    except Stopped:
        end = "stopped"
    except OF_THE_TASK as error:
        end, failure = "failed", error
    if peers.rank == 0:
        _settle(name, peers, end, failure)
        return
    if failure is not None:
        traceback.print_exception(failure)
    peers.tell(f"{name} ended at {peers.rank}", json.dumps([end, str(failure)]))
    word = peers.hear(f"{name} ended")
    if word == "stopped":
        raise Stopped
    if word == "failed":
        raise FailedElsewhere(f"{name} failed at a rank", hint="rank 0 says why")


def _settle(name: str, peers: Peers, end: _End, failure: Exception | None) -> None:
    told: list[tuple[_End, str]] = [
        json.loads(peers.hear(f"{name} ended at {rank}")) for rank in range(1, peers.world_size)
    ]
    ends = [end, *(of_peer for of_peer, _ in told)]
    word = "stopped" if "stopped" in ends else "failed" if "failed" in ends else "done"
    peers.tell(f"{name} ended", word)
    if word == "stopped":
        raise Stopped
    if failure is not None:
        raise failure
    for rank, (of_peer, message) in enumerate(told, start=1):
        if of_peer == "failed":
            raise FailedElsewhere(f"rank {rank}: {message}", hint=f"logs/rank-{rank}.log has the whole of it")
