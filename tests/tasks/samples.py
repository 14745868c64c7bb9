"""One small task, to be changed by a test that needs another."""

from typing import Any

from flan.spec import parse
from flan.tasks.task import Task


def review_task(**changes: Any) -> Task:
    """A sentiment task over rows {"text", "label"}, with fields of the document replaced by `changes`."""
    document = {
        "name": "reviews",
        "cluster": "sentiment",
        "source": {"kind": "dataset", "name": "reviews"},
        "fields": {"review": "text"},
        "answer": {"column": "label", "choices": ["negative", "positive"]},
        "metrics": ["accuracy"],
        "templates": [{"input": "{review} Good?\n{options_}"}],
    }
    return parse(Task, document | changes)
