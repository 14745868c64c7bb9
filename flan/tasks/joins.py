"""How documents of other projects join the collection: their categories our clusters, their datasets our families.

Super-NaturalInstructions sorts its tasks into categories of its own, and promptsource into none; both were made
from datasets that the collection's tasks were made from too. Without this table a held-out cluster would come back
under another name. It is data (`joins.yaml`), and what stands nowhere in it is of unknown kin, never of none.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Self

from pydantic import model_validator

from flan.spec import Document, Name, parse
from flan.tasks.task import DatasetName, HubSource, Task
from flan.tasks.yaml_text import parse_yaml

UNKNOWN = "unknown"
"""Origin of a task whose file does not say what it was made from."""


class Joins(Document):
    """Names of other projects, sorted by those of ours that they join."""

    clusters: dict[Name, tuple[Name, ...]] = {}
    """Cluster → categories with tasks of its kind."""
    no_cluster: tuple[Name, ...] = ()
    """Categories without a task of any cluster's kind."""
    families: dict[Name, tuple[DatasetName, ...]] = {}
    """Family → datasets that hold texts of it."""
    no_family: tuple[DatasetName, ...] = ()
    """Datasets that hold texts of none."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for joined, apart in ((self.clusters, self.no_cluster), (self.families, self.no_family)):
            for name in apart:
                if any(name in names for names in joined.values()):
                    raise ValueError(f"{name!r} is joined, and said to be apart")
        return self

    @cached_property
    def clusters_of(self) -> Mapping[str, frozenset[str]]:
        """Category → the clusters that it joins; a category that is not in it is unknown."""
        return _inverted(self.clusters, self.no_cluster)

    @cached_property
    def families_of(self) -> Mapping[str, frozenset[str]]:
        """Dataset → the families that it joins; a dataset that is not in it is unknown."""
        return _inverted(self.families, self.no_family)

    def families_in(self, dataset: str) -> frozenset[str] | None:
        """The families whose texts are in `dataset`, a configuration of one (`glue/rte`) or all; None = not known."""
        found = self.families_of.get(dataset)
        return self.families_of.get(dataset.partition("/")[0]) if found is None else found


@cache
def load_joins() -> Joins:
    """The table that comes with the platform."""
    return parse(Joins, parse_yaml(Path(str(resources.files("flan.tasks")), "joins.yaml").read_text()))


def origins(task: Task) -> tuple[str, ...]:
    """The datasets that `task` was made from: those that it names, else its dataset of the hub; none = its own rows."""
    if task.origins is not None:
        return task.origins
    if not isinstance(task.source, HubSource):
        return ()
    return (hub_name(task.source.id, task.source.config),)


def hub_name(id: str, config: str | None) -> str:
    """What a dataset of the hub is called here: without its owner, with its configuration."""
    name = dataset_name(id.rpartition("/")[2])
    return f"{name}/{dataset_name(config)}" if config else name


def dataset_name(text: str) -> str:
    """`text` as the name of a dataset: "Question & Answer ZRE" → question_answer_zre."""
    return re.sub(r"[^a-z0-9.-]+", "_", text.lower()).strip("._-")[:_MAX_CHARS] or UNKNOWN


_MAX_CHARS = 60


def _inverted(joined: Mapping[str, Iterable[str]], apart: Iterable[str]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = dict.fromkeys(apart, frozenset())
    for ours, theirs in joined.items():
        for name in theirs:
            found[name] = found.get(name, frozenset()) | {ours}
    return found
