"""A row of a task → the question as the model reads it, and what it would write for each answer.

The same functions as in training and evaluation: `render` and `fit`, the solved rows of `flan/data/shots.py`, the
lengths of `flan/data/tokens.py`. So a row that is asked here has the ids it was trained with.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, get_args

from flan.data.shots import Prompt, Solved, solved_row
from flan.data.tokens import Ids, InputTooLong, Reader, encode_target, fit, prompt_length
from flan.errors import FlanError
from flan.serve.messages import TemplateUse
from flan.serve.replies import Rendering
from flan.spec import FewShot, OptionsPolicy
from flan.tasks.formats import formatted
from flan.tasks.options import layout_of
from flan.tasks.render import Instance, instances, question, render, target_of
from flan.tasks.task import Collection, Task, load_collection
from flan.tasks.template import RowError


class NoRowsHere(FlanError):
    """Solved rows are to be drawn where there are no rows."""

    code, blame = "no_rows_here", "user"


class UnknownTask(FlanError):
    """No task of a collection goes by this name."""

    code, blame = "task_unknown", "user"


class NoSuchTemplate(FlanError):
    """A template number that the task does not have."""

    code, blame = "template_unknown", "user"


class Question(NamedTuple):
    """A question as it is put to the model."""

    prompt: Ids
    options: tuple[str, ...]
    """Answers to choose from; none = the answer is free."""
    targets: list[Ids]
    """What the model would write for each option, its end included."""
    rendering: Rendering


class _Form(NamedTuple):
    """What decides how solved rows look."""

    seed: int
    options: OptionsPolicy
    split: str | None = None


def task_of(use: TemplateUse) -> Task:
    """The task whose template is used, in the form that is asked for. Raises UnknownTask."""
    task = use.task if isinstance(use.task, Task) else _task_called(use.task)
    return formatted(task, use.prompt_format)


def templates_of(use: TemplateUse, task: Task) -> tuple[int, ...]:
    """The templates through which a row is put. Raises NoSuchTemplate."""
    if use.number == "all":
        return task.answer_templates
    last = len(task.templates) - 1
    if use.number > last:
        said = f"{task.name} has templates 0 to {last}, not {use.number}"
        raise NoSuchTemplate(said, pointer="/template/number")
    return (use.number,)


def ask(
    model: Reader,
    use: TemplateUse,
    task: Task,
    template: int,
    row: Mapping[str, Any],
    *,
    place: int = 0,
    num_free: int,
    pointer: str = "/input",
) -> Question:
    """`row` through a template of `task`, behind solved rows where `use` has some.

    `place` is its number among the rows of a request; after the prompt there is room for the longest answer choice,
    and for `num_free` tokens that are written freely. Raises RowError and InputTooLong at `pointer`, ContextExceeded,
    NoRowsHere.
    """
    asked, contract = task.templates[template], model.card.contract
    try:
        about = question(task, row, asked)
        layout = layout_of(use.options, len(about.choices), use.seed, task.name, place)
        rendered = render(about, asked, layout)
        options = rendered.choices if asked.role == "answer" and task.has_choices else ()
        texts = [target_of(about, asked, layout, option) for option in options]
        targets = [encode_target(model.tokenizer, contract, text) for text in texts]
        num_after = max([num_free, *map(len, targets)])
        length = prompt_length(use.input_length, num_after, model.card)
        fitted = fit(task, about, asked, model.tokenizer, contract, length, layout=layout)
    except (RowError, InputTooLong) as error:
        error.pointer = pointer
        raise
    prompt = Prompt(fitted.rendered.input, fitted.tokens.input_ids, ())
    solved = _solved(use, task, about)
    if solved is not None:
        prompt = solved.before(fitted, asked, length, model.tokenizer, contract)
    return Question(
        prompt=prompt.ids,
        options=options,
        targets=targets,
        rendering=Rendering(
            task=task.name,
            template=template,
            prompt=prompt.text,
            targets=tuple(texts),
            exemplars=prompt.exemplars,
            cut_field=fitted.cut.field if fitted.cut else None,
            cut_to=fitted.cut.num_chars if fitted.cut else None,
        ),
    )


def _solved(use: TemplateUse, task: Task, about: Instance) -> Solved | None:
    if use.exemplars is None:
        if use.few_shot is not None:
            raise NoRowsHere(
                "solved rows are drawn where the task's rows are, on a platform",
                hint="give them: template.exemplars", pointer="/template/few_shot",
            )  # fmt: skip
        return None
    form = _Form(use.seed, use.options)
    few_shot = use.few_shot or FewShot(shots=len(use.exemplars))
    numbers = use.exemplar_numbers or range(len(use.exemplars))
    rows = [
        solved_row(form, task, number, exemplar)
        for number, exemplar in zip(
            numbers, instances(task, use.exemplars, "/template/exemplars"), strict=True
        )
    ]
    others = [solved for solved in rows if solved.row.fields != about.fields]
    return Solved(few_shot, others[: few_shot.shots])


@cache
def _task_called(name: str) -> Task:
    for collection in get_args(Collection):
        if (task := load_collection(collection).get(name)) is not None:
            return task
    raise UnknownTask(
        f"there is no task {name!r} in a collection", hint="give the task itself", pointer="/template/task"
    )
