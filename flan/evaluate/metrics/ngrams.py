"""Written texts against references by n-grams: ROUGE for summaries and BLEU for translations.

Sources: ROUGE from the rouge-score package, F-measure, without stemming but for Super-NaturalInstructions, each
type with the reference that suits it best, and the plain mean over rows (no bootstrap, so equal texts give equal
figures). BLEU from sacrebleu, cased, exponential smoothing.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from flan.evaluate.metrics.reply import Figure, Reply, additive

if TYPE_CHECKING:
    # Where they are used, they are imported: they bring nltk and take a second, which few evaluations need.
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics.bleu import BLEU

RougeType = Literal["rouge1", "rouge2", "rougeL", "rougeLsum"]
BleuTokenizer = Literal["intl", "13a"]
_MAX_ORDER = 4
# A full stop, question or exclamation mark, with quotation marks or brackets that close after it.
_SENTENCE_END = re.compile(r"([.!?][\"'”’»)\]]*)\s+")


def rouge(reply: Reply, kind: RougeType) -> float:
    """F-measure of common n-grams or of the longest common subsequence; lower-cased, letters and digits only.

    rougeLsum compares sentence by sentence (Lin 2004, 3.2): lines, and what ends in . ! or ? before a space.
    """
    texts = [reply.text, *reply.references]
    if kind == "rougeLsum":
        texts = [_SENTENCE_END.sub(r"\1\n", text) for text in texts]
    scorer = _rouge(kind)
    return max(float(scorer.score(reference, texts[0])[kind].fmeasure) for reference in texts[1:])


def super_ni_rouge(reply: Reply) -> float:
    """ROUGE-L as Super-NaturalInstructions has it (Wang et al. 2022): words are stemmed, the best reference counts."""
    scorer = _rouge("rougeL", has_stemmer=True)
    scores = (scorer.score(reference, reply.text)["rougeL"] for reference in reply.references)
    return max(float(score.fmeasure) for score in scores)


def bleu(replies: Sequence[Reply], tokenizer: BleuTokenizer) -> Figure:
    """Corpus BLEU from 0 to 1: n-gram matches and lengths are summed over replies before anything is divided."""
    scorer = _bleu(tokenizer)
    statistics = []
    for reply in replies:
        of_one = scorer.sentence_score(reply.text, reply.references)
        statistics.append([of_one.sys_len, of_one.ref_len, *of_one.counts, *of_one.totals])
    return additive(statistics, _bleu_of_sums)


def bleu_signature(replies: Sequence[Reply], tokenizer: BleuTokenizer) -> str:
    """What sacrebleu asks one to quote with a figure."""
    from sacrebleu.metrics.bleu import BLEU

    scorer = BLEU(tokenize=tokenizer)
    counts = {len(reply.references) for reply in replies}
    scorer.num_refs = counts.pop() if len(counts) == 1 else -1
    return f"sacrebleu {scorer.get_signature()}"


def rouge_settings(_: Sequence[Reply], stemming: str = "no stemming") -> str:
    """The package, its version and its settings."""
    return f"rouge-score {version('rouge-score')}, {stemming}"


def _bleu_of_sums(sums: NDArray[np.float64]) -> float:
    from sacrebleu.metrics.bleu import BLEU

    sys_len, ref_len, *rest = (int(count) for count in sums)
    correct, total = rest[:_MAX_ORDER], rest[_MAX_ORDER:]
    score = BLEU.compute_bleu(correct, total, sys_len, ref_len, smooth_method="exp").score
    # The exponential of a mean of logarithms can come out a hair above 100.
    return min(float(score) / 100, 1.0)


@cache
def _rouge(kind: RougeType, *, has_stemmer: bool = False) -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], use_stemmer=has_stemmer)


@cache
def _bleu(tokenizer: BleuTokenizer) -> "BLEU":
    from sacrebleu.metrics.bleu import BLEU

    # The counts of a sentence do not depend on the order that its own score would use; without this setting
    # sacrebleu warns that such a score means little.
    return BLEU(tokenize=tokenizer, effective_order=True)
