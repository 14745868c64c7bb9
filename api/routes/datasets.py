"""Datasets: files of rows, one a split."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from api import uploads
from api.auth import CallerHere, needs
from api.catalog import datasets, versions
from api.catalog.tables import DatasetRow
from api.deps import Here, Platform
from api.idempotency import Answer, IdempotencyKey, Once, once_of
from api.openapi import takes
from api.pages import PageHere, listing, single
from api.schemas import DatasetShape, List
from flan.data.formats import Format

router = APIRouter(prefix="/datasets", tags=["Datasets"])
_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"


@router.post(
    "",
    operation_id="upload_dataset",
    status_code=201,
    response_model=DatasetShape,
    dependencies=[needs("data:write")],
    openapi_extra=takes(binary=True),
)
async def upload_dataset(
    here: Here,
    caller: CallerHere,
    request: Request,
    name: Annotated[str, Query(pattern=_NAME, description="What the dataset is called.")],
    split: Annotated[str, Query(pattern=_NAME, description="Which of its splits the rows are.")],
    format: Annotated[Format | None, Query(description="None = by Content-Type.")] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Upload one split as the request's body: JSON lines, CSV or Parquet.

    Every row is read before anything is kept; a fault is answered with its line. Another split, or another
    file for a split, is a new version that keeps the other splits.
    """
    format_ = uploads.format_of(request, format)
    stored = await uploads.receive(request, here.settings, here.store, format_)
    once = once_of(request, caller, stored.sha256, idempotency_key)

    def record() -> Answer:
        return _record(here, once, name, split, format_, stored, caller.key_id)

    return (await to_thread.run_sync(record)).response()


@router.get(
    "", operation_id="list_datasets", response_model=List[DatasetShape], dependencies=[needs("jobs:read")]
)
def list_datasets(here: Here, page: PageHere) -> Response:
    """The newest version of every dataset, newest first."""
    with here.sessions.begin() as session:
        found = versions.newest_page(session, DatasetRow, page.after, page.limit)
    return listing(found, page, DatasetShape.of)


@router.get(
    "/{name}", operation_id="get_dataset", response_model=DatasetShape, dependencies=[needs("jobs:read")]
)
def get_dataset(here: Here, request: Request, name: str) -> Response:
    """A dataset: `name` (the newest version), `name@3`, or an id."""
    with here.sessions.begin() as session:
        row = datasets.find(session, name)
    return single(request, DatasetShape.of(row))


@router.get(
    "/{name}/versions",
    operation_id="list_dataset_versions",
    response_model=List[DatasetShape],
    dependencies=[needs("jobs:read")],
)
def list_dataset_versions(here: Here, page: PageHere, name: str) -> Response:
    """Every version of a dataset, newest first."""
    with here.sessions.begin() as session:
        row = datasets.find(session, name)
        found = versions.versions_page(session, DatasetRow, row.name, page.after, page.limit)
    return listing(found, page, DatasetShape.of)


def _record(
    here: Platform, once: Once, name: str, split: str, format_: Format, stored: uploads.Stored, key_id: str
) -> Answer:
    def make() -> Answer:
        row, is_new = datasets.add_split(
            session,
            name=name,
            split=split,
            format_=format_,
            sha256=stored.sha256,
            size_bytes=stored.size_bytes,
            upload=stored.upload,
            key_id=key_id,
        )
        shown = DatasetShape.of(row).model_dump(mode="json")
        return Answer(201 if is_new else 200, shown, {"Location": f"/datasets/{row.name}@{row.version}"})

    with here.sessions.begin() as session:
        return once.answer(session, make)
