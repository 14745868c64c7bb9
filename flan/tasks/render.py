"""Row → text: the one renderer of training, evaluation and serving.

Pure: no file, clock or random number. Whatever changes what is rendered here raises
`flan.card.RENDERER_VERSION`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flan.tasks.options import FLAN_2021, Layout, write_options
from flan.tasks.prepare import PREPARATIONS
from flan.tasks.promptsource import PromptsourceTemplate, render_promptsource
from flan.tasks.task import Answer, AnyTemplate, Task
from flan.tasks.template import (
    ANSWER_SLOT,
    OPTIONS_SLOT,
    NotAnOption,
    RowError,
    Template,
    fill,
    slots,
)

_WORD = re.compile(r"\w+")


class PassedOver(RowError):
    """A template of promptsource asks nothing about this row: it is made for others."""


class Instance(NamedTuple):
    """A row as the task sees it.

    With templates of promptsource only these know choices and answer: the fields are the row's columns of
    text, and `row` is all of it.
    """

    fields: dict[str, str]
    choices: tuple[str, ...]
    """In label order; empty for free text."""
    answer: str
    references: tuple[str, ...]
    """Every acceptable answer, `answer` first."""
    names: tuple[str, ...] = ()
    """What metrics call the choices, in their order; empty where that is their own text."""
    value: float | None = None
    """The answer as a number, where the task says which column has it."""
    row: Mapping[str, Any] | None = None
    """All of it, for templates that read columns themselves."""


class Rendered(NamedTuple):
    """An instance asked through one template."""

    input: str
    target: str
    choices: tuple[str, ...]
    answer: str
    references: tuple[str, ...]


def instance(task: Task, row: Mapping[str, Any]) -> Instance:
    """The fields, choices and answer of a raw row. Raises RowError naming column and value."""
    if task.prepare is not None:
        row = _prepared(task.prepare, row)
    if task.answer is None:
        texts = {name: value for name, value in row.items() if isinstance(value, str)}
        return Instance(texts, (), "", (), row=row)
    fields = {name: _text(_column(row, path), path) for name, path in task.fields.items()} | task.constants
    choices = task.answer.choices or _row_choices(task.answer, row)
    answer = _answer(task.answer, row, choices)
    if choices and answer not in choices:
        raise NotAnOption(
            f"answer {answer!r} is not among the options {list(choices)}",
            hint="map what the column holds to a choice under answer.labels",
        )
    more = _texts(row, task.answer.references_from) if task.answer.references_from else ()
    references = tuple(dict.fromkeys((answer, *more)))
    names, value = _names(task.answer, row, choices), _value(task.answer, row)
    return Instance(fields, choices, answer, references, names=names, value=value)


def instances(task: Task, rows: Sequence[Mapping[str, Any]], pointer: str) -> list[Instance]:
    """Rows that came with a request, as the task sees them. Raises RowError that points at the row."""
    found = []
    for place, row in enumerate(rows):
        try:
            found.append(instance(task, row))
        except RowError as error:
            error.pointer = f"{pointer}/{place}"
            raise
    return found


def question(task: Task, row: Mapping[str, Any], template: AnyTemplate) -> Instance:
    """`row` as someone asks about it who does not know its answer: what `template` does not show may be missing.

    The answer, where it is missing or none that can be, is the first choice, or empty: it stands in targets
    alone, never in a prompt. A template that shows the answer, an inverted one, needs it. Raises RowError.
    """
    if task.answer is None:
        return instance(task, row)
    if task.prepare is not None:
        row = _prepared(task.prepare, row)
    shown = slots(template.input) if isinstance(template, Template) else frozenset()
    fields = {
        name: _text(_column(row, path), path) if name in shown else _text_if_there(row, path)
        for name, path in task.fields.items()
    }
    choices = task.answer.choices or _row_choices(task.answer, row)
    try:
        answer = _answer(task.answer, row, choices)
    except RowError:
        if ANSWER_SLOT in shown:
            raise
        answer = next(iter(choices), "")
    return Instance(fields | task.constants, choices, answer, (answer,))


def render(instance: Instance, template: AnyTemplate, layout: Layout | None = FLAN_2021) -> Rendered:
    """`instance` through `template`, its options laid out as `layout` says.

    Without a layout their slot is left out and the ends are trimmed. Where the layout tells the choices apart
    and the template shows them, the target names the answer by its mark. A template of promptsource lays its
    options out itself; only it can raise RowError, because it cannot ask about this row.
    """
    if isinstance(template, PromptsourceTemplate):
        return _printed(instance, template)
    shows_options = OPTIONS_SLOT in slots(template.input)
    values = {**instance.fields, ANSWER_SLOT: instance.answer, OPTIONS_SLOT: ""}
    if layout is None:
        prompt = fill(template.input, values).strip()
    else:
        if shows_options:
            values[OPTIONS_SLOT] = write_options(instance.choices, layout)
        prompt = fill(template.input, values)
        if layout.tells_apart and shows_options and instance.answer in instance.choices:
            values[ANSWER_SLOT] = layout.name_of(instance.choices.index(instance.answer))
    target = fill(template.target, values)
    return Rendered(prompt, target, instance.choices, instance.answer, instance.references)


def target_of(instance: Instance, template: AnyTemplate, layout: Layout | None, answer: str) -> str:
    """What is to be written through `template` where `answer`, one of the row's, is the right one."""
    if isinstance(template, PromptsourceTemplate):
        return answer
    return render(instance._replace(answer=answer), template, layout).target


