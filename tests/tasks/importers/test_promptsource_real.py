"""Every promptsource template at hand, against Jinja2 itself, character by character."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from jinja2.exceptions import TemplateError

from flan.tasks.importers.promptsource import PromptsourceSet, read_promptsource
from flan.tasks.jinja.run import CannotRender
from flan.tasks.promptsource import PromptsourceTemplate, render_promptsource, seeded_draws
from tests.tasks.importers import reference
from tests.tasks.importers.shaped_rows import make_row, shapes

DATA = Path(os.environ.get("FLAN_DATA", "/none"))
ROWS_PER_TEMPLATE = 20
HUB_ROWS = 200
"""Looked at, until enough of them are rendered: many templates skip most rows."""
NUM_TEMPLATES = 617
HUB_FOLDERS = {
    "aeslc": "aeslc",
    "ag_news": "ag_news_subset",
    "ai2_arc/ARC-Challenge": "arc_challenge",
    "ai2_arc/ARC-Easy": "arc_easy",
    "anli": "anli_r3",
    "aqua_rat/raw": "aqua_rat",
    "cnn_dailymail/3.0.0": "cnn_dailymail",
    "common_gen": "common_gen",
    "commonsense_qa": "commonsense_qa",
    "cos_e/v1.0": "cos_e",
    "cos_e/v1.11": "cos_e",
    "cosmos_qa": "cosmos_qa",
    "drop": "drop",
    "e2e_nlg_cleaned": "e2e_nlg",
    "gigaword": "gigaword",
    "hellaswag": "hellaswag",
    "imdb": "imdb_reviews",
    "multi_news": "multi_news",
    "multi_nli": "mnli_matched",
    "openbookqa/main": "openbookqa",
    "paws/labeled_final": "paws_wiki",
    "piqa": "piqa",
    "samsum": "samsum",
    "snli": "snli",
    "squad": "squad_v1",
    "trec": "trec",
    "trivia_qa/unfiltered": "trivia_qa",
    "tydiqa/secondary_task": "tydiqa_goldp_en",
    "web_questions": "web_questions",
    "winograd_wsc/wsc273": "wsc273",
    "winogrande/winogrande_xl": "winogrande",
    "xquad/xquad.en": "squad_v1",
    "xsum": "xsum",
    "yelp_polarity": "yelp_polarity_reviews",
    "yelp_review_full": "yelp_review_full",
}
"""promptsource's dataset → folder of the hub layout with rows of the same columns."""


def _sets() -> list[PromptsourceSet]:
    files = sorted((DATA / "promptsource" / "templates").rglob("*.yaml"))
    return [read_promptsource(file.read_text()) for file in files]


def _name(found: PromptsourceSet) -> str:
    return found.dataset if found.subset is None else f"{found.dataset}/{found.subset}"


def _hub_rows(found: PromptsourceSet) -> list[dict[str, Any]]:
    folder = HUB_FOLDERS.get(_name(found))
    if folder is None:
        return []
    file = sorted((DATA / "hub" / folder).glob("*.jsonl.gz"))[0]
    with gzip.open(file, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    return rows[:: max(1, len(rows) // HUB_ROWS)][:HUB_ROWS]


def _theirs(template: PromptsourceTemplate, row: dict[str, Any]) -> Any:
    copy = json.loads(json.dumps(row))
    draw = seeded_draws(row, template.id)
    try:
        parts, choices = reference.render(template.jinja, template.answer_choices, copy, draw, truncate=True)
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
        return f"error: {error!r}"
    if parts == [""]:
        return None
    if len(parts) != 2:
        return f"error: {len(parts)} parts"
    return (*parts, tuple(choices or ()))


def _ours(template: PromptsourceTemplate, row: dict[str, Any]) -> Any:
    try:
        return render_promptsource(template, row)
    except CannotRender as error:
        return f"error: {error.message}"


def _is_same(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, str) or isinstance(ours, str):
        return isinstance(theirs, str) and isinstance(ours, str)
    return bool(theirs == ours)


def _candidates(found: PromptsourceSet, template: PromptsourceTemplate) -> Iterator[dict[str, Any]]:
    yield from _hub_rows(found)
    each = [source for t in found.templates for source in (t.jinja, t.answer_choices) if source]
    row, random = shapes(each), Random(template.id)
    for _ in range(400):
        yield make_row(row, random)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(900)
def test_templates_render_as_jinja_renders_them(capsys: pytest.CaptureFixture[str]) -> None:
    """At least 95% of the templates import, and each gives Jinja's text, or Jinja's refusal, on 20 rows and more."""
    tally: Counter[str] = Counter()
    refused: dict[str, str] = {}
    different: list[str] = []
    poor: list[str] = []
    for found in _sets():
        refused |= {f"{_name(found)}: {name}": reason for name, reason in found.refused.items()}
        for template in found.templates:
            num_rendered = 0
            for row in _candidates(found, template):
                if num_rendered == ROWS_PER_TEMPLATE:
                    break
                theirs, ours = _theirs(template, row), _ours(template, row)
                # Jinja splits a text at a row's own "|||" inside choices; the importer keeps it whole.
                if isinstance(theirs, str) and "parts" in theirs and "|||" in json.dumps(row):
                    tally["rows with their own |||, split by the reference"] += 1
                elif not _is_same(theirs, ours):
                    different.append(f"{_name(found)}: {template.name}: {theirs!r} != {ours!r} on {row}")
                else:
                    what = (
                        "errors" if isinstance(theirs, str) else "skipped" if theirs is None else "rendered"
                    )
                    tally[f"rows {what}"] += 1
                    num_rendered += what == "rendered"
            tally["templates"] += 1
            if num_rendered < ROWS_PER_TEMPLATE:
                poor.append(f"{_name(found)}: {template.name}: {num_rendered}")
    with capsys.disabled():
        print(f"\n{dict(tally)}; refused {len(refused)}: {refused}")
        print(f"fewer than {ROWS_PER_TEMPLATE} rows rendered: {poor}")

    assert different[:3] == []
    assert len(poor) <= 0.02 * NUM_TEMPLATES
    assert tally["templates"] + len(refused) == NUM_TEMPLATES
    assert tally["templates"] >= 0.95 * NUM_TEMPLATES
