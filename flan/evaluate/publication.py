"""Evaluations as a report one can publish: a document of every figure with its spread, n, interval and verdict.

Runs are columns, tasks and clusters are rows. Beside ours stands what was published, with the reasons why the two
are no measurements of the same thing. It is made by flan/evaluate/reporting.py; tables and pictures are made of this
document alone (flan/evaluate/tables.py, plots.py).
"""

from pydantic import Field

from flan.evaluate.pairing import Paired
from flan.evaluate.published import Confidence
from flan.evaluate.results import INTERVAL, TaskFailure
from flan.evaluate.statistics import OverTemplates
from flan.spec import Document
from flan.tasks.taxonomy import Verdict


class Column(Document):
    """A model, and how it was asked."""

    label: str
    """What tables call it."""
    model: str
    """Its name."""
    model_digest: str
    """Of its weights."""
    base: str
    """What it was tuned from."""
    num_parameters: int | None
    """How many weights it has; None in results of before they said so."""
    tuned_steps: int
    """Optimizer updates it was tuned for here; 0: untuned."""
    clusters_seen: tuple[str, ...] | None
    """What it was tuned on; None: not known."""
    trained_with: str | None = None
    """What the rows of its last tuning were asked with; None: untuned, or not on record."""
    templates_trained: int | None = None
    """The most templates of a task in its last tuning; None likewise."""
    prompt_format: str
    """What a row was asked with."""
    shots: int
    """Solved rows before a question, at most."""
    choose_by: str
    """What an option is chosen by: the sum of its log-probabilities, or another rule."""
    precision: str
    """Of weights and computation."""
    suite: str | None
    """The named evaluation that it is, if it is one."""
    spec_digest: str
    """Of all that was asked of it."""
    failed: dict[str, TaskFailure]
    """Task → why it has no figures."""


class Beside(Document):
    """A published figure beside ours."""

    system: str
    """Whose it is."""
    value: float
    """As ours, from 0 to 1."""
    spread: float | None
    """Standard deviation over templates; always recalled."""
    confidence: Confidence
    """How far the value is trusted."""
    reference: str
    """Where it is from."""
    caveats: tuple[str, ...]
    """Why ours is no measurement of the same thing."""


class TaskFigures(Document):
    """What one column got on one task."""

    over_templates: OverTemplates
    """Its figure over templates."""
    n: int
    """Rows that were measured."""
    num_rows: int
    """Rows of the split."""
    interval: tuple[float, float]
    """95%, of the mean over templates, over rows."""
    interval_method: str = INTERVAL
    """How it is made."""
    best: float | None
    """Of the template that is best on other rows; None: none was chosen."""
    best_template: int | None = None
    """Which one that is."""
    verdict: Verdict
    """Whether the model met the task for the first time."""
    num_unclean: int | None
    """Rows that share a passage with a row it was tuned on; None: not compared."""
    clean: float | None
    """The mean without such rows."""
    clean_n: int | None = None
    """Rows that are left then."""
    metrics: dict[str, float]
    """Every metric of the task: mean over templates."""
    metric_spreads: dict[str, float] = {}
    """Of each, the standard deviation over templates, where there are several."""
    published: Beside | None
    """The figure of FLAN itself, where one is known."""
    paired: Paired | None = None
    """This column less the first one, on the same questions."""


class TaskLine(Document):
    """A task in every column."""

    task: str
    """Its name."""
    cluster: str
    """Its cluster: what it is held out with."""
    metric: str
    """What every figure of the line is in."""
    signature: str
    """What they have to be quoted with."""
    split: str
    """Whose rows were asked about."""
    scoring: str
    """rank: an option was chosen; generate: an answer was written."""
    post: str = "as_written v1"
    """What of a written answer was compared."""
    chance: float | None
    """Of a blind guess."""
    majority: float | None
    """Of always giving the most frequent answer."""
    is_alike: bool
    """Whether every column was asked the same."""
    figures: tuple[TaskFigures | None, ...]
    """One a column; None where it was not measured."""


class ClusterFigures(Document):
    """What one column got on a cluster."""

    mean: float
    """Unweighted, over its tasks."""
    spread: float | None
    """Mean over its tasks of the standard deviation over templates; None where none has several."""
    num_tasks: int
    """Over how many tasks."""
    n: int
    """Rows of all of them."""
    verdict: Verdict
    """violated where it is for one task, unknown likewise."""


class ClusterLine(Document):
    """A cluster in every column."""

    cluster: str
    """Its name in specs."""
    name: str
    """Display name."""
    tasks: tuple[str, ...]
    """Those of its tasks that every column has: the means are over the same ones."""
    figures: tuple[ClusterFigures | None, ...]
    """One a column; None where it has none of these tasks."""


class Report(Document):
    """Evaluations side by side."""

    format: int = 1
    """Of this document."""
    columns: tuple[Column, ...] = Field(min_length=1)
    """The models, and how they were asked."""
    tasks: tuple[TaskLine, ...]
    """A line for each task that any column has."""
    clusters: tuple[ClusterLine, ...]
    """A line for each of their clusters."""
