"""Tasks and clusters that come with the platform."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.auth import needs
from api.catalog.collections import COLLECTIONS, built_in, tasks_of, taxonomy_of
from api.deps import Here, Platform
from api.pages import PageHere, cut, listing, single
from api.problems import InvalidParameter
from api.render_shapes import RenderedShape, WholeTaskShape
from api.schemas import AkinShape, ClusterShape, List, TaskShape, TaskSplitShape
from flan.data.holdings import splits_here
from flan.errors import NotFound, did_you_mean
from flan.evaluate.preview import Form, previews
from flan.tasks.metric_names import MetricName
from flan.tasks.render import instance
from flan.tasks.synthetic import generate
from flan.tasks.task import Collection, HubSource, SyntheticSource, Task
from flan.tasks.taxonomy import Taxonomy

router = APIRouter(tags=["Tasks"])
CollectionParameter = Annotated[Collection, Query(description="Which collection.")]


@router.get(
    "/tasks", operation_id="list_tasks", response_model=List[TaskShape], dependencies=[needs("jobs:read")]
)
def list_tasks(
    here: Here,
    page: PageHere,
    collection: CollectionParameter = "flan",
    cluster: Annotated[str | None, Query(max_length=64, description="Only tasks of this cluster.")] = None,
    family: Annotated[str | None, Query(max_length=64, description="Only variants of this dataset.")] = None,
    preset: Annotated[
        str | None, Query(max_length=64, description="Only tasks of this preset, such as flan2021.")
    ] = None,
    has_choices: Annotated[
        bool | None, Query(description="Only tasks that are answered by choosing an option, or the others.")
    ] = None,
    metric: Annotated[MetricName | None, Query(description="Only tasks measured in this metric.")] = None,
) -> Response:
    """The tasks of a collection, by name; every filter that is given must hold."""
    taxonomy, every = taxonomy_of(collection), tasks_of(collection).values()
    _check("cluster", cluster, taxonomy.clusters)
    _check("family", family, {task.kin for task in every})
    _check("preset", preset, taxonomy.presets)
    tasks = [
        task
        for task in every
        if cluster in (None, task.cluster)
        and family in (None, task.kin)
        and (preset is None or taxonomy.presets[preset].holds(task))
        and has_choices in (None, task.has_choices)
        and (metric is None or metric in task.metrics)
    ]
    return listing(cut(tasks, page, lambda task: task.name), page, lambda task: _shown(here, task))


@router.get(
    "/tasks/{name}",
    operation_id="get_task",
    response_model=WholeTaskShape,
    dependencies=[needs("jobs:read")],
)
def get_task(here: Here, request: Request, name: str) -> Response:
    """One task: what it is akin to, how many rows it has, and a made-up row through each of its templates."""
    task = built_in(name)
    if task is None:
        near = did_you_mean(name, [known for each in COLLECTIONS for known in tasks_of(each)])
        hint = near or "uploaded template sets are under /template-sets"
        raise NotFound(f"there is no task {name!r}", hint=hint)
    shown = _shown(here, task)
    whole = WholeTaskShape(
        **dict(shown),
        akin=_akin(task, taxonomy_of(shown.collection), tasks_of(shown.collection).values()),
        splits=_splits(task),
        samples=_samples(task),
    )
    return single(request, whole)


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


def _check(parameter: str, given: str | None, known: Iterable[str]) -> None:
    """Raise InvalidParameter where a filter names something that is not there: nothing would be left."""
    names = sorted(known)
    if given is not None and given not in names:
        hint = did_you_mean(given, names) or f"there are: {', '.join(names) or 'none'}"
        raise InvalidParameter(f"there is no {parameter} {given!r}", hint=hint, parameter=parameter)


def _shown(here: Platform, task: Task) -> TaskShape:
    collection: Collection = "synthetic" if task.name in tasks_of("synthetic") else "flan"
    return TaskShape(
        id=task.name,
        collection=collection,
        cluster=task.cluster,
        family=task.kin,
        has_choices=task.has_choices,
        metrics=list(task.metrics),
        rows_here=splits_here(task, here.places.data),
        document=task,
    )


def _akin(task: Task, taxonomy: Taxonomy, tasks: Iterable[Task]) -> list[AkinShape]:
    """The other tasks made from texts that `task` was made from, and why: its family, then by the taxonomy."""
    families = {each.name: each.kin for each in tasks}
    reasons = {task.kin: "variants of one dataset"}
    for edge in taxonomy.lineage:
        joined = {families.get(edge.a, edge.a), families.get(edge.b, edge.b)}
        if task.kin in joined:
            reasons |= dict.fromkeys(joined - reasons.keys(), edge.why)
    return [
        AkinShape(task=name, family=family, why=reasons[family])
        for family in reasons
        for name, kin in families.items()
        if kin == family and name != task.name
    ]


def _splits(task: Task) -> dict[str, TaskSplitShape]:
    source = task.source
    if isinstance(source, SyntheticSource):
        return {split: TaskSplitShape(source=None, num_rows=rows) for split, rows in source.splits.items()}
    assert isinstance(source, HubSource), "a task that comes with the platform reads no upload"
    shown = {}
    for split, of in source.splits.items():
        part = source.part(split)
        published = source.rows.get(part.split)
        num_rows = None if published is None else part.count(published)
        shown[split] = TaskSplitShape(source=of, num_rows=num_rows)
    return shown


def _samples(task: Task) -> list[RenderedShape]:
    row = task.example
    if row is None and isinstance(task.source, SyntheticSource):
        row = generate(task.source.generator, next(iter(task.source.splits)), 0)
    if row is None:
        return []
    every = range(len(task.templates))
    return [RenderedShape.of(task, 0, each) for each in previews(task, Form(), 0, instance(task, row), every)]
