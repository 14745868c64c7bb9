"""Datasets of the Hugging Face hub → a folder in hub layout. The only code of the platform that fetches rows."""

import gzip
import json
import re
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
_CARVED = re.compile(r"train_from_(?P<origin>.+)")
_CARVED_SHARE = 2 / 3


class NotOnHub(FlanError):
    """A task's rows do not come from the hub, or the hub does not give them."""

    code, blame = "not_on_hub", "user"


def pull(task: Task, data: Path) -> Path:
    """Write the split files of `task` and meta.json below `data`/hub; the folder that holds them.

    A file `train_from_validation` holds two thirds of the hub's validation rows, chosen by a fixed seed, and
    `validation` then holds the others. Raises NotOnHub, MissingSplit.
    """
    source = task.source
    if not isinstance(source, HubSource):
        raise NotOnHub(f"the rows of {task.name} do not come from the hub: they are {source.kind}")
    splits = _fetch(source)
    folder = data / "hub" / (source.folder or task.name)
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(set(source.splits.values()))
    rows = {name: _rows_of(name, files, splits, task.name) for name in files}
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


def _rows_of(name: str, files: list[str], splits: Mapping[str, Any], task: str) -> tuple[Any, Any]:
    """The hub split behind a split file, and which of its rows the file holds."""
    carved = _CARVED.fullmatch(name)
    origin = carved["origin"] if carved and name not in splits else name
    if origin not in splits:
        raise MissingSplit(f"the hub has no split {origin!r} for {task}", hint=f"it has {sorted(splits)}")
    size = len(splits[origin])
    chosen = sample(size, size, task, origin)
    if origin != name or f"train_from_{name}" in files:
        taken = set(sample(size, round(size * _CARVED_SHARE), "carve", task, origin).tolist())
        is_train = origin != name
        chosen = chosen[[(int(index) in taken) == is_train for index in chosen]]
    return splits[origin], chosen[sample(len(chosen), MAX_ROWS, "pull", task, name)]


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
