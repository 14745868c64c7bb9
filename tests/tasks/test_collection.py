"""The FLAN collection: what holds for each of its files, and that real rows go through them."""

import os
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from flan.data.rows import STAND_IN, EmptyDataset, MissingRows, Places, Rows, open_rows
from flan.tasks.lint import lint
from flan.tasks.options import read_options
from flan.tasks.render import instance, render
from flan.tasks.task import Task, collection_folder, load_collection
from flan.tasks.taxonomy import load_taxonomy
from flan.tasks.template import OPTIONS_SLOT, slots

DATA = os.environ.get("FLAN_DATA")
MAX_ROWS = 200
FILES = sorted(collection_folder("flan").glob("*/*.yaml"))
TASKS = load_collection("flan")
OWN_WORDS = {"squad", "opinion_abstracts"}
"""Families whose tasks differ in what they ask: each has templates of its own."""
LATER_CLUSTERS = {"chain_of_thought"}
"""Clusters that FLAN 2021 did not have."""
DROPPED = {"sentiment140": ("sentiment", 2)}
"""Column and value of rows that a task has no answer for."""
LABELS = {
    "ag_news_subset": ("Sci/Tech", "Science/Tech"),
    "anli_r1": ("contradiction", "No"),
    "anli_r2": ("contradiction", "No"),
    "anli_r3": ("contradiction", "No"),
    "bool_q": ("true", "yes"),
    "cb": ("contradiction", "No"),
    "cola": ("acceptable", "acceptable"),
    "glue_mrpc": ("equivalent", "yes"),
    "glue_qqp": ("duplicate", "yes"),
    "imdb_reviews": ("pos", "positive"),
    "mnli_matched": ("contradiction", "no"),
    "mnli_mismatched": ("contradiction", "no"),
    "multirc": ("True", "yes"),
    "paws_wiki": ("1", "yes"),
    "qnli": ("entailment", "yes"),
    "rte": ("entailment", "yes"),
    "sentiment140": ("4", "positive"),
    "snli": ("contradiction", "no"),
    "sst2": ("positive", "positive"),
    "trec": ("NUM", "numeric"),
    "wic": ("True", "the same meaning"),
    "wnli": ("entailment", "yes"),
    "wsc": ("True", "yes"),
    "yelp_polarity_reviews": ("2", "positive"),
}
"""One decisive label of each task, by the dataset's own name, and the answer it stands for."""

each_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def test_every_file_is_a_task_of_its_own() -> None:
    """No file shadows another: as many tasks as files."""
    assert len(TASKS) == len(FILES) >= 51


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_task_lies_where_its_name_and_cluster_say(path: Path) -> None:
    """A task is found by its name, in the folder of its cluster, and the taxonomy knows the cluster."""
    task = TASKS[path.stem]

    assert task.cluster == path.parent.name
    assert task.cluster in load_taxonomy("flan").clusters


def test_clusters_and_neighbours_are_the_papers() -> None:
    """17 clusters, and later ones; entailment and paraphrase exclude each other, as kinds of comprehension do."""
    taxonomy = load_taxonomy("flan")

    assert len(set(taxonomy.clusters) - LATER_CLUSTERS) == 17
    assert taxonomy.neighbours == {
        "common_sense": ("read_comp_and_common_sense",),
        "entailment": ("paraphrase",),
        "paraphrase": ("entailment",),
        "read_comp_and_common_sense": ("common_sense", "reading_comprehension"),
        "reading_comprehension": ("read_comp_and_common_sense",),
    }


def test_lineage_names_each_pair_once() -> None:
    """An edge goes both ways, so written twice it could be changed in one place only."""
    edges = [frozenset((edge.a, edge.b)) for edge in load_taxonomy("flan").lineage]

    assert len(set(edges)) == len(edges)


@each_task
def test_ten_distinct_templates_of_which_at_most_three_are_inverted(task: Task) -> None:
    """The paper's numbers, and no template stands twice."""
    assert len(task.templates) == 10
    assert sum(template.role == "inverted" for template in task.templates) <= 3
    assert len({template.input for template in task.templates}) == 10


@each_task
def test_most_templates_of_a_classification_show_the_options(task: Task) -> None:
    """Otherwise a model could not learn to choose among options it is given."""
    asking = [task.templates[i] for i in task.answer_templates]
    showing = [template for template in asking if OPTIONS_SLOT in slots(template.input)]

    assert len(showing) > len(asking) / 2 or not task.answer.has_choices


@each_task
def test_no_template_shows_what_it_asks_for(task: Task) -> None:
    """The slots of a target never stand in the input of the same template."""
    for template in task.templates:
        assert not slots(template.target) & slots(template.input)


@each_task
def test_every_field_and_every_choice_can_occur(task: Task) -> None:
    """A field no template uses, or a choice no label leads to, is a mistake in the file."""
    used = frozenset().union(*(slots(t.input) | slots(t.target) for t in task.templates))

    assert {*task.fields, *task.constants} <= used
    assert set(task.answer.labels.values()) == set(task.answer.choices) or not task.answer.labels


