"""Datasets: what is accepted is whole, counted and stays; what is not says its line."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import Settings
from tests.api.conftest import make_key

ROWS = b'{"text": "a", "label": "bad"}\n{"text": "b", "label": "good"}\n'


def _parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "b"], "label": ["bad", "good"]}), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "format_"),
    [(ROWS, "jsonl"), (b"text,label\na,bad\nb,good\n", "csv"), (_parquet(), "parquet")],
)
def test_rows_of_every_format_are_counted_and_kept_under_their_digest(
    client: TestClient, settings: Settings, content: bytes, format_: str
) -> None:
    """The store holds exactly the bytes that were sent."""
    made = client.post(f"/datasets?name=d&split=train&format={format_}", content=content)

    assert made.status_code == 201, made.text
    split = made.json()["splits"]["train"]
    digest = split["sha256"]
    assert (split["num_rows"], split["size_bytes"]) == (2, len(content))
    assert (settings.store_folder / digest[:2] / digest[2:]).read_bytes() == content
    assert list(settings.uploads_folder.iterdir()) == []


def test_another_split_is_a_new_version_that_keeps_the_first(client: TestClient) -> None:
    """Versions never change; the same bytes again are no new one."""
    client.post("/datasets?name=d&split=train&format=jsonl", content=ROWS)
    second = client.post("/datasets?name=d&split=validation&format=jsonl", content=ROWS)
    again = client.post("/datasets?name=d&split=validation&format=jsonl", content=ROWS)

    assert (second.status_code, second.json()["version"]) == (201, 2)
    assert set(second.json()["splits"]) == {"train", "validation"}
    assert (again.status_code, again.json()["id"]) == (200, second.json()["id"])
    assert set(client.get("/datasets/d@1").json()["splits"]) == {"train"}
    versions = client.get("/datasets/d/versions").json()["data"]
    assert [each["version"] for each in versions] == [2, 1]


def test_splits_of_one_dataset_have_one_format(client: TestClient) -> None:
    """A task reads them alike."""
    client.post("/datasets?name=d&split=train&format=jsonl", content=ROWS)

    answer = client.post("/datasets?name=d&split=test&format=csv", content=b"text,label\na,b\n")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


FAULTS = [
    (b"", "jsonl", 0, "empty_dataset"),
    (b"\n\n  \n", "jsonl", 0, "empty_dataset"),
    (b'{"a": 1}\n{"a": \n', "jsonl", 2, "json"),
    (b'{"a": 1}\n[1]\n', "jsonl", 2, "not_an_object"),
    (b'{"a": 1}\n\n{"a": NaN}\n', "jsonl", 3, "json"),
    (b'{"a": "\xff"}\n', "jsonl", 1, "not_utf8"),
    (b'{"a": "\\ud800"}\n', "jsonl", 1, "surrogate"),
    (b"a,b\n1,2\n1\n", "csv", 3, "csv_width"),
    (b"a,a\n1,2\n", "csv", 1, "csv_header"),
    (b'a,b\n"1,2\n', "csv", 2, "csv"),
    (_parquet()[:-20], "parquet", 0, "parquet"),
]


def test_a_broken_row_is_named_by_its_line_and_nothing_is_kept(
    client: TestClient, settings: Settings
) -> None:
    """A dataset is accepted whole or not at all."""
    wrong = []
    for content, format_, line, code in FAULTS:
        answer = client.post(f"/datasets?name=d&split=train&format={format_}", content=content)
        fault = answer.json()["errors"][0]
        if (answer.status_code, fault["line"], fault["code"]) != (422, line, code):
            wrong.append((content, answer.text))

    assert wrong == []
    assert client.get("/datasets").json()["data"] == []
    assert [path for path in settings.home.rglob("*") if path.is_file()] == []


FOREIGN = [
    b"\x1f\x8b\x08\x00",
    b"PK\x03\x04",
    b"\x80\x04\x95",
    b"PAR1",
    b"\xff\xfe{\x00",
    b"BZh9",
    b"\x28\xb5\x2f\xfd",
]


def test_archives_and_pickles_are_refused_by_their_first_bytes(client: TestClient) -> None:
    """Whatever the name or the type says."""
    for head in FOREIGN:
        answer = client.post("/datasets?name=d&split=train&format=jsonl", content=head + ROWS)
        assert (answer.status_code, answer.json()["code"]) == (422, "dataset_invalid"), head


@pytest.fixture
def small(settings: Settings, sessions) -> Iterator[TestClient]:  # type: ignore[no-untyped-def]
    """A platform that takes uploads of at most 4 KiB."""
    limited = settings.model_copy(update={"max_upload_bytes": 4096})
    key = make_key(sessions, ["data:write", "jobs:read"])
    with TestClient(create_app(limited), headers={"Authorization": f"Bearer {key}"}) as client:
        yield client


@pytest.mark.parametrize("size", [4096, 4097, 100_000])
def test_an_upload_beyond_the_cap_is_refused_by_its_header_and_while_it_comes(
    small: TestClient, settings: Settings, size: int
) -> None:
    """The limit is a limit whether the length is declared or not."""
    content = b'{"a": 1}' + b" " * (size - 9) + b"\n"
    declared = small.post("/datasets?name=d&split=train&format=jsonl", content=content)
    chunks = (content[i : i + 1000] for i in range(0, size, 1000))
    streamed = small.post("/datasets?name=d&split=test&format=jsonl", content=chunks)

    expected = 201 if size <= 4096 else 413
    assert (declared.status_code, streamed.status_code) == (expected, expected)
    assert list(settings.uploads_folder.iterdir()) == []


def test_a_full_disk_is_said_and_leaves_nothing_behind(
    client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """507, and the half file is gone."""

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("flan.store.shutil.copyfile", full)
    answer = client.post("/datasets?name=d&split=train&format=jsonl", content=ROWS)

    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
    assert str(settings.home) not in answer.text
    assert [path for path in Path(settings.home).rglob("*") if path.is_file()] == []


NAMES = ["..", "../x", "a/b", "a%2fb", "A", "-a", ".a", "a b", "a\\b", "a" * 65, "con\n", "ä", ""]


def test_a_name_is_never_a_path(client: TestClient) -> None:
    """Names are short words; whatever else is refused before anything is read."""
    for name in NAMES:
        for parameters in ({"name": name, "split": "train"}, {"name": "d", "split": name}):
            answer = client.post("/datasets", params={**parameters, "format": "jsonl"}, content=ROWS)
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter"), name


def test_the_format_is_said_by_parameter_or_type(client: TestClient) -> None:
    """And asked for when neither says it."""
    csv = client.post("/datasets?name=d&split=train", content=b"a\n1\n", headers={"Content-Type": "text/csv"})
    unknown = client.post("/datasets?name=d&split=test", content=b"a\n1\n")

    assert csv.status_code == 201
    assert (unknown.status_code, unknown.json()["code"]) == (415, "unsupported_media_type")
    assert "text/csv" in unknown.json()["hint"]
    assert "text/csv" in unknown.json()["values"]["accepted"]


def test_repeating_an_upload_with_its_key_is_answered_from_memory(client: TestClient) -> None:
    """Also for bytes that are no JSON; other bytes under the same key are refused."""
    headers = {"Idempotency-Key": "k"}
    first = client.post("/datasets?name=d&split=train&format=jsonl", content=ROWS, headers=headers)
    second = client.post("/datasets?name=d&split=train&format=jsonl", content=ROWS, headers=headers)
    other = client.post("/datasets?name=d&split=train&format=jsonl", content=ROWS[:30], headers=headers)

    assert second.json() == first.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert other.status_code == 422
