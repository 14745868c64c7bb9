"""Samples: a folder of compressed lines that is read in pages."""

import gzip
from pathlib import Path

import pytest

from flan.errors import StoreCorrupt
from flan.evaluate.metrics.reply import Reply
from flan.evaluate.records import reply_of
from flan.evaluate.samples import CHUNK, INDEX, LINES, Sample, SamplesWriter, read_samples


def sample(task: str, number: int, split: str = "test") -> Sample:
    return {"task": task, "split": split, "row": number, "reply": {"text": "é", "references": ["a", "b"]}}


def written(folder: Path, samples: list[Sample]) -> Path:
    with SamplesWriter(folder / "samples") as writer:
        for each in samples:
            writer.write([each])
    return folder / "samples"


def rows_of(folder: Path, **wanted: object) -> list[tuple[int, int]]:
    return [(each.number, each.sample["row"]) for each in read_samples(folder, **wanted)]  # type: ignore[arg-type]


def test_pages_are_parts_of_the_whole(tmp_path: Path) -> None:
    """Whole, behind a number, of one task or split: always the same number for the same question."""
    many = [sample("a", i) for i in range(CHUNK + 10)]
    many += [sample("b", i, split) for split in ("test", "dev") for i in range(3)]
    folder = written(tmp_path, many)
    everything = rows_of(folder)

    assert [number for number, _ in everything] == list(range(len(many)))
    for after in (0, CHUNK - 2, CHUNK - 1, CHUNK, len(many) - 2, len(many)):
        assert rows_of(folder, after=after) == everything[after + 1 :]
    assert rows_of(folder, task="b") == everything[CHUNK + 10 :]
    assert rows_of(folder, task="b", split="dev", after=CHUNK + 13) == everything[CHUNK + 14 :]
    assert rows_of(folder, task="c") == []


def test_the_same_samples_give_the_same_bytes_that_zcat_reads(tmp_path: Path) -> None:
    """One file of lines, whatever it was written in."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        written(folder, [sample("a", i) for i in range(CHUNK + 1)])

    one, two = ((folder / "samples" / LINES).read_bytes() for folder in folders)
    assert one == two
    assert len(gzip.decompress(one).splitlines()) == CHUNK + 1


def test_what_was_not_written_to_the_end_is_not_there(tmp_path: Path) -> None:
    """An error leaves nothing that could be taken for samples."""
    with pytest.raises(ZeroDivisionError), SamplesWriter(tmp_path / "samples") as writer:
        writer.write([sample("a", 0)])
        raise ZeroDivisionError

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [LINES, INDEX])
def test_a_broken_file_is_an_error(tmp_path: Path, name: str) -> None:
    """Cut off in the middle: no short page that looks like the end."""
    folder = written(tmp_path, [sample("a", i) for i in range(9)])
    (folder / name).write_bytes((folder / name).read_bytes()[:-20])

    with pytest.raises(StoreCorrupt):
        rows_of(folder)


def test_a_reply_is_read_back() -> None:
    """Lists of JSON are tuples again, what was left out is as it was."""
    assert reply_of(sample("a", 0)) == Reply("é", ("a", "b"))
