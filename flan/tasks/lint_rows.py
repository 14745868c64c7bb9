"""Faults that show only when rows are rendered."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from flan.tasks.lint_findings import Fault, Finding, Limits, RoundTrip, Severity, Tally
from flan.tasks.lint_patterns import pieces
from flan.tasks.lint_tokens import loss
from flan.tasks.options import read_options
from flan.tasks.render import Instance, PassedOver, Rendered, instance, longest_field, render
from flan.tasks.task import AnyTemplate, Task
from flan.tasks.template import ANSWER_SLOT, OPTIONS_SLOT, NotAnOption, RowError, Template, slots

TELLING_CHARS = 40
"""An answer of this length does not stand in a prompt by chance; a shorter one often does."""
SENTENCE_WORDS = 3
"""Shorter values are no sentences: what follows them may be a name."""
_MARKS = ".,;:!?"
_BEHIND = re.compile(r"([\"'”’)\]]*)([.,;:!?])")
_NEXT_SENTENCE = re.compile(r"[\"'”’)]* [A-Z]")
_ARTICLE = re.compile(r"(?<![^\W_])(an?) [\"'“‘(]?\Z", re.IGNORECASE)
_LIKE_CONSONANT = re.compile(r"uni|us[aeiou]|eu|one?\b|once|ubi|ut[aeiou]", re.IGNORECASE)
_LIKE_VOWEL = re.compile(r"hour|honest|honou?r|heir", re.IGNORECASE)


def row_faults(
    task: Task, rows: Iterable[Mapping[str, Any]], limits: Limits, tokenizers: Mapping[str, RoundTrip]
) -> Iterator[Finding]:
    """What is wrong with the rows of a task, and with its templates when they are filled with them."""
    tally = Tally()
    num_rows = 0
    for r, row in enumerate(rows):
        num_rows += 1
        try:
            seen = instance(task, row)
        except NotAnOption as error:
            tally.add(r, None, Fault("target_not_in_options", "error", error.message))
        except RowError as error:
            tally.add(r, None, Fault("row_dropped", "warning", error.message))
        else:
            for fault in (*_choice_faults(task, seen.choices), *_value_faults(seen, tokenizers)):
                tally.add(r, None, fault)
            for i, template in enumerate(task.templates):
                for fault in _rendering_faults(task, seen, template, limits):
                    tally.add(r, i, fault)
    yield from tally.findings(num_rows)


def _choice_faults(task: Task, choices: tuple[str, ...]) -> Iterator[Fault]:
    # In the choices of a row a capital can be the point: the genotypes "SS" and "Ss".
    twice: Severity = "error" if task.fixed_choices else "warning"
    folded = [" ".join(choice.split()).casefold() for choice in choices]
    for i, choice in enumerate(choices):
        for j in range(i):
            if folded[i] == folded[j]:
                message = f"{choices[j]!r} and {choice!r} are one choice in two spellings"
                yield Fault("duplicate_option", twice, message)
            elif folded[i].startswith(folded[j]) or folded[j].startswith(folded[i]):
                short, long = sorted((choices[j], choice), key=len)
                yield Fault("option_prefix_of_other", "warning", f"{short!r} begins {long!r}")


def _value_faults(seen: Instance, tokenizers: Mapping[str, RoundTrip]) -> Iterator[Fault]:
    values = seen.fields | {f"option {i}": choice for i, choice in enumerate(seen.choices)}
    if seen.row is None:  # else only the templates know the answer
        values[ANSWER_SLOT] = seen.answer
    for name, value in values.items():
        if not value.strip():
            yield Fault("blank_field", "warning", f"{name} is blank")
        elif value != value.strip():
            message = f"{name} begins or ends with white space; a preparation can trim it: {value[:30]!r}"
            yield Fault("untrimmed_field", "warning", message)
        for tokenizer, round_trip in tokenizers.items():
            if lost := loss(value, round_trip):
                yield Fault("tokenizer_lossy", "warning", f"{tokenizer} on {name}: {lost}")


def _rendering_faults(task: Task, seen: Instance, template: AnyTemplate, limits: Limits) -> Iterator[Fault]:
    try:
        rendered = render(seen, template)
    except PassedOver as error:
        yield Fault("row_passed_over", "warning", error.message)
        return
    except RowError as error:
        yield Fault("row_dropped", "warning", error.message)
        return
    if not rendered.input.strip():
        yield Fault("blank_input", "error", "the input is blank")
    if not rendered.target.strip():
        yield Fault("blank_target", "error", "the target is blank")
    yield from _length_faults(task, seen, template, rendered, limits)
    if isinstance(template, Template):
        yield from _filling_faults(seen, template, rendered)
    elif rendered.choices and template.role == "answer" and rendered.answer not in rendered.choices:
        message = f"the target {rendered.answer!r} is none of {list(rendered.choices)}"
        yield Fault("target_not_in_options", "warning", message)


def _filling_faults(seen: Instance, template: Template, rendered: Rendered) -> Iterator[Fault]:
    if template.input.endswith(f"{{{OPTIONS_SLOT}}}") and read_options(rendered.input) != seen.choices:
        message = f"the options cannot be read back from the prompt: {list(seen.choices)}"
        yield Fault("options_unreadable", "error", message)
    values = seen.fields | {ANSWER_SLOT: seen.answer}
    for pattern in (template.input, template.target):
        yield from _joint_faults(pattern, values)
    yield from _leaks(template, values, rendered)


def _joint_faults(pattern: str, values: Mapping[str, str]) -> Iterator[Fault]:
    """Faults of grammar where words of the template meet a value."""
    parts = pieces(pattern)
    for (before, slot), (behind, _) in pairwise(parts):
        value = values.get(slot, "").strip()
        if not value:
            continue
        if (match := _BEHIND.match(behind)) and _clash(value[-1], *match.groups()):
            message = f"two marks meet: {value[-20:] + behind[:5]!r}"
            yield Fault("doubled_punctuation", "warning", message)
        if value[-1].isalnum() and len(value.split()) >= SENTENCE_WORDS and _NEXT_SENTENCE.match(behind):
            message = f"one sentence runs into the next: {value[-20:] + behind[:12]!r}"
            yield Fault("run_on", "warning", message)
        if (match := _ARTICLE.search(before)) and _is_wrong(match.group(1), value):
            yield Fault("wrong_article", "warning", f"{match.group() + value[:20]!r}")


def _clash(last: str, closing: str, mark: str) -> bool:
    if not closing:
        return last in _MARKS
    # "Why?". and "Why?", are good English; "So it is.". and "So it is.", are not.
    return last in ",;:" or (last == "." and mark in ".,;:")


def _is_wrong(article: str, value: str) -> bool:
    if not value[0].isalpha() or value.split()[0][:2].isupper():
        return False  # digits and acronyms go by their sound
    starts_with_vowel = value[0].lower() in "aeiou" and not _LIKE_CONSONANT.match(value)
    return (article.lower() == "an") != (starts_with_vowel or bool(_LIKE_VOWEL.match(value)))


def _leaks(template: Template, values: Mapping[str, str], rendered: Rendered) -> Iterator[Fault]:
    is_answer = template.role == "answer"
    code = "answer_leaks_into_input" if is_answer else "target_given_away"
    for slot in sorted(slots(template.target)):
        # To choose, one must see the options.
        is_offered = slot == ANSWER_SLOT and is_answer and bool(rendered.choices)
        value = values[slot]
        if not is_offered and len(value) >= TELLING_CHARS and value in rendered.input:
            yield Fault(code, "warning", f"the input holds {slot} {value[:60]!r}")


def _length_faults(
    task: Task, seen: Instance, template: AnyTemplate, rendered: Rendered, limits: Limits
) -> Iterator[Fault]:
    if len(rendered.input) > limits.input_chars:
        message = f"an input of {len(rendered.input)} characters (limit {limits.input_chars})"
        field = longest_field(task, seen, template)
        what = f"{field!r} would be cut" if field else "it shows no field that could be cut"
        yield Fault("over_length", "warning", f"{message}: {what}")
    if len(rendered.target) > limits.target_chars:
        message = f"a target of {len(rendered.target)} characters (limit {limits.target_chars})"
        yield Fault("over_length", "warning", f"{message} may be dropped")
