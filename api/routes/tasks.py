"""Tasks and clusters that come with the platform."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.auth import needs
from api.catalog.collections import COLLECTIONS, built_in, tasks_of, taxonomy_of
from api.pages import PageHere, cut, listing, single
from api.schemas import ClusterShape, List, TaskShape
from flan.errors import NotFound, did_you_mean
from flan.tasks.task import Collection, Task

router = APIRouter(tags=["Tasks"])
CollectionParameter = Annotated[Collection, Query(description="Which collection.")]


@router.get(
    "/tasks", operation_id="list_tasks", response_model=List[TaskShape], dependencies=[needs("jobs:read")]
)
def list_tasks(
    page: PageHere,
    collection: CollectionParameter = "flan",
    cluster: Annotated[str | None, Query(max_length=64, description="Only tasks of this cluster.")] = None,
) -> Response:
    """The tasks of a collection, by name."""
    tasks = [task for task in tasks_of(collection).values() if cluster in (None, task.cluster)]
    return listing(cut(tasks, page, lambda task: task.name), page, _shown)


@router.get(
    "/tasks/{name}", operation_id="get_task", response_model=TaskShape, dependencies=[needs("jobs:read")]
)
def get_task(request: Request, name: str) -> Response:
    """One task."""
    task = built_in(name)
    if task is None:
        near = did_you_mean(name, [known for each in COLLECTIONS for known in tasks_of(each)])
        hint = near or "uploaded template sets are under /template-sets"
        raise NotFound(f"there is no task {name!r}", hint=hint)
    return single(request, _shown(task))


@router.get(
    "/clusters",
    operation_id="list_clusters",
    response_model=List[ClusterShape],
    dependencies=[needs("jobs:read")],
)
def list_clusters(page: PageHere, collection: CollectionParameter = "flan") -> Response:
    """The clusters of a collection, with their tasks and neighbours."""
    taxonomy = taxonomy_of(collection)
    clusters = [
        ClusterShape(
            id=cluster,
            collection=collection,
            display_name=display_name,
            adjacent=list(taxonomy.neighbours.get(cluster, ())),
            tasks=[task.name for task in tasks_of(collection).values() if task.cluster == cluster],
        )
        for cluster, display_name in sorted(taxonomy.clusters.items())
    ]
    return listing(cut(clusters, page, lambda cluster: cluster.id), page, lambda cluster: cluster)


def _shown(task: Task) -> TaskShape:
    collection: Collection = "synthetic" if task.name in tasks_of("synthetic") else "flan"
    return TaskShape(id=task.name, collection=collection, cluster=task.cluster, document=task)
