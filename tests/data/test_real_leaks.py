"""The check on real datasets: every text that is known to be shared between two tasks is found."""

import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from flan.data.leakage import LeakageReport, TrainingRows, find_leakage
from flan.spec import Leakage

HUB = Path(os.environ.get("FLAN_DATA", "/none")) / "hub"
LINE = re.compile(r"^\| (\w+) \| (\w+/\w+) \| (\d+) of \d+ \|$", re.MULTILINE)
NOT_LISTED = ("web_questions", "squad_v1/validation")
"""A training answer that is the title of four held-out rows: the list was made without titles."""

pytestmark = pytest.mark.data


def known_shared() -> dict[tuple[str, str], int]:
    """Training task and held-out split → held-out rows that share a whole text, by the folder's own list."""
    listed = (HUB / "README.md").read_text().partition("## Texts shared between tasks")[2]
    return {(train, held_out): int(rows) for train, held_out, rows in LINE.findall(listed)}


def raw_rows(task: str, split: str) -> list[dict[str, Any]]:
    """The rows of the files of one task whose name begins with `split`."""
    rows: list[dict[str, Any]] = []
    for path in sorted((HUB / task).glob(f"{split}*.jsonl.gz")):
        with gzip.open(path) as file:
            rows += [json.loads(line) for line in file]
    return rows


@pytest.fixture(scope="module")
def report() -> LeakageReport:
    """Every training task of the list against every evaluation file of it."""
    tasks, sources = (sorted(set(names)) for names in zip(*known_shared(), strict=True))
    train = [
        TrainingRows(task, rows, range(len(rows))) for task in tasks if (rows := raw_rows(task, "train"))
    ]
    return find_leakage(train, {source: raw_rows(*source.split("/")) for source in sources}, Leakage())


def test_every_known_shared_text_is_found(report: LeakageReport) -> None:
    """Whole texts: exactly the pairs of the list, each with exactly its number of held-out rows.

    Pairs of a task with itself are not listed, nor looked at here.
    """
    whole = {
        (pair.train, pair.held_out): pair.whole_held_out_rows
        for pair in report.shared
        if pair.whole_held_out_rows and pair.train != pair.held_out.partition("/")[0]
    }

    assert len(known_shared()) > 40
    assert whole == known_shared() | ({NOT_LISTED: 4} if NOT_LISTED in whole else {})


def test_runs_of_words_find_more_than_whole_texts(report: LeakageReport) -> None:
    """Never fewer rows of a pair; more where a text was cut, or stands within another.

    QNLI's sentences are parts of SQuAD's articles: as whole texts only its questions are the same.
    """
    found = {(pair.train, pair.held_out): pair.held_out_rows for pair in report.shared}

    assert all(found[pair] >= rows for pair, rows in known_shared().items())
    assert found["qnli", "squad_v1/validation"] > 4 * known_shared()["qnli", "squad_v1/validation"]


def test_a_stock_phrase_of_examinations_flags_nothing(report: LeakageReport) -> None:
    """What a dozen questions on either side begin with is no passage by itself."""
    passages = [" ".join(each.text.casefold().split()) for pair in report.shared for each in pair.passages]

    assert len(passages) > 100
    assert "which of the following is an example of" not in passages
