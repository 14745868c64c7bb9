"""ROUGE and BLEU, against published and hand-computed values and against sacrebleu's own corpus score."""

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from flan.evaluate.metrics import signature
from flan.evaluate.metrics.ngrams import BleuTokenizer, RougeType, bleu, rouge, super_ni_rouge
from flan.evaluate.metrics.reply import Reply


def score(kind: RougeType, text: str, *references: str) -> float:
    return rouge(Reply(text, references), kind)


@pytest.mark.parametrize(
    ("kind", "prediction", "references", "expected"),
    [
        # Lin 2004, 3.1: S1 "police killed the gunman", S2 "police kill the gunman", S3 "the gunman kill police";
        # S2 and S3 share one of three bigrams with S1, and subsequences of three and two words. No stemming.
        ("rouge2", "police kill the gunman", ["police killed the gunman"], 1 / 3),
        ("rouge2", "the gunman kill police", ["police killed the gunman"], 1 / 3),
        ("rougeL", "police kill the gunman", ["police killed the gunman"], 3 / 4),
        ("rougeL", "the gunman kill police", ["police killed the gunman"], 2 / 4),
        ("rouge1", "the gunman kill police", ["police killed the gunman"], 3 / 4),
        # Lin 2004, 3.2: the union of the subsequences is w1 w2 w3 w5, so r = 4/5; p = 4/10.
        ("rougeLsum", "w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", ["w1 w2 w3 w4 w5"], 2 * 0.8 * 0.4 / 1.2),
        ("rougeL", "the cat sat on the mat", ["the cat is on the mat"], 5 / 6),
        ("rougeL", "A b c d", ["x y", "a B"], 2 * (2 / 4) * 1 / (2 / 4 + 1)),  # no case; best reference
        ("rouge1", "a b c", ["a x y z", "b c"], 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        ("rouge1", "", ["a b"], 0.0),
    ],
)
def test_rouge(kind: RougeType, prediction: str, references: list[str], expected: float) -> None:
    """F-measure of what prediction and reference have in common."""
    assert score(kind, prediction, *references) == pytest.approx(expected)


def test_each_type_takes_the_reference_that_suits_it() -> None:
    """Words of the one, bigrams of the other (struct-to-text): not one reference for all types."""
    references = ("d c b a", "a b x y z w")

    assert score("rouge1", "a b c d", *references) == 1.0
    assert score("rouge2", "a b c d", *references) == pytest.approx(2 * (1 / 3) * (1 / 5) / (1 / 3 + 1 / 5))


def test_sentences_may_stand_in_one_line() -> None:
    """Lsum is that of lines whether the model breaks them or not: the order of sentences does not matter."""
    one, other = "Rain fell all day. The match was put off.", "The match was put off. Rain fell all day."

    assert score("rougeLsum", one, other) == score("rougeLsum", one, other.replace(". ", ".\n")) == 1.0
    assert score("rougeL", one, other) < 1.0
    assert score("rougeLsum", 'He said "No!" Then 3.5 men left.', 'Then 3.5 men left. He said "No!"') == 1.0
    # A point within a number ends nothing: the halves in another order are another sentence.
    assert score("rougeLsum", "about 3.5 men", "5 men about 3.") < 1.0


def test_super_ni_stems() -> None:
    """The-cat-are-run and the-cat-run: p = 3/4, r = 1; without stems only "the" is common (p = 1/4, r = 1/3)."""
    reply = Reply("The cats are running", ("nothing", "the cat runs"))

    assert super_ni_rouge(reply) == pytest.approx(2 * (3 / 4) / (3 / 4 + 1))
    assert rouge(reply, "rougeL") == pytest.approx(2 * (1 / 4) * (1 / 3) / (1 / 4 + 1 / 3))
    assert signature("super_ni_rouge_l", [reply]).endswith("Porter stemming")
    assert signature("rouge_l", [reply]).endswith("no stemming")


def bleu_of(replies: list[Reply], tokenizer: BleuTokenizer = "intl") -> float:
    return bleu(replies, tokenizer)(np.ones(len(replies)))


def test_bleu_by_hand() -> None:
    """5 of 6 words, 3 of 5, 1 of 4 and 0 of 3 n-grams: the last counts as 1/2 (exponential smoothing)."""
    expected = (5 / 6 * 3 / 5 * 1 / 4 * 1 / (2 * 3)) ** 0.25

    assert bleu_of([Reply("the cat is on the mat", ("the cat sat on the mat",))]) == pytest.approx(expected)


def test_words_are_clipped() -> None:
    """Papineni et al. 2002, 2.1: seven times "the" match twice; and a short text pays for it."""
    reply = Reply("the the the the the the the", ("the cat is on the mat", "there is a cat on the mat"))
    expected = (2 / 7 / (2 * 6) / (4 * 5) / (8 * 4)) ** 0.25

    assert bleu_of([reply]) == pytest.approx(expected)
    assert bleu_of([Reply("a b c d", ("a b c d e f g h",))]) == pytest.approx(np.exp(1 - 8 / 4))


def test_figure_is_of_the_corpus() -> None:
    """Counts are summed before they are divided: no mean of sentences."""
    replies = [Reply("a b c d e", ("a b c d e",)), Reply("x", ("a b c d e",))]
    sentences = [bleu_of([reply]) for reply in replies]

    assert sentences == [pytest.approx(1.0), 0.0]
    # 5 of 6 words, all longer n-grams; 6 words for 10.
    assert bleu_of(replies) == pytest.approx((5 / 6) ** 0.25 * np.exp(1 - 10 / 6))


def test_signature_tells_the_tokenizers_apart() -> None:
    """intl parts punctuation of every script; the figures differ, and so does what they are quoted with."""
    replies = [Reply("« Oui », dit-elle… « Non » et puis rien", ("«Oui», dit-elle… «Non» et puis rien",))]

    assert bleu_of(replies, "intl") > bleu_of(replies, "13a")
    version = sacrebleu.__version__
    assert signature("bleu", replies) == (
        f"bleu v1, sacrebleu nrefs:1|case:mixed|eff:no|tok:intl|smooth:exp|version:{version}"
    )
    assert "tok:13a" in signature("bleu_13a", replies)
    assert "nrefs:var" in signature("bleu", [*replies, Reply("x", ("y", "z"))])


SENTENCES = st.lists(st.sampled_from(["a", "b", "c", "d.", "“e”"]), max_size=7).map(" ".join)
REPLIES = st.builds(Reply, SENTENCES, st.lists(SENTENCES, min_size=1, max_size=3).map(tuple))


@settings(max_examples=60)
@given(replies=st.lists(REPLIES, min_size=1, max_size=6))
@pytest.mark.parametrize("tokenizer", ["intl", "13a"])
def test_bleu_is_sacrebleus(tokenizer: BleuTokenizer, replies: list[Reply]) -> None:
    """The same as corpus_bleu on all of them at once, with as many references as each has."""
    most = max(len(reply.references) for reply in replies)
    streams = [[(*reply.references, *[None] * most)[i] for reply in replies] for i in range(most)]
    whole = sacrebleu.corpus_bleu([reply.text for reply in replies], streams, tokenize=tokenizer, force=True)

    assert bleu_of(replies, tokenizer) == pytest.approx(whole.score / 100, abs=1e-12)
