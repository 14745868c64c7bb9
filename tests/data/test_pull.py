"""Datasets fetched through `datasets` land in the layout that rows are read from."""

import fcntl
import gzip
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub
import pytest

from flan.data import pull as module
from flan.data.holdings import holding
from flan.data.pull import NotOnHub, pull
from flan.data.rows import MissingSplit, Places, UnreadableRow, open_rows
from flan.data.snapshot import UnwritableRow
from flan.errors import Conflict
from flan.store import file_sha256
from flan.tasks.task import Task
from tests.kit.tasks import make_rows, make_task, write_hub


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset as the hub has it: a folder of Parquet files, one a split."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "source"
    folder.mkdir()
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["neg", "pos"]),
            "spans": datasets.List({"start": datasets.Value("int32")}),
        }
    )
    for split, count in (("train", 8), ("validation", 30)):
        columns = {
            "text": [f"{split} {i}" for i in range(count)],
            "label": [i % 2 for i in range(count)],
            "spans": [[{"start": i}] for i in range(count)],
        }
        datasets.Dataset.from_dict(columns, features=features).to_parquet(folder / f"{split}.parquet")
    return folder


def hub_task(folder: Path, **splits: str) -> Task:
    return make_task(source={"kind": "hub", "id": str(folder), "splits": splits})


def numbered(folder: Path, counts: dict[str, list[int]]) -> Path:
    """A dataset of several files a split, whose rows say which file they are of."""
    folder.mkdir()
    for split, sizes in counts.items():
        for file, size in enumerate(sizes):
            rows = {"text": [f"{split} {file} {i}" for i in range(size)], "label": ["neg"] * size}
            name = f"{split}-{file:05}-of-{len(sizes):05}.parquet"
            datasets.Dataset.from_dict(rows).to_parquet(folder / name, batch_size=50)
    return folder


def sized_task(folder: Path, counts: dict[str, list[int]]) -> Task:
    """A task that knows how many rows its dataset was published with."""
    sizes = {split: sum(each) for split, each in counts.items()}
    splits = {split: split for split in counts}
    return make_task(source={"kind": "hub", "id": str(folder), "splits": splits, "rows": sizes})


def texts(data: Path, split: str = "train") -> list[str]:
    lines = gzip.decompress((data / "hub" / "mood" / f"{split}.jsonl.gz").read_bytes()).splitlines()
    return [json.loads(line)["text"] for line in lines]


