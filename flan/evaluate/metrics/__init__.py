"""What replies are worth, from 0 to 1, or from -1 for correlations; 1 is best. Tables show it times 100.

A metric is a mean over rows (RowMetric) or a figure of all rows at once (CorpusMetric). Both can be asked for
the figure of a weighted sample, which is what an interval is made of.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from flan.evaluate.metrics.classes import (
    is_choice,
    macro_f1,
    matthews_correlation,
    positive_f1,
    question_exact_match,
)
from flan.evaluate.metrics.correlation import is_number, pearson, spearman
from flan.evaluate.metrics.drop import drop_exact_match, drop_f1
from flan.evaluate.metrics.edits import edit_similarity
from flan.evaluate.metrics.ngrams import bleu, bleu_signature, rouge, rouge_settings, super_ni_rouge
from flan.evaluate.metrics.readout import final_answer, has_answer, is_number_where_due, math_match
from flan.evaluate.metrics.reply import CorpusMetric, Reply, RowMetric
from flan.evaluate.metrics.words import (
    accuracy,
    exact_match,
    f1,
    squad_normalised,
    super_ni_normalised,
    trivia_normalised,
)
from flan.tasks.metric_names import MetricName

_CORRELATION = (-1.0, 1.0)

METRICS: Mapping[MetricName, RowMetric | CorpusMetric] = {
    "accuracy": RowMetric(worth=accuracy),
    "exact_match": RowMetric(worth=partial(exact_match, normaliser=squad_normalised)),
    "f1": RowMetric(worth=partial(f1, normaliser=squad_normalised), version=2),
    "trivia_exact_match": RowMetric(worth=partial(exact_match, normaliser=trivia_normalised)),
    "trivia_f1": RowMetric(worth=partial(f1, normaliser=trivia_normalised)),
    "drop_exact_match": RowMetric(worth=drop_exact_match),
    "drop_f1": RowMetric(worth=drop_f1),
    "rouge_1": RowMetric(worth=partial(rouge, kind="rouge1"), tool=rouge_settings),
    "rouge_2": RowMetric(worth=partial(rouge, kind="rouge2"), tool=rouge_settings),
    "rouge_l": RowMetric(worth=partial(rouge, kind="rougeL"), tool=rouge_settings),
    "rouge_lsum": RowMetric(worth=partial(rouge, kind="rougeLsum"), tool=rouge_settings),
    "super_ni_rouge_l": RowMetric(
        worth=super_ni_rouge, tool=partial(rouge_settings, stemming="Porter stemming")
    ),
    "super_ni_exact_match": RowMetric(worth=partial(exact_match, normaliser=super_ni_normalised)),
    "bleu": CorpusMetric(
        over=partial(bleu, tokenizer="intl"), tool=partial(bleu_signature, tokenizer="intl")
    ),
    "bleu_13a": CorpusMetric(
        over=partial(bleu, tokenizer="13a"), tool=partial(bleu_signature, tokenizer="13a")
    ),
    "edit_similarity": RowMetric(worth=edit_similarity),
    "math_match": RowMetric(worth=math_match, is_read=is_number_where_due),
    "final_answer": RowMetric(worth=final_answer, is_read=has_answer),
    "positive_f1": CorpusMetric(over=positive_f1, is_read=is_choice),
    "macro_f1": CorpusMetric(over=macro_f1, is_read=is_choice),
    "matthews_correlation": CorpusMetric(over=matthews_correlation, is_read=is_choice, range=_CORRELATION),
    "question_exact_match": CorpusMetric(over=question_exact_match, is_read=is_choice),
    "pearson_correlation": CorpusMetric(over=pearson, is_read=is_number, range=_CORRELATION),
    "spearman_correlation": CorpusMetric(over=spearman, is_read=is_number, range=_CORRELATION),
}


def worth(names: Sequence[MetricName], reply: Reply) -> dict[str, float]:
    """What one reply is worth in those metrics that are means over rows."""
    metrics = {name: METRICS[name] for name in names}
    return {name: metric.worth(reply) for name, metric in metrics.items() if isinstance(metric, RowMetric)}


def signature(name: MetricName, replies: Sequence[Reply]) -> str:
    """What a figure in the metric has to be quoted with: the version of its reading, and what computed it."""
    metric = METRICS[name]
    tool = metric.tool(replies)
    return f"{name} v{metric.version}" + (f", {tool}" if tool else "")
