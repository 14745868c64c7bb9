"""Faults of a task's templates, found in their patterns, in the set and by rendering them over real rows.

What a `Task` itself refuses (a slot without a field, a stray brace, an answer in the input) never gets
here. The codes follow the faults that were found in published template sets: a letter glued to a
hypothesis, two templates that are the same, answers that are not among the options.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flan.tasks.lint_findings import FLAN_LIMITS, Finding, Limits, RoundTrip
from flan.tasks.lint_patterns import pattern_faults
from flan.tasks.lint_rows import row_faults
from flan.tasks.lint_sets import set_faults
from flan.tasks.lint_tokens import token_faults
from flan.tasks.task import Task


def lint(
    task: Task,
    rows: Iterable[Mapping[str, Any]],
    limits: Limits = FLAN_LIMITS,
    tokenizers: Mapping[str, RoundTrip] | None = None,
) -> list[Finding]:
    """Every finding, errors first. A fault of many rows is one finding: its count, and its first row.

    `tokenizers` are those whose losses count, by name: see `flan.tasks.lint_tokens.round_trip`.
    """
    found = [*template_findings(task, tokenizers or {}), *row_faults(task, rows, limits, tokenizers or {})]
    return sorted(found, key=lambda finding: finding.severity)


def template_findings(task: Task, tokenizers: Mapping[str, RoundTrip]) -> Iterator[Finding]:
    """What is wrong with a task's templates, one by one and together, whatever its rows are."""
    for i, template in enumerate(task.slot_templates):
        for fault in (*pattern_faults(task, template), *token_faults(template, tokenizers)):
            yield Finding(i, *fault)
    yield from set_faults(task)
