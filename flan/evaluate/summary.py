"""Answers of one task → its figures: mean, spread, interval, and what a blind guesser would get."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np

from flan.errors import FlanError
from flan.evaluate.answering import Answered
from flan.evaluate.questions import Question, Scoring
from flan.evaluate.results import TaskResult, TemplateResult
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
    by_template: dict[int, list[Answered]] = defaultdict(list)
    by_row: dict[int, list[float]] = defaultdict(list)
    questions: dict[int, Question] = {}
    for one in answered:
        by_template[one.question.template].append(one)
        by_row[one.question.row].append(one.metrics[headline])
        questions[one.question.row] = one.question
    templates = [_of_template(task, index, by_template[index], measured) for index in sorted(by_template)]
    figures = [template.metric_value for template in templates]
    chance, majority = blind_guesses(questions.values()) if headline == "accuracy" else (None, None)
    return TaskResult(
        task=task.name,
        cluster=task.cluster,
        metric=headline,
        scoring=scoring,
        split=split,
        n=len(by_row),
        num_rows=num_rows,
        asked=asked,
        chance=chance,
        majority=majority,
        templates=tuple(templates),
        unmeasured_templates=tuple(sorted(set(num_skipped) - set(by_template))),
        mean=fmean(figures),
        spread=stdev(figures) if len(figures) > 1 else None,
        interval=bootstrap_interval([fmean(by_row[row]) for row in sorted(by_row)]),
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


def bootstrap_interval(row_means: Sequence[float]) -> tuple[float, float]:
    """95% interval of the mean over rows. Seeded: equal rows, equal interval.

    A row is resampled with all its templates: their figures hang together, so counting each as a sample of
    its own would make the interval too narrow. Where all rows agree its width is zero: look at n.
    """
    values = np.asarray(row_means)
    generator = np.random.Generator(np.random.Philox(key=0))
    means = [float(values[generator.integers(0, len(values), len(values))].mean()) for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _of_template(task: Task, index: int, answered: Sequence[Answered], measured: Measured) -> TemplateResult:
    metrics: dict[str, float] = {name: fmean(one.metrics[name] for one in answered) for name in task.metrics}
    return TemplateResult(
        index=index,
        metric_value=metrics[task.metrics[0]],
        n=len(answered),
        metrics=metrics,
        num_skipped=measured.num_skipped.get(index, 0),
        num_pruned=sum(one.question.num_exemplars < measured.num_shots for one in answered),
        num_cut=sum(one.question.was_cut for one in answered),
        num_unfinished=sum(not one.is_finished for one in answered),
    )
