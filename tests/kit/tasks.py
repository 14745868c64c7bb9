"""Small tasks with rows of their own, a library that knows them, and hub-layout folders on disk."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flan.card import ModelCard
from flan.data.formats import encode_row
from flan.data.rows import Rows
from flan.errors import NotFound
from flan.spec import parse
from flan.tasks.task import Collection, DatasetSource, Task


def make_task(name: str = "mood", *, cluster: str = "sentiment", **changes: Any) -> Task:
    """A two-way classification over the columns `text` and `label`, from a hub folder `name`."""
    document = {
        "name": name,
        "cluster": cluster,
        "origins": [],
        "source": {
            "kind": "hub",
            "id": f"kit/{name}",
            "splits": {"train": "train", "validation": "validation"},
        },
        "fields": {"text": "text"},
        "answer": {"column": "label", "choices": ["bad", "good"], "labels": {"neg": "bad", "pos": "good"}},
        "metrics": ["accuracy"],
        "templates": [
            {"input": "{text}\nGood or bad?\n{options_}"},
            {"input": "Is this good?\n{text}"},
            {"input": "Write a {answer} review.", "target": "{text}", "role": "inverted"},
        ],
    }
    return parse(Task, document | changes)


def make_rows(count: int, *, words: int = 5, word: str = "fine") -> list[dict[str, Any]]:
    """Rows of `make_task`, each with its number in the text."""
    return [{"text": f"{i} " + f"{word} " * words, "label": ("neg", "pos")[i % 2]} for i in range(count)]


def rows_in_memory(rows: Iterable[Mapping[str, Any]], name: str = "kit") -> Rows:
    """Rows that come from no file."""
    return Rows(b"\n".join(encode_row(row) for row in rows), name, "0" * 64)


def write_hub(
    data: Path,
    folder: str,
    splits: Mapping[str, Iterable[Mapping[str, Any]]],
    columns: Mapping[str, Any] | None = None,
) -> Path:
    """A dataset in hub layout below `data`; its folder."""
    place = data / "hub" / folder
    place.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        text = b"".join(encode_row(row) + b"\n" for row in rows)
        (place / f"{name}.jsonl.gz").write_bytes(gzip.compress(text, mtime=0))
    (place / "meta.json").write_text(json.dumps({"columns": columns or {}}))
    return place


class KitLibrary:
    """A collection and models given by a test, and uploaded tasks by reference."""

    def __init__(
        self,
        tasks: Iterable[Task],
        uploaded: Mapping[str, Task] | None = None,
        models: Mapping[str, tuple[str | None, ModelCard | None]] | None = None,
        datasets: Mapping[str, DatasetSource] | None = None,
    ) -> None:
        self._tasks = {task.name: task for task in tasks}
        self._uploaded, self._datasets = uploaded or {}, datasets or {}
        self._models = {"preset:nano": (None, None), "preset:nano-t5": (None, None), **(models or {})}

    def tasks(self, collection: Collection) -> Mapping[str, Task]:
        """The same tasks, whatever the collection."""
        return self._tasks

    def task(self, reference: str) -> Task:
        """An uploaded task."""
        if reference not in self._uploaded:
            raise NotFound(f"no template set {reference!r}")
        return self._uploaded[reference]

    def names(self) -> Iterable[str]:
        """What uploaded tasks are called."""
        return sorted(self._uploaded)

    def dataset(self, reference: str) -> DatasetSource:
        """An uploaded dataset given by the test."""
        if reference not in self._datasets:
            raise NotFound(f"no dataset {reference!r}")
        return self._datasets[reference]

    def model(self, reference: str) -> tuple[str | None, ModelCard | None]:
        """A model given by the test."""
        if reference not in self._models:
            raise NotFound(f"no model {reference!r}")
        return self._models[reference]
