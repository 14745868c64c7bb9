"""Datasets of the Hugging Face hub → a folder in hub layout. The only code of the platform that fetches rows."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flan.data.formats import encode_row
from flan.data.mixture import sample
from flan.data.rows import MissingSplit
from flan.errors import FlanError
from flan.store import write_atomically
from flan.tasks.task import HubSource, Task

MAX_ROWS = 100_000
"""Of a larger split a seeded sample is written: a mixture uses 30,000 rows of a task at most."""


class NotOnHub(FlanError):
    """A task's rows do not come from the hub, or the hub does not give them."""

    code, blame = "not_on_hub", "user"


def pull(task: Task, data: Path) -> Path:
    """Write the hub's splits that `task` takes rows from, and meta.json, below `data`/hub; their folder.

    Raises NotOnHub, MissingSplit.
    """
    source = task.source
    if not isinstance(source, HubSource):
        raise NotOnHub(f"the rows of {task.name} do not come from the hub: they are {source.kind}")
    splits = _fetch(source)
    folder = data / "hub" / (source.folder or task.name)
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted({source.part(split).split for split in source.splits})
    rows = {name: _rows_of(name, splits, task.name) for name in names}
    for name, (dataset, chosen) in rows.items():
        _write(folder / f"{name}.jsonl.gz", (dataset[int(index)] for index in chosen))
    first = next(iter(rows.values()))[0]
    meta = {
        "task": task.name,
        "cluster": task.cluster,
        "hub_id": source.id,
        "hub_config": source.config,
        "hub_revision": source.revision,
        "columns": {name: _column(feature) for name, feature in first.features.items()},
        "rows": {name: len(chosen) for name, (_, chosen) in rows.items()},
        "licence": task.licence,
    }
    write_atomically(folder / "meta.json", json.dumps(meta, indent=1, ensure_ascii=False).encode())
    return folder


def _fetch(source: HubSource) -> Mapping[str, Any]:
    import datasets

    # Pinned by `revision` where the task names one, so that the hub cannot change what is fetched.
    revision = source.revision if not Path(source.id).is_dir() else None
    try:
        splits: Mapping[str, Any] = datasets.load_dataset(source.id, source.config, revision=revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise NotOnHub(
            f"cannot fetch {source.id} ({source.config or 'default'}): {error}",
            hint="check the id, the network, and HF_TOKEN for gated datasets",
        ) from error
    return splits


def _rows_of(name: str, splits: Mapping[str, Any], task: str) -> tuple[Any, Any]:
    """A hub split, and which of its rows are kept."""
    if name not in splits:
        raise MissingSplit(f"the hub has no split {name!r} for {task}", hint=f"it has {sorted(splits)}")
    return splits[name], sample(len(splits[name]), MAX_ROWS, "pull", task, name)


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    text = b"".join(encode_row(row) + b"\n" for row in rows)
    write_atomically(path, gzip.compress(text, mtime=0))


def _column(feature: Any) -> Any:
    """A feature in the words of meta.json: a type name, the names of a class label, or a nest of these."""
    if hasattr(feature, "names"):
        return {"ClassLabel": feature.names}
    if isinstance(feature, Mapping):
        return {name: _column(part) for name, part in feature.items()}
    if hasattr(feature, "feature"):
        return [_column(feature.feature)]
    return str(getattr(feature, "dtype", type(feature).__name__))
