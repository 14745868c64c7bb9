"""Exact match and F1 of DROP (Dua et al. 2019), as its official script has them.

An answer is a set of spans; here it is one text with commas between them, as the task asks for it, and what is
written is read in the same way.
"""

import math
import re
import string
from collections.abc import Sequence

import numpy as np

from flan.evaluate.metrics.reply import Reply

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_BETWEEN_WORDS = re.compile(r"[ -]")
_BETWEEN_SPANS = re.compile(r",\s+")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
Bag = frozenset[str]


def drop_exact_match(reply: Reply) -> float:
    """1 if the text has the spans of a reference, in whatever order."""
    spans = sorted(_spans(reply.text))
    return float(any(spans == sorted(_spans(reference)) for reference in reply.references))


def drop_f1(reply: Reply) -> float:
    """Mean word F1 of spans, paired off so that it is largest; a span left over on either side counts 0."""
    bags = _bags(reply.text)
    return max(_aligned_f1(bags, _bags(reference)) for reference in reply.references)


def _spans(text: str) -> list[str]:
    spans = (" ".join(_words(span)) for span in _BETWEEN_SPANS.split(text.strip()))
    return [span for span in spans if span]


def _bags(text: str) -> list[Bag]:
    return [frozenset(span.split()) for span in _spans(text)]


def _words(span: str) -> list[str]:
    return [word for part in _BETWEEN_WORDS.split(span.lower()) if (word := _normalised(part))]


def _normalised(word: str) -> str:
    if not _is_number(word):
        word = word.translate(_WITHOUT_PUNCTUATION)
    if _is_number(word):
        word = str(float(word))
    return " ".join(_ARTICLES.sub(" ", word).split())


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _aligned_f1(predicted: Sequence[Bag], gold: Sequence[Bag]) -> float:
    if not predicted or not gold:
        return float(not predicted and not gold)
    # Here, as in pairing: it takes a second to import, and few evaluations need it.
    from scipy.optimize import linear_sum_assignment

    scores = np.array([[_bag_f1(one, other) for other in predicted] for one in gold])
    rows, columns = linear_sum_assignment(scores, maximize=True)
    return float(scores[rows, columns].sum()) / max(len(predicted), len(gold))


def _bag_f1(gold: Bag, predicted: Bag) -> float:
    numbers = {word for word in gold if _is_number(word)}
    if numbers and not numbers & predicted:
        # A count or a year that is wrong is not half right for the word beside it.
        return 0.0
    return 2 * len(gold & predicted) / (len(gold) + len(predicted))
