"""Figures that others published."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.auth import needs
from api.pages import PageHere, cut, listing
from api.schemas import List, PublishedShape
from flan.evaluate.published import Cited, Confidence, cited

router = APIRouter(tags=["Published results"])


@router.get(
    "/published-results",
    operation_id="list_published_results",
    response_model=List[PublishedShape],
    dependencies=[needs("jobs:read")],
)
def list_published_results(
    page: PageHere,
    system: Annotated[str | None, Query(max_length=64, description="Only figures of this system.")] = None,
    task: Annotated[str | None, Query(max_length=64, description="Only figures of this task.")] = None,
    cluster: Annotated[str | None, Query(max_length=64, description="Only means of this cluster.")] = None,
    confidence: Annotated[
        Confidence | None,
        Query(description="Only figures that are trusted so far; published: read in a source."),
    ] = None,
) -> Response:
    """What publications report, in percent, with source, setting and how far each figure is trusted."""
    found = [
        each
        for each in cited()
        if system in (None, each.figure.system)
        and task in (None, each.figure.task)
        and cluster in (None, each.figure.cluster)
        and confidence in (None, each.figure.confidence)
    ]
    return listing(cut(found, page, lambda each: each.id), page, _shown)


def _shown(each: Cited) -> PublishedShape:
    return PublishedShape(
        id=each.id,
        source=each.source,
        table=each.table.table,
        setting=each.table.setting,
        figure=each.figure,
    )
