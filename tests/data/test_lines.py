"""Lines are the same from memory and from disk, however the text comes; and on disk they take no memory."""

import json
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.data.lines import Line, LinesInMemory, LinesOnDisk, write_lines

TEXTS = st.lists(st.sampled_from([b"{}", b'{"a": 1}', b"x", b" ", b"\t\r", b"", b"\n", b"\r\n"]), max_size=30)


def by_hand(text: bytes) -> list[Line]:
    return [Line(line, number) for number, line in enumerate(text.split(b"\n")) if line.strip()]


@given(TEXTS, st.integers(1, 7))
def test_lines_are_those_of_the_text(parts: list[bytes], size: int) -> None:
    """In memory and on disk, in chunks of any size: every line that is not blank, with its number."""
    text = b"".join(parts)
    chunks = (text[i : i + size] for i in range(0, len(text), size))
    with tempfile.TemporaryDirectory() as folder:
        stored = write_lines(Path(folder) / "ab" / "cd", chunks)
        here = LinesInMemory(text)

        assert [here[i] for i in range(len(here))] == by_hand(text)
        assert [stored[i] for i in range(len(stored))] == by_hand(text)


def test_lines_on_disk_go_from_process_to_process(tmp_path: Path) -> None:
    """A pickle of them is a path, not the text."""
    stored = write_lines(tmp_path / "rows", [b'{"a": 1}\n' * 10_000])
    pickled = pickle.dumps(stored)

    assert len(pickled) < 1_000
    assert pickle.loads(pickled)[9_999] == Line(b'{"a": 1}', 9_999)


def test_what_is_there_already_stays(tmp_path: Path) -> None:
    """Two processes that write the same lines both end with one folder, and nothing half-written beside it."""
    inside = []

    def chunks() -> Iterator[bytes]:
        yield b"{}\n"
        inside.append(write_lines(tmp_path / "rows", [b"{}\n{}\n"]))
        yield b"{}\n"

    late = write_lines(tmp_path / "rows", chunks())

    assert len(late) == len(inside[0]) == len(LinesOnDisk(tmp_path / "rows")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_a_text_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    """What could not be read to its end is not there."""

    def chunks() -> Iterator[bytes]:
        yield b"{}\n"
        raise EOFError

    with pytest.raises(EOFError):
        write_lines(tmp_path / "rows", chunks())
    assert [*tmp_path.iterdir()] == []


MEASURE = """
import json, resource, sys
from pathlib import Path
from flan.data.lines import write_lines

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

row = b'{"text": "' + b"x" * 1_000 + b'"}\\n'
before = peak()
lines = write_lines(Path(sys.argv[1]) / "rows", (row * 1_000 for _ in range(200)))
found = sum(len(lines[i].text) for i in range(0, len(lines), 20))
print(json.dumps([found, peak() - before]))
"""


def test_two_hundred_megabytes_of_rows_take_none_of_the_process(tmp_path: Path) -> None:
    """Writing and reading them needs memory for a few chunks."""
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    found, grown_kib = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    assert found == 200_000 // 20 * 1_012
    assert grown_kib < 40_000
