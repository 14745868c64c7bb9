"""Rows as a model would see them: what an evaluation with the same seed, split and options asks.

Rows are rendered, set behind solved rows, cut and encoded by the functions of training and evaluation. No
weights are needed; with a model's tokenizer the tokens are shown too, and what does not fit is cut or left out
as it would be. Without one there are no lengths: nothing is cut, and every solved row stays.
"""

from collections.abc import Sequence
from typing import NamedTuple

from flan.data.shots import Asking, Prompt, Shots, Solved, solved_row
from flan.data.token_view import TokenPart, token_parts
from flan.data.tokens import (
    ContextExceeded,
    Fitted,
    Reader,
    Tokens,
    TooLong,
    encode_target,
    fit,
    prompt_length,
)
from flan.errors import FlanError
from flan.spec import FewShot, OptionsPolicy
from flan.tasks.exemplars import with_exemplars
from flan.tasks.options import Layout, layout_of
from flan.tasks.render import Instance, Rendered, render, target_of
from flan.tasks.task import Task
from flan.tasks.template import RowError


class Form(NamedTuple):
    """How rows are asked about."""

    options: OptionsPolicy = "flan2021"
    seed: int = 0
    split: str | None = None
    """Which rows are asked; None = rows of no split."""
    input_length: int = 1_024
    """Longest input, in tokens."""
    target_length: int = 256
    """Longest target, in tokens; an answer that is written freely may be as long."""


class CutText(NamedTuple):
    """What of a long field did not fit."""

    field: str
    text: str
    """The end of the field, which the model does not read."""


class TokenView(NamedTuple):
    """An example token by token."""

    parts: tuple[TokenPart, ...]
    num_input: int
    num_target: int
    input_length: int
    """Longest input here, in tokens: what was asked for, or what leaves the model room for an answer."""
    target_fits: bool
    """Whether the target has at most target_length tokens; training leaves an example out whose target has more."""
    cut: CutText | None


class Preview(NamedTuple):
    """A row through a template; or the error that says why it cannot be asked."""

    template: int
    rendered: Rendered | None = None
    exemplars: tuple[int, ...] = ()
    """Numbers of the solved rows before it, in their order."""
    tokens: TokenView | None = None
    error: FlanError | None = None


class GivenShots:
    """Solved rows that someone chose, numbered by their place."""

    def __init__(self, form: Asking, few_shot: FewShot, task: Task, rows: Sequence[Instance]) -> None:
        self._few_shot = few_shot
        self._rows = [solved_row(form, task, place, row) for place, row in enumerate(rows)]

    def at(self, _number: int, query: Instance) -> Solved:
        """The first of them, without those that equal `query`."""
        others = [solved for solved in self._rows if solved.row != query]
        return Solved(self._few_shot, others[: self._few_shot.shots])


def previews(
    task: Task,
    form: Form,
    number: int,
    row: Instance,
    templates: Sequence[int],
    *,
    shots: Shots | GivenShots | None = None,
    model: Reader | None = None,
) -> list[Preview]:
    """Row `number` through some of the task's templates, behind solved rows of `shots`."""
    solved = _solved(shots, form, number, row)
    layout = layout_of(form.options, len(row.choices), form.seed, task.name, number)
    found = []
    for template in templates:
        try:
            if model is None:
                found.append(_text_alone(task, row, template, layout, solved))
            else:
                found.append(_with_tokens(task, form, row, template, layout, solved, model))
        except (RowError, TooLong, ContextExceeded) as error:
            found.append(Preview(template, error=error))
    return found


def _solved(shots: Shots | GivenShots | None, form: Form, number: int, row: Instance) -> Solved | None:
    if isinstance(shots, Shots):
        # A row of a split is known by its number there, as in an evaluation.
        return shots.at(number, row if form.split is None else None)
    return shots.at(number, row) if shots else None


def _text_alone(
    task: Task, row: Instance, template: int, layout: Layout | None, solved: Solved | None
) -> Preview:
    rendered = render(row, task.templates[template], layout)
    if solved is None:
        return Preview(template, rendered)
    through = solved.through(task.templates[template])
    return Preview(template, with_exemplars(rendered, list(through.values()), solved.form), tuple(through))


def _with_tokens(
    task: Task,
    form: Form,
    row: Instance,
    template: int,
    layout: Layout | None,
    solved: Solved | None,
    model: Reader,
) -> Preview:
    asked, contract = task.templates[template], model.card.contract
    num_after = _num_after(task, form, row, template, layout, model)
    length = prompt_length(form.input_length, num_after, model.card)
    fitted = fit(task, row, asked, model.tokenizer, contract, length, layout=layout)
    prompt = Prompt(fitted.rendered.input, fitted.tokens.input_ids, ())
    if solved:
        prompt = solved.before(fitted, asked, length, model.tokenizer, contract)
    rendered = fitted.rendered._replace(input=prompt.text)
    tokens = Tokens(prompt.ids, fitted.tokens.target_ids)
    view = TokenView(
        parts=token_parts(model, tokens, rendered.input, rendered.target),
        num_input=len(tokens.input_ids),
        num_target=len(tokens.target_ids),
        input_length=length,
        target_fits=len(tokens.target_ids) <= form.target_length,
        cut=_cut_text(fitted, row),
    )
    return Preview(template, rendered, prompt.exemplars, view)


def _num_after(
    task: Task, form: Form, row: Instance, template: int, layout: Layout | None, model: Reader
) -> int:
    """For how many tokens a prompt must leave room: for the longest option, or for an answer written freely."""
    asked = task.templates[template]
    if asked.role == "inverted" or not task.has_choices:
        return form.target_length
    rendered = render(row, asked, layout)
    written = [target_of(row, asked, layout, choice) for choice in rendered.choices]
    contract = model.card.contract
    return max((len(encode_target(model.tokenizer, contract, text)) for text in written), default=0)


def _cut_text(fitted: Fitted, row: Instance) -> CutText | None:
    if fitted.cut is None:
        return None
    return CutText(fitted.cut.field, row.fields[fitted.cut.field][fitted.cut.num_chars :])
