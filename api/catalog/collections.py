"""The collections that come with the platform, read once: their files do not change while it runs."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from flan.tasks.task import Collection, Task, load_collection
from flan.tasks.taxonomy import Taxonomy, load_taxonomy

COLLECTIONS: tuple[Collection, ...] = ("flan", "synthetic")


@cache
def tasks_of(collection: Collection) -> Mapping[str, Task]:
    """Every task of a collection, by name."""
    return MappingProxyType(load_collection(collection))


@cache
def taxonomy_of(collection: Collection) -> Taxonomy:
    """The clusters of a collection."""
    return load_taxonomy(collection)


def built_in(name: str) -> Task | None:
    """The task of that name in any collection."""
    return next((tasks_of(each)[name] for each in COLLECTIONS if name in tasks_of(each)), None)
