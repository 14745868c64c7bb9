"""The self-made collection: pure rows, values that splits do not share, balanced answers, clean templates."""

import re
import subprocess
import sys
from collections import Counter

import pytest

from flan.errors import NotFound
from flan.spec import canonical_json
from flan.tasks.lint import lint
from flan.tasks.render import Instance, instance, render
from flan.tasks.synthetic import GENERATORS, SPLITS, generate
from flan.tasks.task import SyntheticSource, Task, load_collection

TASKS = load_collection("synthetic")
CHOOSING = sorted(name for name, task in TASKS.items() if task.answer.has_choices)


def source(task: Task) -> SyntheticSource:
    assert isinstance(task.source, SyntheticSource)
    return task.source


def instances(task: Task, split: str, at_most: int = 1_000) -> list[Instance]:
    rows = range(min(source(task).splits[split], at_most))
    return [instance(task, generate(source(task).generator, split, i)) for i in rows]


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def test_the_collection_is_broad_enough_to_hold_a_cluster_out() -> None:
    """At least 18 tasks in 9 clusters, 12 of them with options, of several sizes; each with ten templates."""
    assert len(TASKS) >= 18
    assert len({task.cluster for task in TASKS.values()}) >= 9
    assert len(CHOOSING) >= 12
    assert len({source(task).splits["train"] for task in TASKS.values()}) >= 3
    assert {source(task).splits["validation"] for task in TASKS.values()} == {200}
    assert {len(task.templates) for task in TASKS.values()} == {10}
    assert {source(task).generator for task in TASKS.values()} == set(GENERATORS)


def test_a_row_is_the_same_in_every_process() -> None:
    """No global state and no hash seed decides what is generated."""
    code = (
        "from flan.tasks.synthetic import *\n"
        "from flan.spec import canonical_json\n"
        "print(canonical_json([generate(g, s, i) for g in GENERATORS for s in SPLITS for i in (7, 3)]))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    here = [[generate(g, s, i) for i in (3, 7)][::-1] for g in GENERATORS for s in SPLITS]

    assert other.strip() == canonical_json([row for pair in here for row in pair])


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_no_value_of_a_validation_row_occurs_in_training(name: str) -> None:
    """Column by column, over all rows: what is shared between the splits is the rule alone."""
    columns = GENERATORS[name].values
    train = [generate(name, "train", i) for i in range(3_000)]
    validation = [generate(name, "validation", i) for i in range(200)]

    for column in columns:
        assert not {row[column] for row in train} & {row[column] for row in validation}
    if columns != ("english", "code") and "summands" not in columns:
        values = {row[column] for row in validation for column in columns}
        texts = words(" ".join(str(text) for row in train for text in row.values()))
        assert not values & texts


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_validation_prompt_is_new(name: str) -> None:
    """Through no template does a validation row read like a training row of its own or another direction."""
    task = TASKS[name]
    fields = {tuple(seen.fields.values()) for seen in instances(task, "train", 3_000)}

    assert not fields & {tuple(seen.fields.values()) for seen in instances(task, "validation")}


@pytest.mark.parametrize("name", CHOOSING)
@pytest.mark.parametrize("split", SPLITS)
def test_answers_are_balanced(name: str, split: str) -> None:
    """No answer and no place among the options is right much more often than another."""
    seen = instances(TASKS[name], split)
    answers, places = (
        Counter(one.answer for one in seen),
        Counter(one.choices.index(one.answer) for one in seen),
    )

    assert max(answers.values()) - min(answers.values()) <= max(2, len(seen) // len(answers) // 20)
    assert max(places.values()) <= 1.3 * len(seen) / len(seen[0].choices)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_templates_are_clean_on_generated_rows(name: str) -> None:
    """The collection passes its own lint. Its templates may be alike: few words are learned faster."""
    alike = {"similar_template", "positions_alike", "moods_alike", "no_instruction"}
    rows = [generate(source(TASKS[name]).generator, "train", i) for i in range(200)]

    assert not [finding for finding in lint(TASKS[name], rows) if finding.code not in alike]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_texts_read_well_whatever_the_values(name: str) -> None:
    """No doubled space or mark, no "a" before a vowel, no sentence in the middle of another."""
    task = TASKS[name]
    for seen in [*instances(task, "train", 300), *instances(task, "validation", 100)]:
        for template in task.templates:
            rendered = render(seen, template)
            for text in (rendered.input, rendered.target):
                assert not re.search(r"  |\.\.|\?\?| [.,;?!]|\{|\}", text), text
                assert text == text.strip(), text
            if name != "learner_sentences":
                assert not re.search(r"\b[Aa] [aeiouAEIOU]", rendered.input), rendered.input


def test_a_name_there_is_none_of_is_refused() -> None:
    """Neither a generator nor a split is ever guessed."""
    with pytest.raises(NotFound, match="no generator 'poems'"):
        generate("poems", "train", 0)
    with pytest.raises(NotFound, match="no split 'test'"):
        generate("shop_reviews", "test", 0)