def meta_of(data: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((data / "hub" / "mood" / "meta.json").read_text())
    return found


def test_pulled_rows_are_those_of_the_hub(tmp_path: Path, hub_folder: Path) -> None:
    """Every row arrives once, labels come out as names, nested columns survive."""
    task = hub_task(hub_folder, train="train")
    pull(task, tmp_path / "data")

    rows = [*open_rows(task, "train", Places(tmp_path / "data", None))]

    assert rows == [
        {"text": f"train {i}", "label": ("neg", "pos")[i % 2], "spans": [{"start": i}]} for i in range(8)
    ]


def test_pulling_twice_gives_the_same_digest(tmp_path: Path, hub_folder: Path) -> None:
    """A job pinned on one machine runs on another that pulled the same revision."""
    task = hub_task(hub_folder, train="train")
    digests = set()
    for name in ("one", "two"):
        pull(task, tmp_path / name)
        digests.add(open_rows(task, "train", Places(tmp_path / name, None)).digest)

    assert len(digests) == 1


def test_parts_of_a_split_come_from_one_file(tmp_path: Path, hub_folder: Path) -> None:
    """`validation[:-10]` and `validation[-10:]` share the hub's validation rows out between them."""
    task = hub_task(hub_folder, train="validation[:-10]", validation="validation[-10:]")
    pull(task, tmp_path / "data")

    places = Places(tmp_path / "data", None)
    train, validation = ({row["text"] for row in open_rows(task, s, places)} for s in ("train", "validation"))

    assert (len(train), len(validation)) == (20, 10)
    assert train | validation == {f"validation {i}" for i in range(30)}
    assert validation != {f"validation {i}" for i in range(20, 30)}, "the hub's order may be by label"


def test_what_cannot_be_pulled_is_said(tmp_path: Path, hub_folder: Path) -> None:
    """A split the hub lacks, a dataset it lacks, and a task that is not of the hub are told apart."""
    with pytest.raises(MissingSplit, match="no split 'test'"):
        pull(hub_task(hub_folder, test="test"), tmp_path)
    with pytest.raises(NotOnHub, match="cannot fetch"):
        pull(hub_task(tmp_path / "nowhere", train="train"), tmp_path)
    with pytest.raises(NotOnHub, match="do not come from the hub"):
        pull(make_task(source={"kind": "dataset", "name": "mine"}), tmp_path)


def test_every_file_is_recorded_with_its_digest_and_checked_when_it_is_read(
    tmp_path: Path, hub_folder: Path
) -> None:
    """A file that changed is no row of a job; the message says how to get it back."""
    task = hub_task(hub_folder, train="train", validation="validation")
    folder = pull(task, tmp_path).folder
    files = meta_of(tmp_path)["files"]
    (folder / "train.jsonl.gz").write_bytes((folder / "validation.jsonl.gz").read_bytes())

    assert set(files) == {"train.jsonl.gz", "validation.jsonl.gz"}
    path = folder / "validation.jsonl.gz"
    assert files[path.name] == {"sha256": file_sha256(path), "size_bytes": path.stat().st_size}
    assert len(open_rows(task, "validation", Places(tmp_path, None))) == 30
    with pytest.raises(UnreadableRow, match="not the file that was pulled") as caught:
        open_rows(task, "train", Places(tmp_path, None))
    assert caught.value.hint == f"fetch it again: flan data pull mood --to {tmp_path}"


def test_what_is_there_and_whole_is_passed_over(
    tmp_path: Path, hub_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is not even asked; what is damaged is fetched again."""
    task = hub_task(hub_folder, train="train")
    first = pull(task, tmp_path)
    with monkeypatch.context() as offline:
        offline.setattr(datasets, "load_dataset_builder", None)
        again = pull(task, tmp_path)
    (first.folder / "train.jsonl.gz").write_bytes(b"half")
    mended = pull(task, tmp_path)

    assert (first.status, again.status, mended.status) == ("pulled", "there", "pulled")
    assert first.rows == again.rows == mended.rows == {"train": 8}
    assert [path.name for path in (tmp_path / "hub").iterdir()] == ["mood"]


def test_a_folder_appears_when_all_of_it_is_there_and_no_split_is_fetched_twice(
    tmp_path: Path, hub_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that failed at the second split is gone on with by the next one."""
    task = hub_task(hub_folder, train="train", validation="validation")
    written: list[str] = []
    write = module.write_split

    def failing(place: Path, split: str, rows: Any) -> Any:
        if split == "validation" and written == ["train"]:
            raise OSError("connection lost")
        written.append(split)
        return write(place, split, rows)

    monkeypatch.setattr(module, "write_split", failing)
    with pytest.raises(NotOnHub, match="connection lost"):
        pull(task, tmp_path)
    assert not (tmp_path / "hub" / "mood").exists()
    written.append("again")
    pull(task, tmp_path)

    assert written == ["train", "again", "validation"]
    assert meta_of(tmp_path)["rows"] == {"train": 8, "validation": 30}
    assert not (tmp_path / "hub" / "mood" / ".lock").exists()


def test_a_split_that_another_task_needs_joins_those_that_are_there(tmp_path: Path, hub_folder: Path) -> None:
    """Tasks may share a folder."""
    pull(hub_task(hub_folder, train="train"), tmp_path)
    done = pull(hub_task(hub_folder, test="validation"), tmp_path)

    assert done.status == "pulled"
    assert done.rows == {"train": 8, "validation": 30}


def test_a_folder_of_other_rows_is_left_as_it_is(tmp_path: Path, hub_folder: Path) -> None:
    """Rows that somebody put there are used where they suffice, and never replaced."""
    task = hub_task(hub_folder, train="train", validation="validation")
    folder = write_hub(tmp_path, "mood", {"train": make_rows(3)})
    with pytest.raises(Conflict, match="no split 'validation'"):
        pull(task, tmp_path)
    assert pull(hub_task(hub_folder, train="train"), tmp_path).status == "unchecked"
    assert len(open_rows(task, "train", Places(tmp_path, None))) == 3

    (folder / "meta.json").write_text(json.dumps({"hub_id": "else/where", "files": {"a": {}}}))
    with pytest.raises(Conflict, match=r"holds else/where \(default\), not "):
        pull(task, tmp_path)


def test_one_process_fetches_a_dataset_at_a_time(tmp_path: Path, hub_folder: Path) -> None:
    """Two would write into the same files."""
    place = tmp_path / "hub" / ".mood.unfinished"
    place.mkdir(parents=True)
    with (place / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="another process"):
            pull(hub_task(hub_folder, train="train"), tmp_path)


def test_a_sample_of_a_middling_split_is_the_same_fetched_whole_or_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row is as likely as any other, and the seed decides."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(module, "MAX_ROWS", 20)
    counts = {"train": [30, 30], "test": [5]}
    task = sized_task(numbered(tmp_path / "source", counts), counts)
    pull(task, tmp_path / "whole")
    # More rows in all, and not in a split: streamed, and sampled by place.
    monkeypatch.setattr(module, "STREAMED_ROWS", 62)
    pull(task, tmp_path / "streamed")

    for split, kept in (("train", 20), ("test", 5)):
        assert texts(tmp_path / "whole", split) == texts(tmp_path / "streamed", split)
        assert len(texts(tmp_path / "whole", split)) == kept
    assert len(set(texts(tmp_path / "whole"))) == 20
    for name in ("whole", "streamed"):
        assert meta_of(tmp_path / name)["samples"] == {"train": "uniform", "test": "whole"}
        assert meta_of(tmp_path / name)["hub_rows"] == {"train": 60, "test": 5}


def test_a_large_split_is_not_fetched_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of forty row groups ten are read, of every file some; no row twice; the same rows each time."""
    for name, value in (("MAX_ROWS", 100), ("STREAMED_ROWS", 500), ("BUFFER_ROWS", 50)):
        monkeypatch.setattr(module, name, value)
    counts = {"train": [500] * 4, "test": [10]}
    source = numbered(tmp_path / "source", counts)
    task = sized_task(source, counts)
    told: list[tuple[str, int, int | None]] = []
    pull(task, tmp_path / "one", lambda *row: told.append(row))
    pull(task, tmp_path / "two")

    rows = texts(tmp_path / "one")
    groups = Counter((file, int(row) // 50) for _, file, row in map(str.split, rows))
    assert len(set(rows)) == 100
    assert len(groups) == 10
    assert len({file for file, _ in groups}) == 4
    assert rows == texts(tmp_path / "two")
    assert rows != sorted(rows)
    assert meta_of(tmp_path / "one")["samples"] == {"train": "stream", "test": "whole"}
    assert meta_of(tmp_path / "one")["hub_rows"] == {"train": 2_000, "test": 10}
    assert ("train", 100, 100) in told


def test_the_commit_that_was_fetched_is_recorded(
    tmp_path: Path, hub_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name of a branch is resolved once; what is fetched is that commit."""
    asked: list[Any] = []
    builder, load = datasets.load_dataset_builder, datasets.load_dataset

    def info(_self: object, name: str, *, revision: str | None, timeout: float) -> Any:
        asked.append((name, revision))
        return SimpleNamespace(sha="c" * 40)

    def local(loader: Any) -> Any:
        def call(name: str, config: str | None, *, revision: str, **more: Any) -> Any:
            asked.append((name, revision))
            return loader(str(hub_folder), config, **more)

        return call

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    monkeypatch.setattr(datasets, "load_dataset_builder", local(builder))
    monkeypatch.setattr(datasets, "load_dataset", local(load))
    source = {"kind": "hub", "id": "kit/mood", "revision": "main", "splits": {"train": "train"}}
    pull(make_task(source=source), tmp_path)

    assert asked == [("kit/mood", "main"), ("kit/mood", "c" * 40), ("kit/mood", "c" * 40)]
    assert meta_of(tmp_path)["hub_revision"] == "c" * 40
    assert pull(make_task(source=source), tmp_path).status == "there"
    assert pull(make_task(source=source | {"revision": "v2"}), tmp_path).status == "pulled"


def test_no_code_of_a_dataset_is_run(tmp_path: Path) -> None:
    """A dataset that is a script cannot be fetched."""
    folder, trace = tmp_path / "script", tmp_path / "trace"
    folder.mkdir()
    (folder / "script.py").write_text(f"open({str(trace)!r}, 'w')")

    with pytest.raises(NotOnHub, match="cannot fetch"):
        pull(hub_task(folder, train="train"), tmp_path / "data")
    assert not trace.exists()


def test_a_row_that_json_cannot_hold_is_told_with_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number that is none, or bytes."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "source"
    folder.mkdir()
    datasets.Dataset.from_dict({"text": ["a", "b"], "x": [0.5, float("nan")]}).to_parquet(
        folder / "train.parquet"
    )

    with pytest.raises(UnwritableRow, match="row 1 of train"):
        pull(hub_task(folder, train="train"), tmp_path / "data")


def test_a_folder_tells_what_it_has_of_a_task(tmp_path: Path, hub_folder: Path) -> None:
    """Parts of a split are counted as parts; without meta.json rows are counted; nothing is None."""
    task = hub_task(hub_folder, train="validation[:-10]", validation="validation[-10:]", test="test")
    assert holding(task, tmp_path) is None
    pull(hub_task(hub_folder, train="validation"), tmp_path)
    held = holding(task, tmp_path)

    assert held is not None
    assert {split: each.rows for split, each in held.rows.items()} == {"train": 20, "validation": 10}
    assert not held.stands_in
    write_hub(tmp_path / "other", "mood", {"train_from_test": make_rows(3)})
    other = holding(make_task(), tmp_path / "other")
    assert other is not None
    assert other.rows["train"] == (3, True)
