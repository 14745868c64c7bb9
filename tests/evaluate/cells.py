"""The program of a rank that carries out several evaluations in one process group.

python -m tests.evaluate.cells LIST      LIST is the JSON of a list of Cells
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

from torch.distributed import PrefixStore

from flan import rundir
from flan.errors import FlanError
from flan.evaluate import parts
from flan.evaluate.answering import answer
from flan.evaluate.parts import Stopped
from flan.evaluate.suite import evaluate
from flan.model.scoring import NotFinite
from flan.processes import die_with_parent
from flan.rundir import EventWriter, Outcome
from flan.spec import Document, EvaluateSpec, parse
from flan.train.ranks import Ranks, meet, process_group


class Cell(Document):
    """One evaluation, and what happens at its last rank after the first batch of every split."""

    directory: str
    end: Literal["done", "failed", "stopped"] = "done"


def main(cells: Path) -> None:
    """Be one rank of every cell, in order."""
    die_with_parent()
    ranks = meet("cpu")
    with process_group(ranks):
        for document in json.loads(cells.read_text()):
            cell = parse(Cell, document)
            # What was told in another cell is no answer in this one.
            _work(cell, replace(ranks, store=PrefixStore(cell.directory, ranks.store)))


def _work(cell: Cell, ranks: Ranks) -> None:
    directory = Path(cell.directory)
    spec = rundir.read_spec(directory)
    assert isinstance(spec, EvaluateSpec)
    events = EventWriter(directory) if ranks.is_first else None
    is_last = ranks.rank == ranks.world_size - 1

    def answer_once(*given: Any) -> Iterator[Any]:
        yield next(answer(*given))
        raise NotFinite("as the test wants it") if cell.end == "failed" else Stopped

    with patch.object(parts, "answer", answer if cell.end == "done" or not is_last else answer_once):
        outcome = _outcome(spec, directory, events, ranks)
    if ranks.is_first:
        rundir.write_outcome(directory, outcome)


def _outcome(spec: EvaluateSpec, directory: Path, events: EventWriter | None, ranks: Ranks) -> Outcome:
    try:
        return Outcome(status=evaluate(spec, directory, events, ranks))
    except FlanError as error:
        return rundir.failure(error)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
