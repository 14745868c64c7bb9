"""Which metrics each task of the collection is measured in."""

import pytest

from flan.evaluate.metrics import METRICS, worth
from flan.evaluate.metrics.readout import ANSWER_MARK
from flan.evaluate.metrics.reply import Reply
from flan.tasks.render import instance, render
from flan.tasks.task import Task, load_collection

TASKS = load_collection("flan")
ROUGE = ("rouge_1", "rouge_2", "rouge_lsum")
QA = ("f1", "exact_match")


@pytest.mark.parametrize(
    ("task", "metrics"),
    [
        *(
            (name, ("accuracy",))
            for name in ("anli_r1", "rte", "bool_q", "openbookqa", "copa", "sst2", "trec", "wic")
        ),
        ("cb", ("accuracy", "macro_f1")),
        ("glue_mrpc", ("accuracy", "positive_f1")),
        ("glue_qqp", ("accuracy", "positive_f1")),
        ("cola", ("matthews_correlation", "accuracy")),
        ("stsb", ("pearson_correlation", "spearman_correlation")),
        ("multirc", ("positive_f1", "question_exact_match")),
        ("record", ("accuracy", "exact_match", "f1")),
        ("squad_v1", QA),
        ("squad_v2", QA),
        ("coqa", QA),
        ("drop", (*QA, "drop_f1", "drop_exact_match")),
        ("quac", ("trivia_f1", "trivia_exact_match")),
        ("natural_questions", ("trivia_exact_match", "trivia_f1")),
        ("trivia_qa", ("trivia_exact_match", "trivia_f1")),
        ("math_dataset", ("accuracy", "math_match")),
        ("gsm8k", ("final_answer",)),
    ],
)
def test_a_task_is_measured_as_flan_measures_it(task: str, metrics: tuple[str, ...]) -> None:
    """The paper's tables and the released code; Matthews for CoLA as GLUE has it, where that code has a note."""
    assert TASKS[task].metrics == metrics


@pytest.mark.parametrize(
    ("cluster", "metrics"),
    [
        ("structure_to_text", ROUGE),
        ("summarization", ROUGE),
        ("translation", ("bleu", "bleu_13a")),
        ("text_formatting", ("edit_similarity", "accuracy")),
        ("chain_of_thought", ("final_answer",)),
    ],
)
def test_a_cluster_is_measured_alike(cluster: str, metrics: tuple[str, ...]) -> None:
    """Of summaries all but AG News, which is a classification."""
    of_cluster = {
        task.metrics for task in TASKS.values() if task.cluster == cluster and not _has_choices(task.name)
    }

    assert of_cluster == {metrics}


def _has_choices(name: str) -> bool:
    answer = TASKS[name].answer
    return answer is not None and answer.has_choices


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_the_target_of_a_row_is_a_perfect_reply(task: Task) -> None:
    """What training teaches to write is read by each of the task's metrics, and worth 1, through every template."""
    assert task.example is not None
    row = instance(task, task.example)
    for template in (task.templates[i] for i in task.answer_templates):
        target = render(row, template).target
        choice = row.answer if row.choices else None
        perfect = Reply(target, (target,), row.choices, choice, row.answer, row.value)

        assert all(METRICS[name].is_read(perfect) for name in task.metrics)
        assert set(worth(task.metrics, perfect).values()) <= {1.0}


def test_every_task_with_reasoning_writes_the_mark() -> None:
    """Each template that asks for reasoning ends its target with the mark and the answer, in a line of its own."""
    tasks = [task for task in TASKS.values() if "final_answer" in task.metrics]

    assert {task.cluster for task in tasks} == {"chain_of_thought"}
    for task in tasks:
        for i in task.answer_templates:
            assert task.templates[i].target.endswith(f"\n{ANSWER_MARK} {{answer}}")
