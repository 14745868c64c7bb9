"""Faults that the two patterns of a template show by themselves, before any row is seen."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from flan.tasks.lint_findings import Fault
from flan.tasks.task import Task
from flan.tasks.template import ANSWER_SLOT, OPTIONS_SLOT, Template, slots

VALUE = "\ue000"
"""Stands for a value where only what is around it matters: a private-use character, so never a real one."""
_SLOT = re.compile(r"\{\{|\}\}|\{(\w+)\}")
_GLUED = re.compile(rf"[^\W\d_]{VALUE}|{VALUE}[^\W\d_]|{VALUE}{VALUE}")
_ODD_SPACING = re.compile(r"\A\s|\s\Z|[ \t]{2,}|[ \t]\n|\n[ \t]|\n{3,}|[\t\r]")
_DOUBLED = re.compile(
    r"([,;:?!])\1|(?<!\.)\.\.(?!\.)|\.{4,}|,[.;:!?]|[;:][.,!?]|[?!][.,;:]|\.[?!]|\S [,;:?!](?!\S)|\S \.(?![.\w])"
)
_REPEATED = re.compile(r"\b([^\W\d_]+) \1\b", re.IGNORECASE)
_LIST_MARK = re.compile(r"^\W*\w{1,2}\)", re.MULTILINE)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_PRINTF = re.compile(r"%s|%d|\{\}|\{\d\}")
_PAIRS = ("()", "[]", "“”", "«»")
_PLAIN_ANSWERS = frozenset({"yes", "no", "true", "false"})
"""Answers that whoever is asked such a question knows without being told."""


@lru_cache(maxsize=1024)
def pieces(pattern: str) -> tuple[tuple[str, str], ...]:
    """(literal text, the slot behind it) from left to right; the last slot is empty. Braces are unescaped."""
    found, literal, end = [], "", 0
    for match in _SLOT.finditer(pattern):
        literal += pattern[end : match.start()]
        end = match.end()
        if match.group(1):
            found.append((literal, match.group(1)))
            literal = ""
        else:
            literal += match.group()[0]
    return (*found, (literal + pattern[end:], ""))


def skeleton(pattern: str) -> str:
    """The pattern with VALUE in place of each slot."""
    return VALUE.join(literal for literal, _ in pieces(pattern))


def words(text: str) -> tuple[str, ...]:
    """The words of a text in small letters."""
    return tuple(_WORD.findall(text.casefold()))


def pattern_faults(task: Task, template: Template) -> Iterator[Fault]:
    """What is wrong with one template of a task, whatever its rows are."""
    for pattern in (template.input, template.target):
        yield from _spelling_faults(skeleton(pattern))
        yield from _literal_faults(task, pattern)
    yield from _input_faults(task, template)
    yield from _options_faults(task, template)
    yield from _target_faults(task, template)


def _spelling_faults(text: str) -> Iterator[Fault]:
    if match := _GLUED.search(text):
        yield Fault(
            "literal_after_field",
            "warning",
            f"nothing parts a slot from what is beside it: {_near(text, match)}",
        )
    if match := _ODD_SPACING.search(text):
        message = f"blanks or empty lines too many: {_near(text, match)}"
        yield Fault("odd_spacing", "warning", message)
    if match := _DOUBLED.search(text):
        yield Fault("doubled_punctuation", "warning", f"marks that do not go together: {_near(text, match)}")
    if match := _REPEATED.search(text):
        yield Fault("repeated_word", "warning", f"the same word twice: {_near(text, match)}")
    if mark := _unbalanced(text):
        yield Fault("unbalanced", "warning", f"a {mark} without its partner")


def _literal_faults(task: Task, pattern: str) -> Iterator[Fault]:
    text = " ".join(literal for literal, _ in pieces(pattern))
    if odd := next(filter(_is_odd, text), None):
        name = unicodedata.name(odd, "a control character")
        yield Fault("odd_character", "warning", f"U+{ord(odd):04X}, {name}: nobody will see it")
    names = "|".join(sorted({*task.fields, *task.constants, OPTIONS_SLOT, ANSWER_SLOT}))
    forms = rf"\{{\s*({names})\s*\}}|\[({names})\]|<({names})>|\$({names})\b|%\(({names})\)"
    if match := re.search(forms, text) or _PRINTF.search(text):
        message = f"{match.group()!r} is only text: a slot is {{name}}, with one pair of braces"
        yield Fault("unfilled_slot", "error", message)


def _input_faults(task: Task, template: Template) -> Iterator[Fault]:
    shown = slots(template.input)
    if not words(skeleton(template.input)):
        yield Fault("no_instruction", "warning", "the input is nothing but slots: it does not say what to do")
    if not shown & {*task.fields, ANSWER_SLOT}:
        yield Fault(
            "shows_no_field", "warning", "the input shows nothing of the row: every row asks the same"
        )
    column = task.answer.column if task.answer else None
    same_column = [name for name, path in task.fields.items() if path == column]
    for name in sorted(shown & set(same_column)):
        if template.role == "answer":
            message = f"{{{name}}} is column {column!r}, which holds the answer"
            yield Fault("answer_leaks_into_input", "error", message)


def _options_faults(task: Task, template: Template) -> Iterator[Fault]:
    is_shown = OPTIONS_SLOT in slots(template.input)
    if is_shown and not _stands_alone(template.input):
        yield Fault("options_in_line", "warning", "{options_} is a block of lines: give it lines of its own")
    if is_shown and template.role == "inverted":
        message = "the options are answers, but this template asks for something else"
        yield Fault("options_out_of_place", "warning", message)
    if not is_shown and template.role == "answer" and task.has_choices and not _names_choices(task, template):
        message = "the answers to choose from are neither in {options_} nor in the words of the template"
        yield Fault("options_missing", "warning", message)


def _target_faults(task: Task, template: Template) -> Iterator[Fault]:
    asked = slots(template.target)
    if not asked:
        yield Fault("fixed_target", "error", f"every row has the target {template.target!r}")
    if given := sorted(asked & slots(template.input)):
        yield Fault("target_given_away", "error", f"the target's {{{given[0]}}} stands in the input")
    is_bare = template.target == f"{{{ANSWER_SLOT}}}"
    if template.role == "answer" and task.has_choices and not is_bare:
        message = f"the target {template.target!r} is more than the answer: no option equals it"
        yield Fault("target_not_in_options", "error", message)


def _names_choices(task: Task, template: Template) -> bool:
    choices, said = task.fixed_choices, words(skeleton(template.input))
    if choices and all(choice.isdigit() for choice in choices):
        return {choices[0], choices[-1]} <= set(said)  # "from 0 to 5"
    text = f" {' '.join(said)} "
    is_plain = {choice.casefold() for choice in choices} <= _PLAIN_ANSWERS
    return bool(choices) and (is_plain or all(f" {' '.join(words(choice))} " in text for choice in choices))


def _stands_alone(pattern: str) -> bool:
    parts = pieces(pattern)
    return all(
        (not (i or literal) or literal.endswith("\n"))
        and (parts[i + 1][0].startswith("\n") or parts[i + 1 :] == (("", ""),))
        for i, (literal, slot) in enumerate(parts)
        if slot == OPTIONS_SLOT
    )


def _unbalanced(text: str) -> str | None:
    counts = Counter(_LIST_MARK.sub("", text))
    if counts['"'] % 2:
        return '"'
    return next((pair[0] for pair in _PAIRS if counts[pair[0]] != counts[pair[1]]), None)


def _is_odd(character: str) -> bool:
    if character in " \n\t\r":
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Co", "Cn", "Zs") or character == "\ufffd"


def _near(text: str, match: re.Match[str]) -> str:
    """The fault with some characters around it, slots as an ellipsis in braces."""
    return repr(text[max(0, match.start() - 12) : match.end() + 12].replace(VALUE, "{…}"))
