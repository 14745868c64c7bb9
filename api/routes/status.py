"""How the platform is: health, version, figures, nodes."""

from importlib.metadata import version

from fastapi import APIRouter, Response

import migrations
from api.auth import PUBLIC, needs
from api.deps import Here
from api.metrics import CONTENT_TYPE
from api.pages import PageHere, cut, listing
from api.schemas import List, NodeShape, StatusShape, VersionShape
from flan.spec import KINDS
from workers.ledger import nodes, sweeps
from workers.ledger.session import check_revision, engine_of

router = APIRouter(tags=["Platform"])


@router.get("/healthz", operation_id="get_health", response_model=StatusShape, dependencies=[PUBLIC])
def get_health() -> StatusShape:
    """Whether this process answers."""
    return StatusShape()


@router.get("/readyz", operation_id="get_readiness", response_model=StatusShape, dependencies=[PUBLIC])
def get_readiness(here: Here) -> StatusShape:
    """Whether requests can be answered: the database is there, with the tables this code needs."""
    check_revision(engine_of(here.sessions))
    return StatusShape()


@router.get("/version", operation_id="get_version", response_model=VersionShape, dependencies=[PUBLIC])
def get_version() -> VersionShape:
    """What runs here."""
    return VersionShape(
        version=version("flan-platform"), revision=migrations.head(), kinds=[*KINDS, sweeps.KIND]
    )


@router.get("/metrics", operation_id="get_metrics", dependencies=[needs("metrics:read")])
def get_metrics(here: Here) -> Response:
    """Figures in Prometheus' text format."""
    with here.sessions.begin() as session:
        text = here.metrics.text(session)
    return Response(text, media_type=CONTENT_TYPE)


@router.get(
    "/nodes", operation_id="list_nodes", response_model=List[NodeShape], dependencies=[needs("jobs:read")]
)
def list_nodes(here: Here, page: PageHere) -> Response:
    """The machines that run ranks: what they offer, and what of it is free."""
    with here.sessions.begin() as session:
        found = nodes.all_nodes(session)
    return listing(cut(found, page, lambda node: node.name), page, NodeShape.of)
