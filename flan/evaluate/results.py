"""results.json: what a model scored, with everything one needs to believe it or to do it again."""

from typing import Literal

from pydantic import Field

from flan.card import Lineage
from flan.spec import (
    ChoiceRule,
    Document,
    EvaluationFormat,
    FewShot,
    OptionsPolicy,
    Precision,
    Sha256,
    SuiteName,
)
from flan.tasks.taxonomy import Verdict

SCORING_VERSION = 3
"""Raised whenever the same model, rows and templates would get another figure than before."""
INTERVAL = "bootstrap over rows (2,000 resamples) of the mean over templates, 95%, percentiles"
INTERVAL_OF_GROUPS = INTERVAL.replace("rows", "questions, each with all its rows")


class TemplateResult(Document):
    """One template: its figure in the headline metric."""

    index: int
    """Place in the task's template set."""
    metric_value: float = Field(ge=-1, le=1)
    """From 0, a correlation from -1, to 1."""
    n: int = Field(ge=1)
    """Rows that were measured through it."""
    metrics: dict[str, float]
    """Every metric of the task."""
    num_skipped: int = 0
    """Rows it could not ask about: broken, or too long even with the long field left out."""
    num_pruned: int = 0
    """Of the n, prompts with fewer exemplars than were asked for."""
    num_cut: int = 0
    """Of the n, prompts whose long field was cut to fit."""
    num_unfinished: int = 0
    """Of the n, written answers that did not end within the limit."""
    num_unread: int = 0
    """Of the n, answers that a metric could make nothing of: no option, no number, no final answer. They are wrong."""
    num_tied: int = 0
    """Of the n, choices that were the first of several as good."""
    option_mass: float | None = None
    """Mean probability that the model would write any of the options; None where it wrote itself."""


class CleanResult(Document):
    """A task without the rows that share a passage with a row the model was tuned on."""

    n: int = Field(ge=1)
    """Rows measured through at least one template."""
    mean: float
    """Mean over templates, in the headline metric."""


class BestTemplate(Document):
    """The template that did best on other rows, and what it gets on these (Wei et al. 2022: best dev template)."""

    split: str
    """Whose rows it was chosen on."""
    on_dev: tuple[TemplateResult, ...] = Field(min_length=1)
    """Every template on those rows."""
    index: int
    """Which one is the best of them; the first of equals."""
    metric_value: float = Field(ge=-1, le=1)
    """Its figure on the rows that are reported: they had no part in the choice."""
    interval: tuple[float, float]
    """Of that figure, over rows."""


class TaskFailure(Document):
    """Why a task has no figures, while others have."""

    code: str
    """What kind of fault it is, for programs."""
    message: str
    """What is wrong, in words."""
    hint: str | None = None
    """The way out, where one is known."""


class TaskResult(Document):
    """One task over its templates."""

    task: str
    cluster: str
    metric: str
    """The headline metric; every figure below is in it."""
    scoring: Literal["rank", "generate"]
    split: str
    n: int = Field(ge=1)
    """Rows measured through at least one template."""
    asked: Sha256
    """Digest of what was asked: task document, rows, row numbers, templates, options shown or not."""
    num_rows: int
    """Rows of the split; fewer are measured where a limit was set, or rows were skipped."""
    chance: float | None
    """Expected figure of a blind guess among the options; None for free text."""
    majority: float | None
    """Figure of always giving the option that is right most often in these rows; None for free text."""
    templates: tuple[TemplateResult, ...] = Field(min_length=1)
    unmeasured_templates: tuple[int, ...] = ()
    """Templates through which no row could be asked: no part of any figure."""
    mean: float
    """Mean over templates: what a typical instruction gets."""
    spread: float | None
    """Standard deviation over templates (n - 1); None for a single one."""
    interval: tuple[float, float]
    interval_method: str = INTERVAL
    best: BestTemplate | None = None
    """None where no template was to be chosen, or there are no rows to choose it on."""
    clean: CleanResult | None = None
    """The same without unclean rows; None where there are none, or it is not known which they are."""
    post: str = "as_written v1"
    """What of a written answer was compared, and the version of that reading."""
    signatures: dict[str, str] = {}
    """Metric → what its figures have to be quoted with: versions and settings."""


class Results(Document):
    """One model on some tasks."""

    format: Literal[1] = 1
    model: str
    """Name of the model."""
    model_digest: Sha256
    num_parameters: int | None = None
    """How many weights it has; None in results of before they said so."""
    lineage: Lineage
    verdicts: dict[str, Verdict]
    """Task → whether the model met it, or anything akin, for the first time."""
    why: dict[str, str] = {}
    """Task → what its verdict rests on."""
    unclean: dict[str, int | None] = {}
    """Task → how many rows of the split share a passage with a row that the model was tuned on; None = some of
    those rows were never compared with them."""
    tasks: tuple[TaskResult, ...]
    failed: dict[str, TaskFailure] = {}
    """Task → why it could not be measured."""
    samples: Sha256 | None = None
    """Digest of the folder with every question and answer; None in results of before there was one."""
    spec_digest: Sha256
    contract_digest: Sha256
    scoring_version: int = SCORING_VERSION
    seed: int
    options: OptionsPolicy
    choose_by: ChoiceRule = "sum"
    precision: Precision = "fp32"
    suite: SuiteName | None = None
    """The named evaluation that it is, if it is one."""
    prompt_format: EvaluationFormat = "instructions"
    few_shot: FewShot | None = None
