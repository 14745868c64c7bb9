"""Rendered examples as plain JSON lines, each with all that says where it came from.

For a trainer that knows nothing of our documents: `input` and `target` are the texts, the other keys tell
how to render the same pair again (task and template by digest, row by number, renderer by version).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from flan.card import RENDERER_VERSION
from flan.spec import OptionsPolicy
from flan.tasks.options import layout_of
from flan.tasks.render import Instance, instance, render
from flan.tasks.task import Task
from flan.tasks.template import RowError

PerRow = Literal["every", "one"]
"""every: a row is asked through each template. one: through one that the seed draws."""

# Some readers end a line at these, and json.dumps does not escape them.
_OTHER_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}


def export_examples(
    task: Task,
    split: str,
    rows: Iterable[Mapping[str, Any]],
    *,
    seed: int = 0,
    per_row: PerRow = "every",
    options_policy: OptionsPolicy = "flan2021",
    skip: Callable[[int, RowError], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Examples in the order of rows and, within a row, of templates; one row is held at a time.

    Keys, always all and in this order: input, target, task, task_digest, split, row (number from 0), row_id
    (its `id` column, or null), template, template_digest, role, options (in label order; null: free
    text), options_policy, answer, answer_index (into options, or null), references, seed, renderer.
    A row that cannot be rendered goes to `skip`; without one it raises RowError naming task, split and row.
    """
    task_digest = task.digest()
    template_digests = [template.digest() for template in task.templates]
    for number, row in enumerate(rows):
        seen = _seen(task, split, number, row, skip)
        if seen is None:
            continue
        # The layout that an evaluation with this seed draws, too.
        layout = layout_of(options_policy, len(seen.choices), seed, task.name, number)
        for index in _templates(task, split, number, seed, per_row):
            template = task.templates[index]
            rendered = render(seen, template, layout)
            yield {
                "input": rendered.input,
                "target": rendered.target,
                "task": task.name,
                "task_digest": task_digest,
                "split": split,
                "row": number,
                "row_id": _id(row),
                "template": index,
                "template_digest": template_digests[index],
                "role": template.role,
                "options": list(rendered.choices) or None,
                "options_policy": options_policy,
                "answer": rendered.answer,
                "answer_index": rendered.choices.index(rendered.answer) if rendered.choices else None,
                "references": list(rendered.references),
                "seed": seed,
                "renderer": RENDERER_VERSION,
            }


def json_line(example: Mapping[str, Any]) -> str:
    """An example as a line with its end. Only what some reader takes for a line end is escaped in texts."""
    text = json.dumps(example, ensure_ascii=False, allow_nan=False)
    return text.translate(_OTHER_LINE_ENDS) + "\n"


def _seen(
    task: Task,
    split: str,
    number: int,
    row: Mapping[str, Any],
    skip: Callable[[int, RowError], None] | None,
) -> Instance | None:
    try:
        return instance(task, row)
    except RowError as error:
        if skip is None:
            message = f"{task.name}/{split}, row {number}: {error.message}"
            raise type(error)(message, hint=error.hint, **error.values) from error
        skip(number, error)
        return None


def _templates(task: Task, split: str, number: int, seed: int, per_row: PerRow) -> Iterable[int]:
    if per_row == "every":
        return range(len(task.templates))
    key = hashlib.sha256("\x1f".join(map(str, (seed, task.name, split, number))).encode()).digest()
    return (int.from_bytes(key[:8], "big") % len(task.templates),)


def _id(row: Mapping[str, Any]) -> str | int | None:
    value = row.get("id")
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None
