"""The lint of a whole collection: what it says of the one that ships, and what it would say of worse ones."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from flan.data.rows import EmptyDataset, MissingRows, Places, open_rows
from flan.spec import parse
from flan.tasks.lint_collection import (
    CollectionReport,
    Excuse,
    count_clusters,
    lint_collection,
    load_excuses,
)
from flan.tasks.lint_sets import shared_runs
from flan.tasks.task import Task, load_collection
from flan.tasks.taxonomy import Taxonomy, load_taxonomy
from tests.tasks.samples import CLEAN_TEN, review_task

DATA = os.environ.get("FLAN_DATA")
SHIPPED = load_collection("flan")
ROW = {"text": "It is an item.", "label": "positive"}
CLEAN: dict[str, Any] = {"templates": CLEAN_TEN, "example": ROW}
TAXONOMY = parse(Taxonomy, {"clusters": {"sentiment": "Sentiment"}})
PATTERN = "{review}\n\nLet this be told to somebody who knows no other way.\n\n{options_}"


def ten(last: str) -> list[dict[str, Any]]:
    """The clean set in other words, with a last template of its own."""
    others = [
        "{review}\n\nDoes that praise or blame?\n\n{options_}",
        "Sort what was bought by its reception.\n\n{review}\n\n{options_}",
        "{options_}\n\nMark this with one of them:\n\n{review}",
        "Opinion: {review}\nVerdict:\n{options_}",
        "{review}\n\nWhat was it like?\n\n{options_}",
        'Ada read "{review}" Did she smile?\n\n{options_}',
        "Find an adjective for whatever follows here.\n\n{review}\n\n{options_}",
        '{review}\n\nPut "positive" under praise, "negative" under blame.',
    ]
    turned = {"input": "Draft {answer} feedback.", "target": "{review}", "role": "inverted"}
    return [*({"input": pattern} for pattern in others), turned, {"input": last}]


def report(*tasks: Task, taxonomy: Taxonomy = TAXONOMY, excuses: Iterable[Excuse] = ()) -> CollectionReport:
    return lint_collection({task.name: task for task in tasks}, taxonomy, excuses)


def test_the_collection_that_ships_has_no_finding_without_an_excuse() -> None:
    """Neither error nor warning, on the made-up rows; and every excuse is needed."""
    found = lint_collection(SHIPPED, load_taxonomy("flan"), load_excuses("flan"))

    assert found.findings == []
    assert found.excused


def test_every_cluster_is_counted() -> None:
    """Ten templates a set, at most three inverted; variants of a dataset share a set or excuse themselves."""
    counts = count_clusters(SHIPPED, load_taxonomy("flan"))

    assert {count.cluster for count in counts} == set(load_taxonomy("flan").clusters)
    assert sum(count.tasks for count in counts) == len(SHIPPED)
    for count in counts:
        assert count.templates == 10 * count.sets
        assert count.inverted <= 3 * count.sets
        assert count.families <= count.sets <= count.families + 1
        assert 0.2 <= count.instruction_first / count.templates <= 0.8
        assert count.similarity < 0.25


def test_a_clean_collection_has_no_finding() -> None:
    """Two tasks in different words."""
    other = review_task(name="opinions", **CLEAN | {"templates": ten(PATTERN)})

    assert report(review_task(**CLEAN), other).findings == []


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([{"cluster": "moods"}], {("reviews", "unknown_cluster", None), (None, "empty_cluster", None)}),
        ([{"example": None}], {("reviews", "no_example", None)}),
        ([{"templates": CLEAN_TEN[:9]}], {("reviews", "few_templates", None)}),
        (
            [{"templates": [*CLEAN_TEN, {"input": PATTERN}]}],
            {("reviews", "many_templates", None)},
        ),
        (
            [{"templates": [*CLEAN_TEN[:9], {"input": CLEAN_TEN[4]["input"].replace("\n\n", "\n")}]}],
            {("reviews", "duplicate_template", 9)},
        ),
        (
            [{"fields": {"review": "text", "mood": "label"}}],
            {("reviews", "unused_field", None)},
        ),
        ([{"example": {"text": "a"}}], {("reviews", "row_dropped", None)}),
        (
            [
                {"templates": [*CLEAN_TEN[:9], {"input": PATTERN}]},
                {"name": "others", "templates": ten(PATTERN)},
            ],
            {("others", "shared_run", 9)},
        ),
        (
            [{"family": "shops"}, {"name": "others", "family": "shops", "templates": ten(PATTERN)}],
            {("others", "family_differs", None)},
        ),
        (
            [
                {"family": "shops"},
                {"name": "others", "family": "shops", "templates": ten(CLEAN_TEN[4]["input"])},
            ],
            {("others", "family_differs", None), ("others", "similar_template", 9)},
        ),
        (
            [
                {"templates": [*CLEAN_TEN[:9], {"input": "{review}\n\n{options_}"}]},
                {"name": "variant", "templates": [*CLEAN_TEN[:9], {"input": "{review}\n\n{options_}"}]},
            ],
            {("reviews", "no_instruction", 9)},
        ),
    ],
)
def test_a_fault_is_found_in_the_task_it_is_in(
    tasks: list[dict[str, Any]], expected: set[tuple[str | None, str, int | None]]
) -> None:
    """And nothing else is; a list of templates that two tasks share is looked at once."""
    found = report(*(review_task(**CLEAN | changes) for changes in tasks)).findings

    assert {(finding.task, finding.code, finding.template) for finding in found} == expected


def test_what_is_a_warning_for_one_set_is_an_error_in_a_collection() -> None:
    """Nine templates will do for somebody's own task, not for FLAN's."""
    found = report(review_task(**CLEAN | {"templates": CLEAN_TEN[:9]})).findings

    assert [(finding.code, finding.severity) for finding in found] == [("few_templates", "error")]


def test_an_excuse_takes_its_finding_out_and_none_may_be_idle() -> None:
    """The finding moves to the excused ones; when it is gone, its excuse is the error."""
    bare = {"input": "{review}\n\n{options_}"}
    why = "the options say what to do"
    excuse = Excuse(task="reviews", code="no_instruction", templates=(9,), why=why)
    needed = report(review_task(**CLEAN | {"templates": [*CLEAN_TEN[:9], bare]}), excuses=[excuse])
    idle = report(review_task(**CLEAN), excuses=[excuse])

    assert needed.findings == []
    assert [(each.finding.code, each.why) for each in needed.excused] == [("no_instruction", why)]
    assert [(finding.code, finding.severity, finding.template) for finding in idle.findings] == [
        ("idle_excuse", "error", 9)
    ]


def test_an_excuse_is_for_its_own_template_only() -> None:
    """The same fault elsewhere in the set is still found."""
    templates = [*CLEAN_TEN[:3], {"input": "{review}\n\n{options_}"}, *CLEAN_TEN[4:]]
    excuse = Excuse(task="reviews", code="no_instruction", templates=(9,), why="the options say what to do")
    found = report(review_task(**CLEAN | {"templates": templates}), excuses=[excuse]).findings

    assert {(finding.code, finding.template) for finding in found} == {
        ("no_instruction", 3),
        ("idle_excuse", 9),
    }


def test_a_collection_without_excuses_has_none() -> None:
    """The file may be missing."""
    assert load_excuses("synthetic") == ()


@pytest.mark.data
def test_real_rows_have_no_error() -> None:
    """Every row of each split at hand; a row of which a task has no use is a warning."""
    found = lint_collection(SHIPPED, load_taxonomy("flan"), (), real_rows).findings

    assert [finding for finding in found if finding.severity == "error"] == []


@pytest.mark.data
def test_no_template_is_in_the_words_of_promptsource() -> None:
    """No run of eight words is in common with any of its templates."""
    theirs = [_as_slots(source) for source in promptsource()]
    ours = list({template.input for task in SHIPPED.values() for template in task.templates})

    assert len(theirs) > 600
    assert shared_runs(ours, theirs) == []


def real_rows(task: Task) -> list[Mapping[str, Any]]:
    """Every row of each split that is at hand."""
    found: list[Mapping[str, Any]] = []
    for split in task.source.splits:
        try:
            rows = open_rows(task, split, Places(Path(str(DATA)), None))
        except (MissingRows, EmptyDataset):
            continue
        found += [rows[i] for i in range(len(rows))]
    return found


def promptsource() -> list[str]:
    """The source of every template."""

    class Loader(yaml.SafeLoader):
        """Reads their objects as mappings."""

    Loader.add_multi_constructor("!", lambda loader, _, node: loader.construct_mapping(node, deep=True))
    sources = []
    for path in sorted(Path(str(DATA), "promptsource").rglob("templates.yaml")):
        document = yaml.load(path.read_text(), Loader=Loader)
        sources += [template["jinja"] for template in document["templates"].values()]
    return sources


def _as_slots(source: str) -> str:
    """Jinja with a slot for whatever is no text."""
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\|\|\|", "\0", source, flags=re.DOTALL)
    return text.replace("{", "{{").replace("}", "}}").replace("\0", "{x}")
