"""What is told of a task over its templates, and of a cluster over its tasks."""

from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

import numpy as np

from flan.evaluate.results import TemplateResult
from flan.spec import Document
from flan.tasks.taxonomy import Verdict


class OverTemplates(Document):
    """A task's figure, over the templates it was asked through."""

    num_templates: int
    """Templates that were measured."""
    mean: float
    """What a typical instruction gets."""
    spread: float | None
    """Standard deviation over templates (n - 1); None of a single one."""
    median: float
    """The figure that half of the templates reach."""
    quartiles: tuple[float, float]
    """First and third, interpolated between templates; T0's reports give them with the median."""
    worst: float
    """What the least suited instruction gets."""
    worst_template: int
    """Which one that is; the first of equals."""


def over_templates(templates: Sequence[TemplateResult]) -> OverTemplates:
    """The figures of at least one template."""
    values = [template.metric_value for template in templates]
    first, median, third = (float(value) for value in np.percentile(values, [25, 50, 75]))
    worst = min(templates, key=lambda template: template.metric_value)
    return OverTemplates(
        num_templates=len(values),
        mean=fmean(values),
        spread=stdev(values) if len(values) > 1 else None,
        median=median,
        quartiles=(first, third),
        worst=worst.metric_value,
        worst_template=worst.index,
    )


def verdict_of_all(verdicts: Iterable[Verdict]) -> Verdict:
    """Of a cluster: violated where one task is, unknown where one is, else proven."""
    found = set(verdicts)
    return "violated" if "violated" in found else "unknown" if "unknown" in found else "proven"
