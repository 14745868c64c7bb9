"""Deployments: what is served under which name, by how many replicas, and how busy each of them is."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import httpx
from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from api.auth import needs
from api.deps import Here, Platform
from api.pages import PageHere, cut, listing
from api.schemas import DeploymentShape, List, LoadShape, ReplicaShape
from workers.ledger import models
from workers.ledger.tables import Job

router = APIRouter(prefix="/deployments", tags=["Models"])
ANSWER_S = 2.0
"""A replica that does not say within so many seconds how busy it is, is shown without."""


@router.get(
    "",
    operation_id="list_deployments",
    response_model=List[DeploymentShape],
    dependencies=[needs("jobs:read")],
)
async def list_deployments(here: Here, page: PageHere) -> Response:
    """Every name under which a model answers or is to answer, and its replicas, each asked how busy it is."""
    serving = await run_in_threadpool(_serving, here)
    replicas: defaultdict[str, list[ReplicaShape]] = defaultdict(list)
    for job, load in zip(serving, await _loads([job.url for job in serving]), strict=True):
        replicas[job.name].append(ReplicaShape.of(job, load))
    found = [DeploymentShape.of(name, replicas[name]) for name in sorted(replicas)]
    return listing(cut(found, page, lambda shape: shape.id), page, lambda shape: shape)


def _serving(here: Platform) -> list[Job]:
    with here.sessions.begin() as session:
        return models.serving(session)


async def _loads(urls: Sequence[str | None]) -> list[LoadShape | None]:
    """What each rank says of itself; None where there is none, or it does not say."""
    async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as client:

        async def load(url: str | None) -> LoadShape | None:
            if url is None:
                return None
            try:
                answer = await client.get(f"{url.rstrip('/')}/readyz")
                return LoadShape.model_validate(answer.json()) if answer.is_success else None
            except (httpx.HTTPError, ValueError):
                return None

        return await asyncio.gather(*map(load, urls))