def longest_field(task: Task, instance: Instance, template: AnyTemplate) -> str | None:
    """The field to cut when the prompt is too long: the task's long field, else the longest one shown."""
    if isinstance(template, PromptsourceTemplate):
        words = set(_WORD.findall(template.jinja))
        shown = [name for name in instance.fields if name in words]
    else:
        shown = [name for name in instance.fields if name in slots(template.input)]
    if task.long_field in shown:
        return task.long_field
    return max(shown, key=lambda name: len(instance.fields[name]), default=None)


def _printed(instance: Instance, template: PromptsourceTemplate) -> Rendered:
    assert instance.row is not None, "the task has templates of promptsource"
    # The fields stand over the row: one of them may have been cut.
    found = render_promptsource(template, {**instance.row, **instance.fields}, drawn_for=instance.row)
    # T0 drops what has a blank side, too.
    if found is None or not (found.input and found.target):
        raise PassedOver(f"template {template.name!r} passes over this row")
    return Rendered(found.input, found.target, found.choices, found.target, (found.target,))


def _prepared(name: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return PREPARATIONS[name](row)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise RowError(
            f"preparation {name!r} cannot read the row with {sorted(row)}: {error!r}",
            hint="flan/tasks/prepare says which columns it expects",
        ) from error


def _column(row: Mapping[str, Any], path: str) -> Any:
    value: Any = row
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            columns = sorted(row)
            raise RowError(f"no column {path!r}; the row has {columns}", column=path) from error
    return value


def _text(value: Any, path: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise RowError(f"column {path!r} holds {type(value).__name__}, not text", column=path)


def _text_if_there(row: Mapping[str, Any], path: str) -> str:
    try:
        return _text(_column(row, path), path)
    except RowError:
        return ""


def _texts(row: Mapping[str, Any], path: str) -> tuple[str, ...]:
    values = _column(row, path)
    if not isinstance(values, list):
        raise RowError(f"column {path!r} holds {type(values).__name__}, not a list", column=path)
    return tuple(_text(value, path) for value in values)


def _row_choices(answer: Answer, row: Mapping[str, Any]) -> tuple[str, ...]:
    if answer.choices_from is None:
        return ()
    # One line each: a line break inside a choice would end it in the OPTIONS block.
    choices = tuple(" ".join(text.split()) for text in _texts(row, answer.choices_from))
    if len(set(choices)) < len(choices) or not choices:
        raise RowError(f"choices {list(choices)} are not distinct", column=answer.choices_from)
    return choices


def _names(answer: Answer, row: Mapping[str, Any], choices: Sequence[str]) -> tuple[str, ...]:
    if answer.names_from is None:
        return ()
    names = _texts(row, answer.names_from)
    if len(names) != len(choices):
        raise RowError(f"{len(names)} names for {len(choices)} choices", column=answer.names_from)
    return names


def _value(answer: Answer, row: Mapping[str, Any]) -> float | None:
    if answer.value_from is None:
        return None
    value = _column(row, answer.value_from)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RowError(
            f"column {answer.value_from!r} holds {value!r}, not a number", column=answer.value_from
        )
    return float(value)


def _answer(answer: Answer, row: Mapping[str, Any], choices: tuple[str, ...]) -> str:
    value = _column(row, answer.column)
    if answer.keys_from is not None:
        keys = _texts(row, answer.keys_from)
        if value not in keys:
            raise RowError(f"answer {value!r} is none of the keys {list(keys)}", column=answer.column)
        return choices[keys.index(value)]
    if answer.choices_from is not None and isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(choices):
            raise RowError(f"answer {value} is no index into {len(choices)} choices", column=answer.column)
        return choices[value]
    text = str(value).lower() if isinstance(value, bool) else _text(value, answer.column)
    if answer.labels:
        if text not in answer.labels:
            raise RowError(f"label {text!r} is none of {sorted(answer.labels)}", column=answer.column)
        return answer.labels[text]
    return " ".join(text.split()) if choices else text
