"""What changed between two versions of a template set."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

from flan.tasks.task import AnyTemplate, Task

Kind = Literal["added", "removed", "changed", "moved"]


class TemplateChange(NamedTuple):
    """What became of one template; `before` and `after` are its numbers, where it is there."""

    change: Kind
    before: int | None
    after: int | None
    diff: str
    """Its lines as a unified diff."""


class FieldChange(NamedTuple):
    """A place of the document that says something else; what says nothing is None."""

    pointer: str
    before: Any
    after: Any


def template_changes(before: Task, after: Task) -> list[TemplateChange]:
    """The templates of which text or number is another, in order.

    A template is known by its text, and where that changed by its place between two that did not: so one put in
    front leaves the others what they are. One whose text is found elsewhere has moved.
    """
    old, new = (["\n".join(_lines(each)) for each in task.templates] for task in (before, after))
    pairs: list[tuple[int | None, int | None]] = []
    for these, those in _between_anchors(old, new):
        matcher = difflib.SequenceMatcher(
            None, [old[i] for i in these], [new[j] for j in those], autojunk=False
        )
        for kind, a, b, c, d in matcher.get_opcodes():
            if kind != "equal":
                pairs += zip_longest(these[a:b], those[c:d])
    pairs = _with_moves(pairs, old, new)
    return [_change(i, j, old, new) for i, j in pairs]


def field_changes(before: Task, after: Task) -> list[FieldChange]:
    """Everything else that is another, by its place; lists are compared whole."""
    documents = (task.model_dump(mode="json", exclude={"templates"}) for task in (before, after))
    return list(_differing("", *documents))


def _between_anchors(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[range, range]]:
    """The numbers on both sides between two templates that are the same under the same number."""
    anchors = [i for i, (before, after) in enumerate(zip(old, new, strict=False)) if before == after]
    start = 0
    for anchor in anchors:
        yield range(start, anchor), range(start, anchor)
        start = anchor + 1
    yield range(start, len(old)), range(start, len(new))


def _with_moves(
    pairs: Sequence[tuple[int | None, int | None]], old: Sequence[str], new: Sequence[str]
) -> list[tuple[int | None, int | None]]:
    """`pairs`, where a text that went in one place and came up in another is one pair."""
    came = {new[j]: j for _, j in pairs if j is not None}
    moves = {i: came.pop(old[i]) for i, _ in pairs if i is not None and old[i] in came}
    arrived = set(moves.values())
    found: list[tuple[int | None, int | None]] = []
    for i, j in pairs:
        if i in moves:
            found.append((i, moves[i]))
            i = None
        j = None if j in arrived else j
        if i is not None or j is not None:
            found.append((i, j))
    return found


def _change(i: int | None, j: int | None, old: Sequence[str], new: Sequence[str]) -> TemplateChange:
    kind: Kind = "added" if i is None else "removed" if j is None else "changed"
    a, b = ("" if i is None else old[i]), ("" if j is None else new[j])
    if a == b:
        return TemplateChange("moved", i, j, "")
    lines = difflib.unified_diff(a.splitlines(), b.splitlines(), _title(i), _title(j), lineterm="")
    return TemplateChange(kind, i, j, "\n".join(lines))


def _title(number: int | None) -> str:
    return "no template" if number is None else f"template {number}"


def _lines(template: AnyTemplate) -> Iterator[str]:
    """A template as lines: each field that says something, long texts below their name."""
    for name, value in template.model_dump(mode="json", exclude_none=True).items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        if "\n" in text:
            yield f"{name}: |"
            yield from (f"  {line}" for line in text.split("\n"))
        elif text:
            yield f"{name}: {text}"


def _differing(pointer: str, before: Any, after: Any) -> Iterator[FieldChange]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys([*before, *after]):
            place = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
            yield from _differing(place, before.get(name), after.get(name))
    else:
        yield FieldChange(pointer, before, after)
