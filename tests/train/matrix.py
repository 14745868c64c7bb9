"""Cells of a matrix of small runs, carried out by one rank and by two, each group started once."""

import json
from pathlib import Path
from typing import Any

from flan import rundir
from flan.rundir import Wish
from tests.kit.ranks import PATIENCE_S, run_ranks
from tests.kit.runs import TinyRuns

CELL_PATIENCE_S = 20.0


class Matrix:
    """Small runs by name and number of ranks. Add cells, `carry_out` all, then look into their directories."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.runs = TinyRuns(folder)
        self._cells: dict[int, list[dict[str, Any]]] = {}

    def add(
        self,
        name: str,
        num_ranks: int,
        *,
        kind: str = "tune",
        fault: dict[str, Any] | None = None,
        wish: Wish = "run",
        resume_from: str | None = None,
        **changes: Any,
    ) -> None:
        """One more cell: TINY with `changes`; `wish` is what is wanted from its first step on.

        With `resume_from` it is a second attempt at the cell of the same name.
        """
        attempt = 1 if resume_from is None else 2
        directory = self.prepare(name, num_ranks, attempt, resume_from, **changes)
        rundir.write_wish(directory, wish)
        self._cells.setdefault(num_ranks, []).append(
            {"directory": str(directory), "kind": kind, "fault": fault}
        )

    def prepare(
        self, name: str, num_ranks: int, attempt: int = 1, resume_from: str | None = None, **changes: Any
    ) -> Path:
        """The run directory of an attempt at a cell, which is no part of the matrix until it is added."""
        spec = self.runs.resolve(resources={"ranks": num_ranks, "device": "cpu"}, **changes)
        return self.runs.prepare(spec, f"{name}-{num_ranks}", attempt, resume_from)

    def carry_out(self) -> None:
        """Work through all cells."""
        for num_ranks, cells in self._cells.items():
            path = self._folder / f"cells-{num_ranks}.json"
            path.write_text(json.dumps(cells))
            patience_s = PATIENCE_S + CELL_PATIENCE_S * len(cells)
            run_ranks(["tests.train.cells", str(path)], num_ranks, path.with_suffix(".log"), patience_s)

    def directory(self, name: str, num_ranks: int, attempt: int = 1) -> Path:
        """Run directory of a cell."""
        return self._folder / f"{name}-{num_ranks}" / f"attempt-{attempt}"