@pytest.mark.parametrize("name", [name for name in LABELS if name in TASKS])
def test_labels_mean_what_the_dataset_says(name: str) -> None:
    """A pair of swapped labels would teach the opposite, and every other test would pass."""
    label, choice = LABELS[name]

    assert TASKS[name].answer.labels[label] == choice


def test_every_label_mapping_is_spot_checked() -> None:
    """A new task with labels needs its line in LABELS."""
    assert {name for name, task in TASKS.items() if task.answer.labels} <= set(LABELS)


@each_task
def test_provenance_is_written_down(task: Task) -> None:
    """Each file says what it is and under which licence, and takes its splits from the hub's own."""
    assert task.source.kind == "hub"
    assert task.description and task.licence != "unknown"
    origins = {task.source.part(split).split for split in task.source.splits}
    assert not any(origin.startswith(STAND_IN) for origin in origins), "that is a mirror's file, not a split"
    assert not task.source.rows or origins == set(task.source.rows)


@each_task
def test_no_row_is_in_two_splits(task: Task) -> None:
    """What is cut from a split of the hub leaves the rest of it to the others."""
    source = task.source
    assert source.kind == "hub"
    for one, other in combinations((source.part(split) for split in source.splits), 2):
        if one.split == other.split:
            numbers = range(source.rows[one.split])
            parts = [numbers[each.which or slice(None)] for each in (one, other)]
            first, second = sorted(parts, key=lambda part: part[0])
            assert first[-1] < second[0]


def test_a_family_has_more_than_one_task() -> None:
    """`family` is for the variants of a dataset; a task without any is its own kin."""
    families = [task.family for task in TASKS.values() if task.family]

    assert not {family for family in families if families.count(family) < 2}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (a.name, b.name)
        for a, b in combinations(TASKS.values(), 2)
        if a.family and a.family == b.family and a.family not in OWN_WORDS
    ],
)
def test_tasks_of_a_family_are_asked_in_the_same_words(one: str, other: str) -> None:
    """Rounds and parts of one dataset share their templates, as in the paper."""
    assert TASKS[one].templates == TASKS[other].templates


@each_task
def test_its_made_up_row_goes_through_every_template(task: Task) -> None:
    """Pages and previews have something to show of each task, and it is without fault."""
    assert task.example is not None

    assert not [finding for finding in lint(task, [task.example]) if finding.severity == "error"]


@pytest.mark.data
@each_task
def test_its_made_up_row_has_the_columns_of_real_ones(task: Task) -> None:
    """The same names and kinds of values as in one of the splits, so that what holds for it holds for them."""
    shapes = [_shape(rows[0]) for rows in rows_at_hand(task).values()]

    assert not shapes or _shape(task.example) in shapes


def rows_at_hand(task: Task) -> dict[str, Rows]:
    """Split → rows, without the splits that the data folder lacks or has too few rows of."""
    rows = {}
    for split in task.source.splits:
        try:
            rows[split] = open_rows(task, split, Places(Path(str(DATA)), None))
        except (MissingRows, EmptyDataset):
            continue
    return rows


@pytest.mark.data
def test_most_tasks_have_rows_at_hand() -> None:
    """The tests below look at something: at least 51 tasks have rows of one split or more."""
    assert sum(bool(rows_at_hand(task)) for task in TASKS.values()) >= 51


@pytest.mark.data
@each_task
def test_real_rows_go_through_every_template(task: Task) -> None:
    """Rows of every split at hand render through all ten templates, nothing empty and the answer on offer."""
    for rows in rows_at_hand(task).values():
        for row in _spread(task, rows):
            case = instance(task, row)
            assert all(value.strip() for value in case.fields.values())
            for template in task.templates:
                rendered = render(case, template)
                assert rendered.input.strip() and rendered.target.strip()
                if template.input.endswith(f"{{{OPTIONS_SLOT}}}"):
                    assert read_options(rendered.input) == case.choices
                    assert case.answer in case.choices


@pytest.mark.data
@each_task
def test_rows_that_stand_in_are_owned_up_to(task: Task) -> None:
    """Whoever trains on rows of an evaluation split can read that the figures are not the benchmark's."""
    train = rows_at_hand(task).get("train")

    if train is not None and STAND_IN in train.origin:
        assert "not the benchmark's" in task.description


def _spread(task: Task, rows: Rows) -> list[dict[str, Any]]:
    """At most MAX_ROWS rows from all over the file that have an answer: some files are sorted by label."""
    stride = -(-len(rows) // MAX_ROWS)
    column, value = DROPPED.get(task.name, ("", None))
    spread = (rows[i] for i in range(0, len(rows), stride))
    return [row for row in spread if column not in row or row[column] != value]


def _shape(value: Any) -> Any:
    """The types in a value; a list has that of its first item."""
    if isinstance(value, dict):
        return {key: _shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return type(value)
