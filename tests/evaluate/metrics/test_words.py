"""Texts compared as a whole and word by word, against values worked out by hand."""

import pytest

from flan.evaluate.metrics import METRICS
from flan.evaluate.metrics.reply import Reply, RowMetric
from flan.evaluate.metrics.words import squad_normalised, super_ni_normalised, trivia_normalised
from flan.tasks.metric_names import MetricName


def worth(metric: MetricName, text: str, references: list[str]) -> float:
    kind = METRICS[metric]
    assert isinstance(kind, RowMetric)
    return kind.worth(Reply(text, tuple(references)))


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("yes", ["yes"], 1.0),
        (" yes\n", ["yes"], 1.0),  # white space around it
        ("Yes", ["yes"], 0.0),  # case counts
        ("yes.", ["yes"], 0.0),  # so does punctuation
        ("b", ["a", "b"], 1.0),  # any reference
        ("", ["yes"], 0.0),
    ],
)
def test_accuracy(prediction: str, references: list[str], expected: float) -> None:
    """Letter by letter."""
    assert worth("accuracy", prediction, references) == expected


@pytest.mark.parametrize(
    ("text", "squad", "trivia"),
    [
        ("The  Cat!", "cat", "cat"),
        ("a an the", "", ""),
        ("then another theatre", "then another theatre", "then another theatre"),  # articles are whole words
        ("U.S.A.", "usa", "u s"),  # the A that is left alone is an article
        ("don't", "dont", "don t"),
        ("3,000 km", "3000 km", "3 000 km"),
        ("twenty-one", "twentyone", "twenty one"),
        ("snake_case", "snakecase", "snake case"),
        ("‘quoted’", "‘quoted’", "quoted"),  # curly signs are not ASCII punctuation
    ],
)
def test_normalisation_is_that_of_the_official_scripts(text: str, squad: str, trivia: str) -> None:
    """Lower case, no punctuation, no articles, single spaces: in SQuAD it vanishes, in TriviaQA it parts words."""
    assert squad_normalised(text) == squad
    assert trivia_normalised(text) == trivia


@pytest.mark.parametrize(
    ("metric", "prediction", "references", "expected"),
    [
        ("exact_match", "The Cat!", ["cat"], 1.0),
        ("exact_match", "a cat sat", ["cat"], 0.0),
        ("exact_match", "dog", ["cat", "The dog."], 1.0),
        ("exact_match", "", ["the"], 1.0),
        ("exact_match", "twenty one", ["twenty-one"], 0.0),
        ("trivia_exact_match", "twenty one", ["twenty-one"], 1.0),
        ("f1", "the cat sat", ["a cat stood"], 0.5),  # {cat, sat} and {cat, stood}: p = r = 1/2
        ("f1", "cat cat cat", ["cat"], 0.5),  # a word counts as often as both have it: p = 1/3, r = 1
        ("f1", "in 1990", ["1990", "the year 1990"], 2 / 3),  # best reference: p = 1/2, r = 1
        ("f1", "dog", ["cat"], 0.0),
        ("f1", "", [""], 1.0),
        ("f1", "cat", [""], 0.0),
        ("f1", "twenty one", ["twenty-one"], 0.0),
        ("trivia_f1", "twenty", ["twenty-one"], 2 / 3),
    ],
)
def test_words(metric: MetricName, prediction: str, references: list[str], expected: float) -> None:
    """Equal once normalised; harmonic mean of word precision and recall."""
    assert worth(metric, prediction, references) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prediction", "references", "expected"),
    [
        ("Unanswerable.", ["unanswerable"], 1.0),
        ("It is unanswerable", ["unanswerable"], 0.0),  # the official script: a text is no empty answer
        ("unanswerable", ["an unanswerable riddle"], 0.0),
        ("", ["unanswerable"], 0.0),
        ("in 1990", ["unanswerable", "1990"], 2 / 3),  # QuAC's readers do not always agree
    ],
)
def test_no_answer_is_all_or_nothing(prediction: str, references: list[str], expected: float) -> None:
    """SQuAD 2.0 (Rajpurkar et al. 2018): where there is no answer, F1 is 1 for saying so and 0 otherwise."""
    assert worth("f1", prediction, references) == pytest.approx(expected)
    assert worth("trivia_f1", prediction, references) == pytest.approx(expected)


def test_super_ni_keeps_articles() -> None:
    """Lower case, no punctuation, single spaces (Wang et al. 2022): "a cat" is not "the cat"."""
    assert super_ni_normalised(" The  U.S.A., don't! ") == "the usa dont"
    assert worth("super_ni_exact_match", "The Cat.", ["dog", "the cat"]) == 1
    assert (
        worth("super_ni_exact_match", "a cat", ["the cat"]) == 0 < worth("exact_match", "a cat", ["the cat"])
    )
