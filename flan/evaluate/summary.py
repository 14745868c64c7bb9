"""Answers of one task → its figures: mean, spread, interval, and what a blind guesser would get."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flan.errors import FlanError
from flan.evaluate.answering import Answered
from flan.evaluate.metrics import METRICS, signature
from flan.evaluate.metrics.reply import Figure, Reply, RowMetric, mean
from flan.evaluate.questions import Question, Scoring
from flan.evaluate.results import INTERVAL, INTERVAL_OF_GROUPS, BestTemplate, TaskResult, TemplateResult
from flan.tasks.metric_names import MetricName
from flan.tasks.post import signature_of
from flan.tasks.task import Task

RESAMPLES = 2_000


class NothingMeasured(FlanError):
    """Not one row of a task could be asked about."""

    code, blame = "nothing_measured", "user"


class Measured(NamedTuple):
    """How a task was measured: what its result says besides the figures."""

    split: str
    scoring: Scoring
    num_rows: int
    num_skipped: Mapping[int, int]
    """Template → rows that could not be asked about."""
    asked: str
    """Digest of what was asked."""
    num_shots: int = 0
    """Solved rows that were to stand before each question."""


def summarise(task: Task, measured: Measured, answered: Sequence[Answered]) -> TaskResult:
    """The figures of a task, in its headline metric. Raises NothingMeasured."""
    split, scoring, num_rows, num_skipped, asked, _ = measured
    if not answered:
        raise NothingMeasured(
            f"no row of {task.name} ({split}) could be asked about: {sum(num_skipped.values())} prompts skipped",
            hint="raise input_length, or look at the rows",
            task=task.name,
        )
    headline = task.metrics[0]
    questions = {one.question.row: one.question for one in answered}
    units = _units(questions)
    templates, samples = over_templates(task, measured, answered)
    figures = [template.metric_value for template in templates]
    chance, majority = blind_guesses(questions.values()) if headline == "accuracy" else (None, None)
    return TaskResult(
        task=task.name,
        cluster=task.cluster,
        metric=headline,
        scoring=scoring,
        split=split,
        n=len(questions),
        num_rows=num_rows,
        asked=asked,
        chance=chance,
        majority=majority,
        templates=tuple(templates),
        unmeasured_templates=tuple(sorted(set(num_skipped) - {template.index for template in templates})),
        mean=fmean(figures),
        spread=stdev(figures) if len(figures) > 1 else None,
        interval=bootstrap_interval(samples, len(set(units.values()))),
        interval_method=INTERVAL_OF_GROUPS if task.group_by else INTERVAL,
        post=signature_of(task.post if scoring == "generate" else "as_written"),
        signatures={name: signature(name, [one.reply for one in answered]) for name in task.metrics},
    )


def over_templates(
    task: Task, measured: Measured, answered: Sequence[Answered]
) -> tuple[list[TemplateResult], list["Sample"]]:
    """The figures of each template that was measured, in order, and what their intervals are made of."""
    by_template: dict[int, list[Answered]] = defaultdict(list)
    for one in sorted(answered, key=lambda one: (one.question.template, one.question.row)):
        by_template[one.question.template].append(one)
    units = _units({one.question.row: one.question for one in answered})
    templates, samples = [], []
    for index, of_one in sorted(by_template.items()):
        template, figure = _of_template(task, index, of_one, measured)
        templates.append(template)
        samples.append(Sample(figure, np.array([units[one.question.row] for one in of_one])))
    return templates, samples


def best_on(dev: Sequence[TemplateResult]) -> int:
    """Index of the template that does best; the first of equals. It sees the rows of dev alone."""
    return max(dev, key=lambda template: template.metric_value).index


def best_template(
    task: Task,
    on_dev: tuple[Measured, Sequence[Answered]],
    reported: tuple[Measured, Sequence[Answered]],
) -> BestTemplate | None:
    """The template that is best on dev, with its figure on the reported rows.

    None where no row of dev could be asked about, or none of the others through that template.
    """
    dev, _ = over_templates(task, *on_dev)
    if not dev:
        return None
    index = best_on(dev)
    of_it = [one for one in reported[1] if one.question.template == index]
    templates, samples = over_templates(task, reported[0], of_it)
    if not templates:
        return None
    return BestTemplate(
        split=on_dev[0].split,
        on_dev=tuple(dev),
        index=index,
        metric_value=templates[0].metric_value,
        interval=bootstrap_interval(samples, int(samples[0].units.max()) + 1),
    )


def blind_guesses(questions: Iterable[Question]) -> tuple[float | None, float | None]:
    """Accuracy of a guess among the options, and of always giving the one that is right most often.

    Where each row has options of its own, "the one" is a place in the list. None for free text.
    """
    questions = list(questions)
    if not all(question.choices for question in questions):
        return None, None
    right_places = Counter(
        place
        for question in questions
        for place, choice in enumerate(question.choices)
        if choice in question.answers
    )
    chances = [
        sum(choice in question.answers for choice in question.choices) / len(question.choices)
        for question in questions
    ]
    return fmean(chances), max(right_places.values(), default=0) / len(questions)


class Sample(NamedTuple):
    """The headline figure of one template."""

    figure: Figure
    units: NDArray[np.intp]
    """Of each of its replies, what is drawn with it: the number of its row or group."""


def bootstrap_interval(samples: Sequence[Sample], num_units: int) -> tuple[float, float]:
    """95% interval of the mean over templates. Seeded: equal replies, equal interval.

    A row is resampled with all its templates, and with the other rows of its question where the task has such
    groups: their figures hang together, so counting each as a sample of its own would make the interval too
    narrow. Each resample's figure is worked out anew, for F1, a correlation or BLEU is no mean over rows. Where
    all rows agree the width is zero: look at n.
    """
    generator = np.random.Generator(np.random.Philox(key=0))
    means = []
    for _ in range(RESAMPLES):
        drawn = np.bincount(generator.integers(0, num_units, num_units), minlength=num_units).astype(
            np.float64
        )
        figures = [sample.figure(drawn[sample.units]) for sample in samples]
        # A template that was measured on few rows may have none of those drawn.
        means.append(fmean(figure for figure in figures if not isnan(figure)))
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _units(questions: Mapping[int, Question]) -> dict[int, int]:
    """Row → number of what it is drawn with: its group, or itself alone."""
    places: dict[tuple[str, ...] | int, int] = {}
    return {row: places.setdefault(questions[row].group or row, len(places)) for row in sorted(questions)}


def _figure(metric: MetricName, answered: Sequence[Answered], replies: Sequence[Reply]) -> Figure:
    kind = METRICS[metric]
    return (
        mean([one.metrics[metric] for one in answered]) if isinstance(kind, RowMetric) else kind.over(replies)
    )


def _mean_mass(answered: Sequence[Answered]) -> float | None:
    masses = [mass for one in answered if (mass := one.option_mass) is not None]
    return round(fmean(masses), 6) if masses else None


def _of_template(
    task: Task, index: int, answered: Sequence[Answered], measured: Measured
) -> tuple[TemplateResult, Figure]:
    """The template's figures, and the headline one as a function of weights."""
    replies, once = [one.reply for one in answered], np.ones(len(answered))
    figures = {name: _figure(name, answered, replies) for name in task.metrics}
    metrics: dict[str, float] = {name: figure(once) for name, figure in figures.items()}
    headline = task.metrics[0]
    readers = [METRICS[name].is_read for name in task.metrics]
    result = TemplateResult(
        index=index,
        metric_value=metrics[headline],
        n=len(answered),
        metrics=metrics,
        num_skipped=measured.num_skipped.get(index, 0),
        num_pruned=sum(one.question.num_exemplars < measured.num_shots for one in answered),
        num_cut=sum(one.question.was_cut for one in answered),
        num_unfinished=sum(not one.is_finished for one in answered),
        num_unread=sum(not all(is_read(reply) for is_read in readers) for reply in replies),
        num_tied=sum(one.is_tied for one in answered),
        option_mass=_mean_mass(answered),
    )
    return result, figures[headline]
