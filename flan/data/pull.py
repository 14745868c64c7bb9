"""Datasets of the Hugging Face hub → a folder in hub layout. The only code of the platform that fetches rows.

No code of a dataset's author is run: datasets that need a script cannot be fetched. A split of more than MAX_ROWS
rows is sampled, by a seed:

- A dataset of up to STREAMED_ROWS rows is fetched whole; every row of a split is as likely as any other.
- A larger one is streamed. Of its splits of up to STREAMED_ROWS rows the sample is the same as if it had been fetched
  whole. A larger split is taken in parts (the row groups of a Parquet file, else whole files) in a random order, ten
  at a time, and rows are drawn from a buffer of BUFFER_ROWS until there are enough: not a uniform sample. It has many
  rows of the parts that were reached and none of the others, so rows that stand side by side come together. The same
  commit gives the same rows with the same version of `datasets`.

How many rows there are is what the hub says, else what the task says; where neither does, the dataset is fetched
whole. meta.json records under `samples` which way each split went.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from flan.data.mixture import sample
from flan.data.rows import MissingSplit, split_file
from flan.data.snapshot import (
    clear,
    is_recorded,
    is_whole,
    publish,
    read_meta,
    unfinished,
    write_meta,
    write_split,
)
from flan.errors import Conflict, FlanError
from flan.tasks.task import HubSource, Task

MAX_ROWS = 100_000
"""Of a larger split a seeded sample is written: a mixture uses 30,000 rows of a task at most."""
STREAMED_ROWS = 1_000_000
"""A dataset of more rows, over all its splits, is streamed."""
BUFFER_ROWS = 20_000
SEED = 0
SampleKind = Literal["whole", "uniform", "stream"]
OnRows = Callable[[str, int, int | None], None]
"""Is told the hub's split, how many rows of it are written, and of how many."""
_EVERY = 1_000  # rows between two such calls
_MAX_SAID_CHARS = 400


class NotOnHub(FlanError):
    """A task's rows do not come from the hub, or the hub does not give them."""

    code, blame = "not_on_hub", "user"


class Pulled(NamedTuple):
    """The dataset of a task on disk."""

    folder: Path
    rows: dict[str, int]
    """Split of the hub → rows."""
    status: Literal["pulled", "there", "unchecked"]
    """there: it was whole already. unchecked: it was there without checksums, and is left as it is."""


class _Split(NamedTuple):
    """A split of the hub, ready to be read."""

    rows: Iterable[Mapping[str, Any]]
    features: Any
    kind: SampleKind
    num_kept: int | None
    num_rows: int | None
    """On the hub."""


def _ignore(_split: str, _done: int, _total: int | None) -> None:
    """Nobody wants to know."""


def pull(task: Task, data: Path, on_rows: OnRows = _ignore) -> Pulled:
    """Write the hub's splits that `task` takes rows from, and meta.json, below `data`/hub.

    What is there and whole is left. The folder appears, or is replaced, when all is there; splits that an earlier
    call finished are not fetched again. Raises NotOnHub, MissingSplit, Conflict, UnwritableRow, DiskFull.
    """
    source = task.source
    if not isinstance(source, HubSource):
        raise NotOnHub(f"the rows of {task.name} do not come from the hub: they are {source.kind}")
    folder = data / "hub" / (source.folder or task.name)
    names = {source.part(split).split for split in source.splits}
    meta = read_meta(folder)
    if folder.exists() and not meta.get("files"):
        return _not_ours(task, folder, names, meta)
    if meta and (meta.get("hub_id"), meta.get("hub_config")) != (source.id, source.config):
        said = f"{folder} holds {meta.get('hub_id')} ({meta.get('hub_config') or 'default'}), not {source.id}"
        raise Conflict(said, hint="give the task a source.folder of its own, or pull to another folder")
    is_right = source.revision is None or source.revision in (meta.get("hub_revision"), meta.get("revision"))
    if meta and is_right and names <= set(meta["rows"]) and is_whole(folder, meta):
        return Pulled(folder, meta["rows"], "there")
    with unfinished(folder) as place:
        rows = _gather(task, source, sorted(names | set(meta.get("rows", ()))), place, on_rows)
        publish(place, folder)
    return Pulled(folder, rows, "pulled")


def _not_ours(task: Task, folder: Path, names: set[str], meta: Mapping[str, Any]) -> Pulled:
    missing = sorted(name for name in names if split_file(folder, name, meta) is None)
    if missing:
        said = f"{folder} has no split {missing[0]!r} for {task.name}, and was not written by a pull"
        raise Conflict(said, hint="move it away, or pull to another folder")
    known = {name: rows for name, rows in meta.get("rows", {}).items() if isinstance(rows, int)}
    return Pulled(folder, known, "unchecked")


