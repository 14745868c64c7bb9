"""Ablation formats: the same rows without instructions (Wei et al. 2022, 4.3 and appendix B.2).

    instructions    through the task's templates
    dataset_name    a tag that names cluster and task, then the bare input
    no_template     the bare input

The bare input is the fields that the task's own templates ask about, one below the other in the order they
come up there; the target is the answer. So an ablation changes what a row is asked with, and neither the
rows nor the answers.
"""

from flan.errors import FlanError
from flan.spec import PromptFormat
from flan.tasks.task import Task
from flan.tasks.template import Template, slots


class NoFields(FlanError):
    """A task cannot be asked without its own templates."""

    code, blame = "no_fields", "user"


def formatted(task: Task, form: PromptFormat) -> Task:
    """`task` asked in `form`: with its own templates, or with the one that `form` stands for. Raises NoFields."""
    if form == "instructions":
        return task
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
