"""Uploaded datasets: each upload of a split is a new version that keeps the other splits."""

from typing import Any

from sqlalchemy.orm import Session

from api.catalog import versions
from api.catalog.tables import DatasetRow
from flan.data.formats import Format
from flan.data.uploads import Upload
from flan.errors import Conflict
from flan.spec import parse
from flan.tasks.task import DatasetSource
from workers.ledger.ids import new_id


def add_split(
    session: Session,
    *,
    name: str,
    split: str,
    format_: Format,
    sha256: str,
    size_bytes: int,
    upload: Upload,
    key_id: str,
) -> tuple[DatasetRow, bool]:
    """The dataset with this split, and whether that is a new version: the same bytes again are not.

    Raises Conflict when the other splits have another format.
    """
    version = versions.next_version(session, DatasetRow, name)
    before = versions.newest(session, DatasetRow, name)
    splits = dict(before.splits) if before else {}
    if before is not None and before.format != format_ and set(splits) - {split}:
        raise Conflict(
            f"the splits of {name!r} are {before.format}, this one is {format_}",
            hint=f"convert it to {before.format}, or choose another name",
        )
    fresh = {
        "sha256": sha256,
        "num_rows": upload.num_rows,
        "size_bytes": size_bytes,
        "columns": _columns(upload),
    }
    if before is not None and before.format == format_ and splits.get(split) == fresh:
        return before, False
    row = DatasetRow(
        id=new_id("ds"),
        name=name,
        version=version,
        format=format_,
        splits=splits | {split: fresh},
        key_id=key_id,
    )
    session.add(row)
    session.flush()
    return row, True


def find(session: Session, reference: str) -> DatasetRow:
    """The dataset called `name`, `name@3` or by its id. Raises NotFound."""
    return versions.find(session, DatasetRow, reference, "dataset")


def source_of(row: DatasetRow) -> DatasetSource:
    """The dataset as a task's source, with the digests of its splits."""
    splits = {split: entry["sha256"] for split, entry in row.splits.items()}
    return parse(DatasetSource, {"name": f"{row.name}@{row.version}", "format": row.format, "splits": splits})


def _columns(upload: Upload) -> dict[str, Any]:
    return {
        name: {"types": list(column.types), "num_missing": column.num_missing}
        for name, column in upload.columns.items()
    }