def _gather(task: Task, source: HubSource, names: list[str], place: Path, on_rows: OnRows) -> dict[str, int]:
    """Bring the splits `names` into `place`, each once; split → rows."""
    with _telling(source):
        hub = _Hub(source)
    meta: dict[str, Any] = {
        "task": task.name,
        "cluster": task.cluster,
        "hub_id": source.id,
        "hub_config": source.config,
        "revision": source.revision,
        "hub_revision": hub.revision,
        "licence": task.licence,
        "hub_licence": hub.licence,
    }
    before = read_meta(place)
    if any(before.get(name) != value for name, value in meta.items()):
        clear(place)
        before = {}
    meta |= {name: before.get(name, {}) for name in ("columns", "rows", "hub_rows", "samples", "files")}
    for name in names:
        if is_recorded(place / f"{name}.jsonl.gz", meta["files"]):
            continue
        with _telling(source):
            split = hub.split(name, task.name)
            rows = _told(split, name, on_rows)
            meta["rows"][name], meta["files"][f"{name}.jsonl.gz"] = write_split(place, name, rows)
        meta["columns"] = {column: _column(feature) for column, feature in split.features.items()}
        meta["samples"][name], meta["hub_rows"][name] = split.kind, split.num_rows
        write_meta(place, meta)
    return {name: meta["rows"][name] for name in names}


class _Hub:
    """A dataset of the hub, at one commit."""

    def __init__(self, source: HubSource) -> None:
        import datasets

        self._source = source
        self.revision = _commit(source)
        builder = datasets.load_dataset_builder(source.id, source.config, revision=self.revision)
        self.licence: str | None = builder.info.license or None
        told = {name: info.num_examples for name, info in (builder.info.splits or {}).items()}
        self._counts: Mapping[str, int] = told if all(told.values()) and told else source.rows
        self._is_streamed = sum(self._counts.values()) > STREAMED_ROWS
        self._splits: Mapping[str, Any] | None = None

    def split(self, name: str, task: str) -> _Split:
        """The rows of a split that are kept. Raises MissingSplit."""
        import datasets

        if self._splits is None:
            self._splits = datasets.load_dataset(
                self._source.id, self._source.config, revision=self.revision, streaming=self._is_streamed
            )
        if name not in self._splits:
            hint = f"it has {', '.join(sorted(self._splits))}"
            raise MissingSplit(f"the hub has no split {name!r} for {task}", hint=hint)
        split, key = self._splits[name], ("pull", self._source.folder or task, name)
        if not self._is_streamed:
            chosen = sample(len(split), MAX_ROWS, *key)
            kind: SampleKind = "whole" if len(chosen) == len(split) else "uniform"
            rows = (split[int(index)] for index in chosen)
            return _Split(rows, split.features, kind, len(chosen), len(split))
        count = self._counts.get(name)
        # A stream may only learn from its first rows what its columns are.
        features = split.features or split._resolve_features().features
        if count is not None and count <= MAX_ROWS:
            return _Split(split, features, "whole", count, count)
        if count is not None and count <= STREAMED_ROWS:
            chosen = sample(count, MAX_ROWS, *key)
            return _Split(_at(split, map(int, chosen)), features, "uniform", len(chosen), count)
        mixed = split.reshard().shuffle(seed=SEED, buffer_size=BUFFER_ROWS)
        return _Split(islice(mixed, MAX_ROWS), features, "stream", MAX_ROWS, count)


def _commit(source: HubSource) -> str | None:
    """The commit that `source` means now: what is recorded is what is fetched. None = a folder on this machine."""
    if Path(source.id).is_dir():
        return None
    from huggingface_hub import HfApi

    return HfApi().dataset_info(source.id, revision=source.revision, timeout=30).sha or source.revision


@contextlib.contextmanager
def _telling(source: HubSource) -> Iterator[None]:
    """Within it, what goes wrong with the hub is NotOnHub."""
    import datasets

    try:
        yield
    except (OSError, ValueError, RuntimeError, TypeError, datasets.exceptions.DatasetsError) as error:
        said = " ".join(str(error).split())[:_MAX_SAID_CHARS]
        raise NotOnHub(
            f"cannot fetch {source.id} ({source.config or 'default'}): {said or type(error).__name__}",
            hint="check the id, the network, and HF_TOKEN for gated datasets; those that need a script are not run",
        ) from error


def _at(rows: Iterable[Mapping[str, Any]], places: Iterator[int]) -> Iterator[Mapping[str, Any]]:
    """The rows at `places`, which rise."""
    wanted = next(places, None)
    for index, row in enumerate(rows):
        if wanted is None:
            return
        if index == wanted:
            yield row
            wanted = next(places, None)


def _told(split: _Split, name: str, on_rows: OnRows) -> Iterator[Mapping[str, Any]]:
    done = 0
    for done, row in enumerate(split.rows, start=1):
        yield row
        if done % _EVERY == 0:
            on_rows(name, done, split.num_kept)
    on_rows(name, done, split.num_kept)


def _column(feature: Any) -> Any:
    """A feature in the words of meta.json: a type name, the names of a class label, or a nest of these."""
    if hasattr(feature, "names"):
        return {"ClassLabel": feature.names}
    if isinstance(feature, Mapping):
        return {name: _column(part) for name, part in feature.items()}
    if hasattr(feature, "feature"):
        return [_column(feature.feature)]
    return str(getattr(feature, "dtype", type(feature).__name__))
