"""What an answer is worth, from 0 to 1: a prediction against its acceptable answers.

Every metric takes the best over the references. Sources: accuracy as FLAN's generative classification
(raw text, case and all); exact match and F1 as the official SQuAD script (Rajpurkar et al. 2016); ROUGE-L
from the rouge-score package without stemming, F-measure.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Literal

from rouge_score.rouge_scorer import RougeScorer

MetricName = Literal["accuracy", "exact_match", "f1", "rouge_l"]
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def accuracy(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction is a reference, letter by letter; white space around either is ignored."""
    return float(prediction.strip() in {reference.strip() for reference in references})


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 if prediction and a reference are the same after SQuAD's normalisation."""
    return float(normalised(prediction) in {normalised(reference) for reference in references})


def f1(prediction: str, references: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over words, as a bag, after SQuAD's normalisation."""
    return max(_word_f1(normalised(prediction).split(), normalised(r).split()) for r in references)


def rouge_l(prediction: str, references: Sequence[str]) -> float:
    """F-measure of the longest common subsequence of words, lower-cased, letters and digits only."""
    return max(float(_rouge().score(reference, prediction)["rougeL"].fmeasure) for reference in references)


METRICS: Mapping[MetricName, Callable[[str, Sequence[str]], float]] = {
    "accuracy": accuracy,
    "exact_match": exact_match,
    "f1": f1,
    "rouge_l": rouge_l,
}


def normalised(text: str) -> str:
    """Lower case; without punctuation, the words a, an and the, and superfluous white space."""
    without_punctuation = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", without_punctuation).split())


def _word_f1(prediction: list[str], reference: list[str]) -> float:
    if not prediction or not reference:
        # Nothing said where nothing was to be said is right (SQuAD 2.0); otherwise it is wrong.
        return float(prediction == reference)
    num_common = sum((Counter(prediction) & Counter(reference)).values())
    return 2 * num_common / (len(prediction) + len(reference))


@cache
def _rouge() -> RougeScorer:
    return RougeScorer(["rougeL"], use_stemmer=False)
