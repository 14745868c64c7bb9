"""What can be asked of an evaluation."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flan.spec.document import Document, Name, Reference
from flan.spec.job import JobSpec, Precision
from flan.spec.prompts import FewShot, OptionsPolicy

ChoiceRule = Literal["sum", "per_token", "per_byte", "pmi"]
"""What of the options' log-probabilities is compared: `flan/model/choosing.py`."""
EvaluationFormat = Literal["instructions", "dataset_name", "no_template", "continuation"]
"""The same of an evaluation, or a text that the answer would go on, for a model that was never tuned."""
SuiteName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._/-]{0,127}$")]
"""`flan2021/entailment/few-shot`. Never used as a path."""


class DevRows(Document):
    """Rows on which the best template of each task is chosen (Wei et al. 2022, 2.3); its figure is of other rows."""

    split: Name = "validation"
    """Which rows."""
    limit: int | None = Field(default=200, ge=1)
    """At most this many of them: a seeded sample."""


class EvaluateSpec(JobSpec):
    """Measure one model on tasks: every template, never an inverted one."""

    kind: Literal["evaluate"] = "evaluate"
    """A job that evaluates."""
    model: Reference
    """What is measured: a registered model (`name`, `name@3`, `name@alias`), a hub id or a folder."""
    collection: Literal["flan", "synthetic"] = "flan"
    """Where `*`, names and clusters are looked up."""
    suite: SuiteName | None = None
    """A named evaluation: flan2021/all, flan2021/entailment/few-shot, t0/held-out, super-ni/test … What it says
    holds where this spec has its default, and is written into it when the job is accepted."""
    tasks: tuple[Reference, ...] = Field(default=(), max_length=4096)
    """Selectors, as in a mixture; may be left out where a suite has some."""
    split: Name = "validation"
    """Which rows are asked."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many rows of a task: a seeded sample, the same for every template and model."""
    templates_per_task: int = Field(default=10, ge=1)
    """At most this many templates of a task are used, its first ones; never an inverted one."""
    scoring: Literal["auto", "rank", "generate"] = "auto"
    """auto: tasks with answer choices by rank classification, others by greedy generation."""
    choose_by: ChoiceRule = "sum"
    """Which option is chosen: by its log-probability, as FLAN does; by that over its tokens or its bytes; or by how
    much the prompt raises it (pmi). Records keep what all of them need."""
    options: OptionsPolicy = "flan2021"
    """How answer choices are shown; none: only the text before them says what is asked."""
    prompt_format: EvaluationFormat = "instructions"
    """What a row is asked with; dataset_name and no_template are the paper's ablations, continuation is how it asks
    models that were never tuned: as one text with its answer, without a separator between and an end behind them."""
    few_shot: FewShot | None = None
    """None: zero-shot."""
    dev: DevRows | None = None
    """Rows on which each task's best template is chosen, beside those of `split`; None: none is chosen. A task
    without such rows has no best template."""
    require: Literal["anything", "proven"] = "anything"
    """proven: refuse where the model may have seen anything akin to one of the tasks."""
    max_new_tokens: int = Field(default=256, ge=1, le=8192)
    """Longest answer that is generated."""
    batch_tokens: int = Field(default=4_096, ge=8)
    """Token slots of one forward pass. No effect on the result but rounding."""
    precision: Precision = "fp32"
    """Of weights and computation; softmax and sums are fp32 always."""
    zero_stage: Literal[0, 3] = 0
    """0: every rank has the whole model, and ranks share the rows. 3: they share its weights besides, for a model that
    one device does not hold: slower, as layers travel between ranks. No effect on the result but rounding."""
    input_length: int = Field(default=1_024, ge=4, le=2**20)
    """Longest input, in tokens; a longer one is cut at its long field."""
    missing: Literal["fail", "drop"] = "fail"
    """What to do about a task whose rows are not on this machine."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Decides which rows and solved rows are drawn."""

    @model_validator(mode="after")
    def _dev_is_apart(self) -> Self:
        if not self.tasks and self.suite is None:
            raise ValueError("nothing to evaluate: name tasks, or a suite such as flan2021/all")
        if self.dev is not None and self.dev.split == self.split:
            raise ValueError(
                f"dev.split is {self.split!r} as split is: a template that is chosen on the rows it is reported on "
                "is flattered; name two splits, as in split: test, dev: {split: validation}"
            )
        return self

    @property
    def splits(self) -> tuple[str, ...]:
        """Every split that a task must have."""
        return tuple(dict.fromkeys((self.split, *((self.few_shot.split,) if self.few_shot else ()))))
