"""The record of one question: what was asked, what came back, and what that is worth.

Figures can be computed again from records without a model: `reply_of` is what the metrics saw.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flan.evaluate.metrics.reply import Reply
from flan.evaluate.samples import Sample
from flan.tasks.task import Task

if TYPE_CHECKING:  # whoever reads records needs no torch
    from flan.evaluate.answering import Answered


def sample_of(task: Task, split: str, answered: "Answered") -> Sample:
    """The record of one question: what was asked, what came back, and what that is worth."""
    question, reply = answered.question, answered.reply
    sample = {
        "task": task.name,
        "split": split,
        "template": question.template,
        "row": question.row,
        "prompt": question.prompt,
        "was_cut": question.was_cut,
        "num_exemplars": question.num_exemplars,
        "references": question.references,
        "metrics": answered.metrics,
        "is_right": reply.choice == reply.answer if reply.choice else reply.text.strip() in reply.references,
        "reply": {name: value for name, value in reply._asdict().items() if value not in (None, "", ())},
    }
    if answered.options:
        return sample | {
            "options": question.choices,
            **answered.options._asdict(),
            "option_mass": answered.option_mass,
            "is_tied": answered.is_tied,
            "choice": answered.text,
        }
    return sample | {"output": answered.text, "is_finished": answered.is_finished}


def reply_of(sample: Mapping[str, Any]) -> Reply:
    """What the metrics saw of a sample."""
    told = {
        name: tuple(value) if isinstance(value, list) else value for name, value in sample["reply"].items()
    }
    return Reply(**({"text": "", "references": ()} | told))
