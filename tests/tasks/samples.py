"""One small task, to be changed by a test that needs another, and sets of ten templates without fault."""

from typing import Any

from flan.spec import parse
from flan.tasks.task import Task

CLEAN_TEN: list[dict[str, Any]] = [
    {"input": "{review}\n\nIs this review kind or harsh?\n\n{options_}"},
    {"input": "Classify the customer opinion below.\n\n{review}\n\n{options_}"},
    {"input": "{options_}\n\nChoose the label that suits these words:\n\n{review}"},
    {"input": "Review: {review}\nSentiment:\n{options_}"},
    {"input": "{review}\n\nHow did the buyer feel?\n\n{options_}"},
    {"input": 'A shop owner received this: "{review}"\n\nShould they be glad?\n\n{options_}'},
    {"input": "Tell me in one word what mood speaks from this message.\n\n{review}\n\n{options_}"},
    {"input": '{review}\n\nReply "positive" if the author is content and "negative" if not.'},
    {"input": "Invent a {answer} comment on some product.", "target": "{review}", "role": "inverted"},
    {"input": "Was the writer happy?\n\n{review}\n\n{options_}"},
]
"""Of a task with choices."""
FREE_TEN: list[dict[str, Any]] = [
    {"input": "{review}\n\nWho is spoken of here?"},
    {"input": "Name the person in this text.\n\n{review}"},
    {"input": "Text: {review}\nName:"},
    {"input": "{review}\n\nPlease repeat the one name above."},
    {"input": "Whom does the next sentence mention? {review}"},
    {"input": "A clerk must file this under somebody's name: {review}"},
    {"input": "Find out about whom we read the following.\n\n{review}"},
    {"input": "{review}\n\nMay I know whose story that was?"},
    {"input": "Write a sentence that mentions {answer} once.", "target": "{review}", "role": "inverted"},
    {"input": "Look for a proper noun.\n\n{review}"},
]
"""Of a task with free text for answers."""


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
