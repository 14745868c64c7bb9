"""What a model has said already, kept between attempts and handed from rank to rank.

    ANSWERS/<digest of the spec>-<scoring version>/<task>/<split>.rank-0.jsonl, …   appended to, a line for each batch

ANSWERS is a folder beside the checkpoints of a job, shared by its attempts. A line that was not finished when its rank
died is no line. Who was given an answer is told by template and row: asked again by the same spec, a question is the
same.
"""

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from flan.evaluate.questions import Question
from flan.evaluate.results import SCORING_VERSION
from flan.model.choosing import Options
from flan.rundir import RunSettings
from flan.spec import EvaluateSpec, canonical_json

FOLDER = "answers"
Key = tuple[int, int]
"""Template and row."""


class Said(NamedTuple):
    """What the model said to a question."""

    text: str = ""
    """The text written."""
    options: Options | None = None
    """Rank classification: what is known of each option, in order; the choice is made of it later."""
    is_finished: bool = True
    """False for a text that was cut at the limit."""


def key_of(question: Question) -> Key:
    """By which a question is found again."""
    return question.template, question.row


class Kept:
    """The answers of one evaluation, as one rank sees them."""

    def __init__(self, settings: RunSettings, spec: EvaluateSpec, rank: int) -> None:
        digest = f"{spec.digest()}-{SCORING_VERSION}"
        self._folder = Path(settings.checkpoints).parent / FOLDER / digest
        self._rank = rank

    def read(self, task: str, split: str) -> dict[Key, Said]:
        """All that any rank has kept about these rows, in this attempt or an earlier one."""
        found: dict[Key, Said] = {}
        for path in sorted((self._folder / task).glob(f"{split}.rank-*.jsonl")):
            for line in path.read_bytes().splitlines(keepends=True):
                if line.endswith(b"\n"):
                    found.update(_said(each) for each in json.loads(line))
        return found

    def add(self, task: str, split: str, questions: Iterable[Question], said: Sequence[Said]) -> None:
        """Keep the answers of one batch."""
        batch = [[*key_of(question), *each] for question, each in zip(questions, said, strict=True)]
        (self._folder / task).mkdir(parents=True, exist_ok=True)
        path = self._folder / task / f"{split}.rank-{self._rank}.jsonl"
        with path.open("a+b") as file:
            # What a kill left of a line would swallow this one.
            _cut_to_lines(file)
            file.write(canonical_json(batch).encode() + b"\n")

    def remove(self) -> None:
        """Forget all of it: what was measured is written elsewhere."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _said(values: list[Any]) -> tuple[Key, Said]:
    template, row, text, options, is_finished = values
    of_each = Options(*map(tuple, options)) if options is not None else None
    return (template, row), Said(text, of_each, is_finished)


def _cut_to_lines(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(size - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
