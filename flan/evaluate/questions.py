"""Which prompts an evaluation asks: rows × answer templates of a task, fitted to the model.

The rows are a seeded sample that depends on the spec's seed, the task and the split alone: the same for
every template and every model.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Literal, NamedTuple

from flan.data.mixture import sample
from flan.data.rows import Rows, UnreadableRow
from flan.data.shots import Prompt, Shots, Solved
from flan.data.tokens import (
    Ids,
    InputTooLong,
    Reader,
    encode_continued,
    encode_target,
    fit,
    prompt_length,
)
from flan.errors import FlanError
from flan.spec import EvaluateSpec
from flan.tasks.options import layout_of
from flan.tasks.post import PostProcessing
from flan.tasks.render import Instance, instance, render, target_of
from flan.tasks.task import Task
from flan.tasks.template import NotAnOption, RowError

Scoring = Literal["rank", "generate"]


class NoChoices(FlanError):
    """Rank classification was asked of a task with free text answers."""

    code, blame = "no_choices", "user"


class Question(NamedTuple):
    """A row asked through a template."""

    template: int
    row: int
    prompt: str
    prompt_ids: Ids
    was_cut: bool
    num_exemplars: int
    """Solved rows before it."""
    choices: tuple[str, ...]
    option_ids: tuple[Ids, ...]
    """What the model would write for each choice, its end included; empty where it is to write itself."""
    answers: tuple[str, ...]
    """Acceptable answers, as the row has them."""
    references: tuple[str, ...]
    """What a right reply looks like: an answer, or the target it would be where the model writes itself."""
    choice_texts: tuple[str, ...] = ()
    """What a reply that makes each choice looks like, where the model writes itself."""
    names: tuple[str, ...] = ()
    """What metrics call the choices; empty: what they are."""
    num_bytes: tuple[int, ...] = ()
    """In UTF-8, of what the model would write for each choice, where it is not to write itself."""
    value: float | None = None
    group: tuple[str, ...] = ()
    """The same for every row of one question."""
    post: PostProcessing = "as_written"
    """What of a text that the model writes itself is compared."""


class Asked(NamedTuple):
    """A row through every template."""

    questions: list[Question]
    skipped: list[int]
    """Templates through which the row could not be asked about: it is broken, or too long for the model."""


def scoring_of(spec: EvaluateSpec, task: Task) -> Scoring:
    """How the task is answered. Raises NoChoices."""
    if spec.scoring == "auto":
        return "rank" if task.has_choices else "generate"
    if spec.scoring == "rank" and not task.has_choices:
        raise NoChoices(
            f"{task.name} has no answer choices to rank",
            hint="set scoring: auto, or leave the task out",
            pointer="/scoring",
            task=task.name,
        )
    return spec.scoring


def templates_of(spec: EvaluateSpec, task: Task) -> tuple[int, ...]:
    """Indices of the templates that are used: the first ones that ask for the answer, never an inverted one."""
    return task.answer_templates[: spec.templates_per_task]


def rows_of(spec: EvaluateSpec, task: Task, num_rows: int) -> list[int]:
    """Numbers of the rows that are measured, in rising order."""
    count = num_rows if spec.limit is None else spec.limit
    return [int(i) for i in sample(num_rows, count, spec.seed, "evaluate", task.name, spec.split)]


def ask(
    spec: EvaluateSpec,
    task: Task,
    rows: Rows,
    model: Reader,
    shots: Shots | None = None,
    only: Collection[int] = (),
) -> Iterator[Asked]:
    """Every question of a task, row by row, behind solved rows of `shots`. Raises NoChoices, ContextExceeded.

    With `only`, about the rows of these numbers alone.
    """
    scoring = scoring_of(spec, task)
    templates = templates_of(spec, task)
    for number in rows_of(spec, task, len(rows)):
        if only and number not in only:
            continue
        try:
            row = instance(task, rows[number])
        except (RowError, UnreadableRow):
            yield Asked([], list(templates))
            continue
        asked = Asked([], [])
        solved = shots.at(number) if shots else None
        for template in templates:
            try:
                question = _question(spec, task, row, template, number, scoring, model, solved)
                asked.questions.append(question)
            except (InputTooLong, RowError):
                asked.skipped.append(template)
        yield asked


def _question(
    spec: EvaluateSpec,
    task: Task,
    row: Instance,
    template: int,
    number: int,
    scoring: Scoring,
    model: Reader,
    solved: Solved | None,
) -> Question:
    tokenizer, card = model.tokenizer, model.card
    chosen = task.templates[template]
    # The same for every template and model, and for every answer of the row.
    layout = layout_of(spec.options, len(row.choices), spec.seed, task.name, number)
    rendered = render(row, chosen, layout)

    def written(answers: Sequence[str]) -> tuple[str, ...]:
        return tuple(target_of(row, chosen, layout, answer) for answer in answers)

    options = rendered.choices if scoring == "rank" else ()
    if options and (rendered.answer not in options or len(set(options)) < len(options)):
        raise NotAnOption(f"{rendered.answer!r} is not one of {list(options)}")
    option_texts = written(options)
    option_ids = tuple(encode_target(tokenizer, card.contract, text) for text in option_texts)
    num_after = max(map(len, option_ids)) if option_ids else spec.max_new_tokens
    length = prompt_length(spec.input_length, num_after, card)
    fitted = fit(task, row, chosen, tokenizer, card.contract, length, layout=layout)
    prompt = Prompt(fitted.rendered.input, fitted.tokens.input_ids, ())
    if solved:
        prompt = solved.before(fitted, chosen, length, tokenizer, card.contract)
    prompt_ids = prompt.ids
    if spec.prompt_format == "continuation":
        between = spec.few_shot.before_target if spec.few_shot else " "
        prompt_ids, option_ids = encode_continued(
            tokenizer, card.contract, prompt.text, option_texts, between
        )
    return Question(
        template=template,
        row=number,
        prompt=prompt.text,
        prompt_ids=prompt_ids,
        was_cut=fitted.was_cut,
        num_exemplars=len(prompt.exemplars),
        choices=rendered.choices,
        option_ids=option_ids,
        num_bytes=tuple(len(text.encode()) for text in option_texts),
        answers=rendered.references,
        references=rendered.references if scoring == "rank" else written(rendered.references),
        choice_texts=() if scoring == "rank" else written(rendered.choices),
        names=row.names,
        value=row.value,
        group=tuple(row.fields[name] for name in task.group_by),
        post="as_written" if scoring == "rank" else task.post,
    )
