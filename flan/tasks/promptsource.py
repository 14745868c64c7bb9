"""promptsource's templates (Bach et al. 2022): pairs of input and target in Jinja, a YAML file a dataset.

A template keeps its own source and is rendered by the bounded interpreter of flan/tasks/jinja, in promptsource's
order (promptsource/templates.py): guard the row's own `|||`, render the answer choices, render the template, split at
`|||`, strip, restore.

Differences, on purpose: a `|||` inside a list of the row, or inside an answer choice, is guarded too (there it
splits the text into too many parts); random choices are a function of row and template.

The interpreter is loaded when the first such template is read: tasks without one do not wait for it.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from itertools import count
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from flan.faults import Wrong, refuse
from flan.spec import Document, canonical_json

SEPARATOR = "|||"
GUARD = "3ed2dface8203c4c9dfb1a5dc58e41e0"
"""Stands for a row's own `|||`. promptsource's token: some templates split at it by name."""
TRUNCATED_CHARS = 2_048
MAX_JINJA_CHARS = 8_192
Truncation = Literal["promptsource", "none"]
"""promptsource: what a `{{ }}` prints is cut at a word after 2,048 characters, and ends in "...". It is done
to the source, by writing a filter before each `}}`: in `{{ a ~ b }}` it cuts b. none: nothing is cut."""
_CONDITION = re.compile(r"{%[-+]?\s*if\b")
Text = Annotated[str, Field(max_length=256)]
Jinja = Annotated[str, Field(min_length=1, max_length=MAX_JINJA_CHARS)]


class PromptsourceTemplate(Document):
    """One template as promptsource has it. A document of this type can be rendered: its Jinja was read."""

    language: Literal["promptsource"] = "promptsource"
    """How the template is written: promptsource, a part of Jinja."""
    id: Text
    """A uuid. Random choices depend on it."""
    name: Text
    """What promptsource calls it."""
    jinja: Jinja
    """Input, `|||`, target."""
    answer_choices: Jinja | None = None
    """Jinja that prints the choices with `|||` between them."""
    original_task: bool | None = None
    """Whether it asks for what the dataset was made for."""
    choices_in_prompt: bool | None = None
    """Whether the prompt shows the choices, as promptsource says."""
    metrics: tuple[Text, ...] = ()
    """Its metrics, as promptsource names them."""
    languages: tuple[Text, ...] = ()
    """Languages of the prompt, as promptsource names them."""

    @property
    def is_conditional(self) -> bool:
        """Whether it may be one that prints nothing for some rows, by a condition of its own."""
        return _CONDITION.search(self.jinja) is not None

    @property
    def role(self) -> Literal["answer", "inverted"]:
        """Only a template of the original task is evaluated, as T0's are (Sanh et al. 2022, 5)."""
        return "inverted" if self.original_task is False else "answer"

    @model_validator(mode="after")
    def _renderable(self) -> Self:
        from flan.tasks.jinja.program import read_jinja
        from flan.tasks.jinja.run import TemplateRefused

        truncations: tuple[Truncation, ...] = ("promptsource", "none")
        sources = [("jinja", _with_truncation(self.jinja, truncation)) for truncation in truncations]
        sources += [("answer_choices", self.answer_choices)] if self.answer_choices is not None else []
        found: dict[str, Wrong] = {}
        if SEPARATOR not in self.jinja:
            said, hint = (
                f"no {SEPARATOR} parts the input from the target",
                f"write it as input {SEPARATOR} target",
            )
            found["jinja"] = Wrong(("jinja",), "missing_separator", said, hint)
        for name, source in sources:
            try:
                read_jinja(source)
            except TemplateRefused as error:
                found.setdefault(name, Wrong((name,), error.code, error.message, error.hint))
        refuse("PromptsourceTemplate", found.values())
        return self


class RenderedPrompt(NamedTuple):
    """A row asked through one template of promptsource."""

    input: str
    target: str
    choices: tuple[str, ...]
    """In the template's order; empty where it has none."""


def render_promptsource(
    template: PromptsourceTemplate,
    row: Mapping[str, Any],
    *,
    drawn_for: Mapping[str, Any] | None = None,
    truncation: Truncation = "promptsource",
) -> RenderedPrompt | None:
    """`row` through `template`; None where the template skips the row: it then prints nothing at all.

    Each random choice is a function of the row (of `drawn_for` where that is given: the row before a text of
    it was cut), the template's id and how many choices were made before it: the same on every machine, at
    every time, in training, evaluation and serving. Raises RowError naming template and line.
    """
    from flan.tasks.jinja.program import read_jinja
    from flan.tasks.jinja.run import CannotRender

    if "answer_choices" in row:
        raise CannotRender(
            f"template {template.name!r}: the row has a column 'answer_choices', which is reserved"
        )
    draw = seeded_draws(drawn_for or row, template.id)
    try:
        choices = None
        if template.answer_choices is not None:
            printed = read_jinja(template.answer_choices).render(row, draw, _guarded)
            choices = [choice.strip() for choice in printed.split(SEPARATOR)]
        program = read_jinja(_with_truncation(template.jinja, truncation))
        printed = program.render({**row, "answer_choices": choices}, draw, _guarded)
    except CannotRender as error:
        raise CannotRender(f"template {template.name!r}: {error.message}", hint=error.hint) from error
    parts = [_restored(part).strip() for part in printed.split(SEPARATOR)]
    if parts == [""]:
        return None
    if len(parts) != 2:
        raise CannotRender(
            f"template {template.name!r}: {len(parts)} parts where input {SEPARATOR} target are two",
            hint=f"print {SEPARATOR} once, or nothing at all to skip a row",
        )
    return RenderedPrompt(parts[0], parts[1], tuple(map(_restored, choices or ())))


def seeded_draws(row: Mapping[str, Any], template_id: str) -> Callable[[int], int]:
    """A function from n to 0 … n - 1: its k-th call depends on `row`, `template_id` and k alone."""
    numbers = count()
    seed = ""

    def draw(n: int) -> int:
        nonlocal seed
        # Few templates draw: only theirs are the rows that are hashed.
        seed = seed or canonical_json(row)
        digest = hashlib.sha256(f"{seed}\0{template_id}\0{next(numbers)}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % n

    return draw


def _with_truncation(jinja: str, truncation: Truncation) -> str:
    if truncation == "none":
        return jinja
    return jinja.replace("}}", f" | string | truncate({TRUNCATED_CHARS}) }}}}")


def _guarded(text: str) -> str:
    return text.replace(SEPARATOR, GUARD)


def _restored(text: str) -> str:
    return text.replace(GUARD, SEPARATOR)
