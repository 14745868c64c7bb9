"""The FLAN collection: what holds for each of its files, and that real rows go through them."""

import os
from itertools import combinations
from pathlib import Path

import pytest

from flan.data.rows import Places, Rows, open_rows
from flan.tasks.options import read_options
from flan.tasks.render import instance, render
from flan.tasks.task import Task, collection_folder, load_collection, load_task
from flan.tasks.taxonomy import load_taxonomy
from flan.tasks.template import OPTIONS_SLOT, slots

DATA = os.environ.get("FLAN_DATA")
MAX_ROWS = 200
FILES = sorted(collection_folder("flan").glob("*/*.yaml"))
TASKS = load_collection("flan")
ENTAILMENT = {"anli_r1", "anli_r2", "anli_r3", "cb", "mnli_matched", "qnli", "rte", "snli", "wnli"}
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
    task = load_task(path)

    assert (task.cluster, task.name) == (path.parent.name, path.stem)
    assert task.cluster in load_taxonomy("flan").clusters


def test_clusters_and_neighbours_are_the_papers() -> None:
    """17 clusters; entailment and paraphrase exclude each other, and so do the kinds of comprehension."""
    taxonomy = load_taxonomy("flan")

    assert len(taxonomy.clusters) == 17
    assert taxonomy.neighbours == {
        "common_sense": ("read_comp_and_common_sense",),
        "entailment": ("paraphrase",),
        "paraphrase": ("entailment",),
        "read_comp_and_common_sense": ("common_sense", "reading_comprehension"),
        "reading_comprehension": ("read_comp_and_common_sense",),
    }
    assert {name for name, task in TASKS.items() if task.cluster == "entailment"} == ENTAILMENT


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

    assert set(task.fields) <= used
    assert set(task.answer.labels.values()) == set(task.answer.choices) or not task.answer.labels


@pytest.mark.parametrize("name", LABELS)
def test_labels_mean_what_the_dataset_says(name: str) -> None:
    """A pair of swapped labels would teach the opposite, and every other test would pass."""
    label, choice = LABELS[name]

    assert TASKS[name].answer.labels[label] == choice


def test_every_label_mapping_is_spot_checked() -> None:
    """A new task with labels needs its line in LABELS."""
    assert {name for name, task in TASKS.items() if task.answer.labels} == set(LABELS)


@each_task
def test_provenance_is_written_down(task: Task) -> None:
    """Each file says what it is and under which licence, and owns up to training on evaluation rows."""
    assert task.source.kind == "hub"
    assert task.description and task.licence != "unknown"
    if task.source.splits.get("train", "train") != "train":
        assert "never report a result" in task.description


@pytest.mark.parametrize(
    ("one", "other"),
    [(a.name, b.name) for a, b in combinations(TASKS.values(), 2) if a.family and a.family == b.family],
)
def test_tasks_of_a_family_are_asked_in_the_same_words(one: str, other: str) -> None:
    """Rounds and parts of one dataset share their templates, as in the paper."""
    assert TASKS[one].templates == TASKS[other].templates


@pytest.mark.data
@pytest.mark.skipif(DATA is None, reason="FLAN_DATA is not set")
@each_task
def test_real_rows_go_through_every_template(task: Task) -> None:
    """Rows of every split render through all ten templates, with nothing empty and the answer on offer."""
    for split in task.source.splits:
        rows = open_rows(task, split, Places(Path(str(DATA)), None))
        for row in _spread(rows):
            case = instance(task, row)
            assert all(value.strip() for value in case.fields.values())
            for template in task.templates:
                rendered = render(case, template)
                assert rendered.input.strip() and rendered.target.strip()
                if template.input.endswith(f"{{{OPTIONS_SLOT}}}"):
                    assert read_options(rendered.input) == case.choices
                    assert case.answer in case.choices


def _spread(rows: Rows) -> list[dict[str, object]]:
    """At most MAX_ROWS rows from all over the file: some files are sorted by label."""
    stride = -(-len(rows) // MAX_ROWS)
    return [rows[i] for i in range(0, len(rows), stride)]
