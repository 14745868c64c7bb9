"""Texts compared as a whole or word by word; each takes the best over the references.

Sources: accuracy as FLAN's generative classification (raw text, case and all); exact match and F1 as the
official scripts of SQuAD (Rajpurkar et al. 2016, 2018), of TriviaQA (Joshi et al. 2017) and of
Super-NaturalInstructions (Wang et al. 2022).
"""

import re
import string
from collections import Counter
from collections.abc import Callable

from flan.evaluate.metrics.reply import Reply
from flan.tasks.prepare.questions import UNANSWERABLE

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SPACE_FOR_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`", " "))
Normaliser = Callable[[str], str]


def accuracy(reply: Reply) -> float:
    """1 if the text is a reference, letter by letter; white space around either is ignored."""
    return float(reply.text.strip() in {reference.strip() for reference in reply.references})


def exact_match(reply: Reply, normaliser: Normaliser) -> float:
    """1 if the text and a reference are the same once normalised."""
    return float(normaliser(reply.text) in {normaliser(reference) for reference in reply.references})


def f1(reply: Reply, normaliser: Normaliser) -> float:
    """Harmonic mean of precision and recall over words, as a bag, once normalised."""
    words = normaliser(reply.text).split()
    return max(_word_f1(words, normaliser(reference).split()) for reference in reply.references)


def squad_normalised(text: str) -> str:
    """Lower case; without punctuation, the words a, an and the, and superfluous white space."""
    return _without_articles(text.lower().translate(_WITHOUT_PUNCTUATION))


def trivia_normalised(text: str) -> str:
    """As SQuAD's, but a space stands for each sign of punctuation: "twenty-one" is two words."""
    return _without_articles(text.lower().translate(_SPACE_FOR_PUNCTUATION))


def super_ni_normalised(text: str) -> str:
    """As SQuAD's, but the words a, an and the stay."""
    return " ".join(text.lower().translate(_WITHOUT_PUNCTUATION).split())


def _without_articles(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text).split())


def _word_f1(prediction: list[str], reference: list[str]) -> float:
    if any(words in ([], [UNANSWERABLE]) for words in (prediction, reference)):
        # That there is no answer is said or not said, never half said (SQuAD 2.0).
        return float(prediction == reference)
    num_common = sum((Counter(prediction) & Counter(reference)).values())
    return 2 * num_common / (len(prediction) + len(reference))
