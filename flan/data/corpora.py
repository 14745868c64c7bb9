"""The texts of a corpus as tasks: rows are pieces, so pins, draws, counts and resuming are those of any task."""

from flan.data.rows import MissingSplit
from flan.data.selectors import Library
from flan.spec import CorpusText, parse
from flan.tasks.task import Task

CLUSTER = "corpus"
"""The cluster of every text. No taxonomy has it: plain text is held out from nothing and adjacent to nothing."""


def corpus_task(text: CorpusText, piece_chars: int, library: Library) -> Task:
    """The task of one text, in pieces of at most so many characters. Raises NotFound, MissingSplit."""
    source = {
        "kind": "corpus",
        "column": text.column,
        "documents": text.documents,
        "piece_chars": piece_chars,
    }
    if text.uploaded is None:
        source["name"] = text.name
    else:
        dataset = library.dataset(text.uploaded)
        if text.split not in dataset.splits:
            raise MissingSplit(
                f"dataset {dataset.name} has no split {text.split!r}", hint=f"it has {sorted(dataset.splits)}"
            )
        source["name"] = dataset.name.partition("@")[0]
        source["dataset"] = dataset.model_dump(mode="json")
        source["splits"] = {"train": text.split}
    return parse(
        Task,
        {
            "name": source["name"],
            "cluster": CLUSTER,
            "description": "Plain text in pieces.",
            "source": source,
            "fields": {"text": "text"},
            "answer": {"column": "text"},
            "metrics": ["exact_match"],
            "templates": [{"input": "{text}"}],
        },
    )
