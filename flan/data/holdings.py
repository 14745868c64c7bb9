"""Which rows of a task a folder of datasets has, by what its meta.json says: no row is read where that suffices."""

from pathlib import Path
from typing import NamedTuple

from flan.data.rows import STAND_IN, Places, open_rows, split_file
from flan.data.snapshot import read_meta
from flan.errors import FlanError
from flan.tasks.task import HubSource, SyntheticSource, Task


class HeldSplit(NamedTuple):
    """Rows of one of a task's splits."""

    rows: int
    stands_in: bool
    """Whether they are of another split of the hub than the task names."""


class Holding(NamedTuple):
    """What a folder has of a task."""

    task: str
    cluster: str
    licence: str
    rows: dict[str, HeldSplit]
    """The task's split → its rows."""
    problem: str | None
    """Why rows that are there cannot be read."""

    @property
    def stands_in(self) -> bool:
        """Whether rows of another split stand in for one."""
        return any(held.stands_in for held in self.rows.values())


def splits_here(task: Task, data: Path | None) -> dict[str, int | None]:
    """Split → how many of its rows are here: of those that are made, all; None = they are here, and were not counted.

    A split that it does not name has none. No row is read.
    """
    source = task.source
    if isinstance(source, SyntheticSource):
        return dict(source.splits)
    if not isinstance(source, HubSource) or data is None:
        return {}
    folder = data / "hub" / (source.folder or task.name)
    meta = read_meta(folder)
    found: dict[str, int | None] = {}
    for split in source.splits:
        part = source.part(split)
        if (file := split_file(folder, part.split, meta)) is not None:
            recorded = meta.get("rows", {}).get(file.name.partition(".")[0])
            found[split] = part.count(recorded) if isinstance(recorded, int) else None
    return found


def holding(task: Task, data: Path) -> Holding | None:
    """What `data` has of `task`; None where it has nothing."""
    source = task.source
    if not isinstance(source, HubSource):
        return None
    folder = data / "hub" / (source.folder or task.name)
    meta = read_meta(folder)
    rows: dict[str, HeldSplit] = {}
    problem: str | None = None
    for split in source.splits:
        part = source.part(split)
        if (file := split_file(folder, part.split, meta)) is None:
            continue
        stem = file.name.partition(".")[0]
        try:
            recorded = meta.get("rows", {}).get(stem)
            num = (
                part.count(recorded)
                if isinstance(recorded, int)
                else len(open_rows(task, split, Places(data, None)))
            )
        except FlanError as error:
            problem = error.message
        else:
            rows |= {split: HeldSplit(num, stem.startswith(STAND_IN))} if num else {}
    if not rows and problem is None:
        return None
    return Holding(task.name, task.cluster, str(meta.get("licence", task.licence)), rows, problem)
