"""Datasets fetched through `datasets` land in the layout that rows are read from."""

from pathlib import Path

import datasets
import pytest

from flan.data.pull import NotOnHub, pull
from flan.data.rows import MissingSplit, Places, open_rows
from tests.kit.tasks import make_task


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


def hub_task(folder: Path, **splits: str):
    return make_task(source={"kind": "hub", "id": str(folder), "splits": splits})


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
