"""Faults of a task's templates, found by rendering them over real rows.

What a `Task` itself refuses (a slot without a field, a stray brace, an answer in the input) never gets
here. The codes follow the faults that were found in published template sets: a letter glued to a
hypothesis, two templates that are the same, answers that are not among the options.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from flan.tasks.render import NotAnOption, Rendered, RowError, instance, render
from flan.tasks.task import Task
from flan.tasks.template import ANSWER_SLOT, slots

FEW_TEMPLATES = 10
MANY_INVERTED = 3
"""FLAN writes ten templates for a dataset, at most three of them turned around (Wei et al. 2022, 2.1)."""
TELLING_CHARS = 40
"""An answer of this length does not stand in a prompt by chance; a shorter one often does."""
Severity = Literal["error", "warning"]
# Written braces come in pairs, so a single one beside a letter is a slot's.
_GLUED = re.compile(r"[A-Za-z](\{\w+\})|(\{\w+\})[A-Za-z]")


class Finding(NamedTuple):
    """One fault. `template` and `row` are indices; None where the fault is not of one template or row."""

    template: int | None
    code: str
    severity: Severity
    message: str
    row: int | None = None


class Limits(NamedTuple):
    """Longest input and target, in characters: FLAN's 1,024 and 256 tokens at about four characters each."""

    input_chars: int = 4_096
    target_chars: int = 1_024


FLAN_LIMITS = Limits()


def lint(task: Task, rows: Iterable[Mapping[str, Any]], limits: Limits = FLAN_LIMITS) -> list[Finding]:
    """Every finding, errors first. A fault of many rows is one finding: its count, and its first row."""
    findings = [*_pattern_faults(task), *_set_faults(task), *_row_faults(task, rows, limits)]
    return sorted(findings, key=lambda finding: finding.severity)


def _pattern_faults(task: Task) -> Iterator[Finding]:
    for i, template in enumerate(task.templates):
        for pattern in (template.input, template.target):
            for match in _GLUED.finditer(pattern):
                message = f"a letter is glued to a slot: {match.group()!r}"
                yield Finding(i, "literal_after_field", "warning", message)
        is_bare = template.target == f"{{{ANSWER_SLOT}}}"
        if template.role == "answer" and task.answer.has_choices and not is_bare:
            message = f"the target {template.target!r} is more than the answer: no option equals it"
            yield Finding(i, "target_not_in_options", "error", message)


def _set_faults(task: Task) -> Iterator[Finding]:
    first: dict[tuple[str, str], int] = {}
    for i, template in enumerate(task.templates):
        same = first.setdefault((_squeezed(template.input), _squeezed(template.target)), i)
        if same != i:
            yield Finding(i, "duplicate_template", "warning", f"the same as template {same}")
    shown = frozenset[str]().union(*(slots(t.input) | slots(t.target) for t in task.templates))
    for name in sorted(set(task.fields) - shown):
        yield Finding(None, "unused_field", "warning", f"no template shows the field {name!r}")
    if len(task.templates) < FEW_TEMPLATES:
        message = f"{len(task.templates)} templates; FLAN has {FEW_TEMPLATES} for each dataset"
        yield Finding(None, "few_templates", "warning", message)
    inverted = len(task.templates) - len(task.answer_templates)
    if inverted > MANY_INVERTED:
        message = f"{inverted} inverted templates; FLAN has at most {MANY_INVERTED}, and none is evaluated"
        yield Finding(None, "inverted_over_three", "warning", message)


class _Fault(NamedTuple):
    code: str
    severity: Severity
    message: str


class _Tally:
    """Faults of rows by place and code: how often, where first, and what was said there."""

    def __init__(self) -> None:
        self._rows: defaultdict[tuple[int | None, str], set[int]] = defaultdict(set)
        self._firsts: dict[tuple[int | None, str], tuple[int, _Fault]] = {}

    def add(self, row: int, template: int | None, fault: _Fault) -> None:
        key = (template, fault.code)
        self._rows[key].add(row)
        self._firsts.setdefault(key, (row, fault))

    def findings(self, num_rows: int) -> Iterator[Finding]:
        for (template, code), (row, fault) in self._firsts.items():
            count = len(self._rows[template, code])
            # Some broken rows are a loss; all of them are a fault of the task.
            is_lost = code == "row_dropped" and count == num_rows
            message = f"{count} of {num_rows} rows; first: {fault.message}"
            yield Finding(template, code, "error" if is_lost else fault.severity, message, row)


def _row_faults(task: Task, rows: Iterable[Mapping[str, Any]], limits: Limits) -> Iterator[Finding]:
    tally = _Tally()
    num_rows = 0
    for r, row in enumerate(rows):
        num_rows += 1
        try:
            seen = instance(task, row)
        except NotAnOption as error:
            tally.add(r, None, _Fault("target_not_in_options", "error", error.message))
        except RowError as error:
            tally.add(r, None, _Fault("row_dropped", "warning", error.message))
        else:
            for fault in _choice_faults(seen.choices):
                tally.add(r, None, fault)
            for i, template in enumerate(task.templates):
                hides_answer = template.role == "answer" and not seen.choices
                for fault in _text_faults(render(seen, template), limits, hides_answer):
                    tally.add(r, i, fault)
    yield from tally.findings(num_rows)


def _choice_faults(choices: tuple[str, ...]) -> Iterator[_Fault]:
    folded = [_squeezed(choice).casefold() for choice in choices]
    for i, choice in enumerate(choices):
        for j in range(i):
            if folded[i] == folded[j]:
                yield _Fault(
                    "duplicate_option",
                    "error",
                    f"{choices[j]!r} and {choice!r} are one choice in two spellings",
                )
            elif folded[i].startswith(folded[j]) or folded[j].startswith(folded[i]):
                short, long = sorted((choices[j], choice), key=len)
                yield _Fault("option_prefix_of_other", "warning", f"{short!r} begins {long!r}")


def _text_faults(rendered: Rendered, limits: Limits, hides_answer: bool) -> Iterator[_Fault]:
    if not rendered.input.strip():
        yield _Fault("blank_input", "error", "the input is blank")
    if not rendered.target.strip():
        yield _Fault("blank_target", "error", "the target is blank")
    if hides_answer and len(rendered.answer) >= TELLING_CHARS and rendered.answer in rendered.input:
        yield _Fault(
            "answer_leaks_into_input", "warning", f"the input holds the answer {rendered.answer[:60]!r}"
        )
    if len(rendered.input) > limits.input_chars:
        message = f"an input of {len(rendered.input)} characters (limit {limits.input_chars}) may be cut"
        yield _Fault("over_length", "warning", message)
    if len(rendered.target) > limits.target_chars:
        message = (
            f"a target of {len(rendered.target)} characters (limit {limits.target_chars}) may be dropped"
        )
        yield _Fault("over_length", "warning", message)


def _squeezed(text: str) -> str:
    return " ".join(text.split())
