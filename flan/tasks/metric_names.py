"""The metrics a task can name, and what each needs of the task. `flan.evaluate.metrics` computes them."""

from collections.abc import Sequence
from typing import Literal

MetricName = Literal[
    "accuracy",
    "exact_match",
    "f1",
    "trivia_exact_match",
    "trivia_f1",
    "drop_exact_match",
    "drop_f1",
    "rouge_1",
    "rouge_2",
    "rouge_l",
    "rouge_lsum",
    "super_ni_rouge_l",
    "super_ni_exact_match",
    "bleu",
    "bleu_13a",
    "edit_similarity",
    "math_match",
    "final_answer",
    "positive_f1",
    "macro_f1",
    "matthews_correlation",
    "question_exact_match",
    "pearson_correlation",
    "spearman_correlation",
]


def unmet_need(metric: MetricName, choices: Sequence[str], groups_by: Sequence[str]) -> str | None:
    """What a task with these fixed `choices` and grouping fields lacks to be measured in `metric`; None: nothing."""
    if metric in ("positive_f1", "matthews_correlation") and len(choices) != 2:
        return f"two fixed choices, the second of them the positive one; the answer has {len(choices)}"
    if metric == "macro_f1" and not choices:
        return "fixed choices; the answer has none"
    if metric in ("pearson_correlation", "spearman_correlation") and not _are_numbers(choices):
        return f"fixed choices that are numbers; the answer has {list(choices)}"
    if metric == "question_exact_match" and not groups_by:
        return "group_by: the fields that the rows of one question share"
    return None


def _are_numbers(choices: Sequence[str]) -> bool:
    try:
        numbers = [float(choice) for choice in choices]
    except ValueError:
        return False
    return len(numbers) > 1 and all(abs(number) < 1e6 for number in numbers)
