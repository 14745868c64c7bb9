"""Other forms of asking the same rows than a task's templates (Wei et al. 2022, 4.3 and appendix B.2).

    instructions    through the task's templates
    dataset_name    a tag that names cluster and task, then the bare input
    no_template     the bare input
    continuation    a text that the answer would go on: how a model that was never tuned is asked

The bare input is the fields that the task's own templates ask about, one below the other in the order they
come up there; the target is the answer. So an ablation changes what a row is asked with, and neither the
rows nor the answers. Continuations are written in `continuations.yaml` beside this file; where the answers have
other names there (true for yes), the choices take them.
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from flan.errors import FlanError
from flan.spec import Document, EvaluationFormat, parse
from flan.tasks.task import Task
from flan.tasks.template import Template, slots
from flan.tasks.yaml_text import parse_yaml


class NoFields(FlanError):
    """A task cannot be asked without its own templates."""

    code, blame = "no_fields", "user"


class NoContinuation(FlanError):
    """A task has no prompt for a model that was never tuned."""

    code, blame = "no_continuation", "user"


class Continuation(Document):
    """A text that the answer of a task would go on."""

    input: str
    """The text, with {fields}."""
    choices: dict[str, str] = {}
    """Answer choice → what it is called there."""


class _Continuations(Document):
    tasks: dict[str, Continuation]


@cache
def load_continuations() -> Mapping[str, Continuation]:
    """Task or family → its continuation, for those of the collection that have one."""
    path = Path(str(resources.files("flan.tasks"))) / "continuations.yaml"
    return parse(_Continuations, {"tasks": parse_yaml(path.read_text())}).tasks


def formatted(task: Task, form: EvaluationFormat) -> Task:
    """`task` asked in `form`: with its own templates, or with the one that `form` stands for.

    Raises NoFields, NoContinuation.
    """
    if form == "instructions":
        return task
    if form == "continuation":
        return _continued(task)
    if task.language != "slots":
        raise NoFields(
            f"{task.name} has templates of promptsource alone, which know no fields: it has no form {form!r}",
            hint="leave the task out, or set prompt_format: instructions",
            pointer="/prompt_format",
        )
    tag = f"[{task.cluster.replace('_', ' ')}: {task.name}] " if form == "dataset_name" else ""
    asking = "".join(each.input for each in task.slot_templates if each.role == "answer")
    # Documents keep no order of their fields; the first template to show two of them decides theirs.
    shown = sorted(slots(asking).intersection(task.fields), key=lambda name: asking.index(f"{{{name}}}"))
    bare = "\n".join(f"{{{name}}}" for name in shown)
    return task.model_copy(update={"templates": (Template(input=tag + bare),)})


def _continued(task: Task) -> Task:
    known = load_continuations()
    found = known.get(task.name) or known.get(task.kin)
    if found is None or task.answer is None:
        raise NoContinuation(
            f"{task.name} has no prompt for a model that was never tuned",
            hint="leave the task out, or set prompt_format: no_template",
            pointer="/prompt_format",
        )
    called = {choice: found.choices.get(choice, choice) for choice in task.answer.choices}
    labels = {label: called.get(choice, choice) for label, choice in task.answer.labels.items()}
    answer = task.answer.model_copy(update={"choices": tuple(called.values()), "labels": labels})
    # Such a model does not end: what it writes behind its answer is another text.
    asked = {"templates": (Template(input=found.input),), "answer": answer, "post": "first_line"}
    return task.model_copy(update=asked)
