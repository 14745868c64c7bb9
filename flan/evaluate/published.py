"""Figures that others published, with their source and how far each is trusted; and why ours are not theirs.

They are a document of their own, `published.yaml` beside this file: nothing is computed with them.
"""

from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from flan.evaluate.results import Results, TaskResult
from flan.spec import Document, Name, parse
from flan.tasks.metric_names import MetricName
from flan.tasks.yaml_text import parse_yaml

Confidence = Literal["published", "cross_checked", "recalled"]
Aggregate = Literal["mean_of_datasets", "mean_of_clusters"]


class Source(Document):
    """A publication."""

    title: str
    """Of the publication."""
    authors: str
    """The first of them."""
    year: int
    """When it came out."""
    where: str
    """Venue, and which version."""


class PublishedFigure(Document):
    """A number as a publication has it."""

    system: str
    """Whose: FLAN 137B, GPT-3 175B …"""
    task: Name | None = None
    """Our name of the dataset; None: of a cluster, or of several."""
    cluster: Name | None = None
    """Of a cluster's mean."""
    variant: str | None = None
    """Which part of the dataset, where it is not the whole: a direction of translation, a subset."""
    num_clusters: int | None = None
    """Of the ablation: how many clusters were trained on."""
    trained_with: str | None = None
    """Of the ablation: what was before the rows in training; in the names of `prompt_format`."""
    asked_with: str | None = None
    """And in the evaluation."""
    metric: MetricName | Aggregate
    """What is measured; of a mean over datasets or clusters, each has its own."""
    setting: Literal["zero_shot", "few_shot", "supervised", "soft_prompt", "instructions"]
    """How the system was asked, or tuned."""
    shots: int | None = None
    """Exemplars of a few-shot figure; None: not known."""
    examples: int | None = None
    """Training examples of a soft prompt; None: all."""
    statistic: Literal["mean", "best_dev", "single"]
    """Mean over templates, the template that is best on development rows, or a single prompt."""
    value: float = Field(ge=0, le=100)
    """In percent."""
    spread: float | None = None
    """Standard deviation over templates, in percent points; always recalled."""
    confidence: Confidence
    """How far the value is trusted."""


class PublishedTable(Document):
    """Figures that stand together."""

    source: Name
    table: str
    """Which table or figure of the source."""
    setting: str
    """How they came about, in our words."""
    figures: tuple[PublishedFigure, ...] = Field(min_length=1)


class Published(Document):
    """published.yaml."""

    sources: dict[Name, Source]
    tables: dict[Name, PublishedTable]

    @model_validator(mode="after")
    def _known(self) -> "Published":
        for name, table in self.tables.items():
            if table.source not in self.sources:
                raise ValueError(f"table {name} is of {table.source!r}, which is none of the sources")
        return self


class Cited(NamedTuple):
    """A figure with where it is from."""

    id: str
    """Table and place in it."""
    figure: PublishedFigure
    table: PublishedTable
    source: Source

    @property
    def reference(self) -> str:
        """Authors, year and table."""
        return f"{self.source.authors} {self.source.year}, {self.table.table}"


@cache
def load_published() -> Published:
    """The document that comes with the platform."""
    path = Path(str(resources.files("flan.evaluate"))) / "published.yaml"
    return parse(Published, parse_yaml(path.read_text()))


def cited() -> Iterator[Cited]:
    """Every figure, in the order of the document."""
    document = load_published()
    for name, table in document.tables.items():
        for i, figure in enumerate(table.figures):
            yield Cited(f"{name}-{i}", figure, table, document.sources[table.source])


def beside(result: TaskResult, results: Results, system: str = "FLAN 137B") -> Cited | None:
    """The published figure that ours stands beside: the mean over templates of the same task, asked in the same way.

    Of the dataset as a whole where there is one, else of a part of it. None where none is known.
    """
    setting = "few_shot" if results.few_shot else "zero_shot"
    found = [
        each
        for each in cited()
        if each.figure.task == result.task
        and each.figure.system == system
        and each.figure.setting == setting
        and each.figure.statistic == "mean"
    ]
    return min(found, key=lambda each: each.figure.variant is not None, default=None)


def caveats(result: TaskResult, results: Results, of: Cited) -> tuple[str, ...]:
    """Why our figure and the published one are no measurements of the same thing, most important first."""
    figure = of.figure
    base = f"another base model: ours comes from {results.lineage.base}, theirs is {figure.system}"
    said = [base]
    if results.verdicts.get(result.task) != "proven":
        said.append(f"ours is not proven zero-shot ({results.verdicts.get(result.task, 'unknown')})")
    if figure.metric != result.metric:
        said.append(f"another metric: {result.metric}, theirs is {figure.metric}")
    if figure.variant is not None:
        said.append(f"theirs is of a part alone: {figure.variant}")
    if result.split != "test":
        said.append(f"other rows: ours are of split {result.split}, which theirs tuned or chose on")
    if result.n < result.num_rows:
        said.append(f"a subset: {result.n:,} of {result.num_rows:,} rows")
    if results.few_shot:
        shots = "an unknown number of" if figure.shots is None else figure.shots
        if figure.shots != results.few_shot.shots:
            said.append(f"other exemplars: up to {results.few_shot.shots}, theirs {shots}")
    if results.prompt_format != "instructions":
        said.append(f"asked without instructions: {results.prompt_format}")
    said.append("other templates: ours are in our own words")
    if result.scoring == "rank":
        said.append("ours ranks the options; which of their figures do is not told")
    if figure.confidence != "published":
        said.append(f"the figure itself is {figure.confidence.replace('_', '-')}, not read in its source")
    return tuple(said)
