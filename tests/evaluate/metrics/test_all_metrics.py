"""What holds for every metric."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flan.evaluate.metrics import METRICS, signature, worth
from flan.evaluate.metrics.reply import CorpusMetric, Figure, Reply, RowMetric, mean
from flan.tasks.metric_names import MetricName

CHOICES = ("0", "1")
WORDS = ["0", "1", "no", "Answer: 1", "the cat sat on a mat", "unanswerable", "dog, cat", ""]
each_metric = pytest.mark.parametrize("name", METRICS)


def reply(text: str, answer: str, group: int) -> Reply:
    # Two choices that are numbers, and texts: every metric has what it needs.
    references = (answer, "Answer: 1" if answer == "1" else "the cat sat on the mat")
    return Reply(
        text, references, CHOICES, text if text in CHOICES else None, answer, float(answer), (str(group),)
    )


REPLIES = st.lists(
    st.builds(reply, st.sampled_from(WORDS), st.sampled_from(CHOICES), st.integers(0, 3)),
    min_size=1,
    max_size=12,
).map(lambda replies: sorted(replies, key=lambda one: one.group))


def figure(name: MetricName, replies: list[Reply]) -> Figure:
    metric = METRICS[name]
    return (
        mean([metric.worth(one) for one in replies])
        if isinstance(metric, RowMetric)
        else metric.over(replies)
    )


def test_every_name_has_its_metric_and_only_those() -> None:
    """What a task may name can be computed."""
    assert set(METRICS) == set(get_args(MetricName))


@each_metric
def test_a_metric_says_what_it_is(name: MetricName) -> None:
    """Range, direction, version of its reading, and what computed it."""
    metric = METRICS[name]

    assert metric.range in ((0, 1), (-1, 1))
    assert metric.better == "higher"
    assert signature(name, [Reply("a", ("a",))]).startswith(f"{name} v{metric.version}")


@settings(max_examples=40)
@given(replies=REPLIES, order=st.randoms(use_true_random=False))
@each_metric
def test_order_does_not_matter(name: MetricName, replies: list[Reply], order: object) -> None:
    """Replies come longest prompt first; the figure knows nothing of it, and stays in its range."""
    shuffled = list(replies)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    value = figure(name, replies)(np.ones(len(replies)))

    assert figure(name, shuffled)(np.ones(len(replies))) == pytest.approx(value, abs=1e-12)
    low, high = METRICS[name].range
    assert low <= value <= high


@settings(max_examples=40)
@given(replies=REPLIES, times=st.lists(st.integers(0, 3), min_size=4, max_size=4))
@each_metric
def test_a_weight_is_a_number_of_copies(name: MetricName, replies: list[Reply], times: list[int]) -> None:
    """A resample's figure is that of the rows drawn, each as often as it was; of nothing there is no figure."""
    weights = np.array([float(times[int(one.group[0])]) for one in replies])
    copies = [
        # Copies of a question are questions of their own.
        one._replace(group=(f"{one.group[0]}, copy {copy}",))
        for one, weight in zip(replies, weights, strict=True)
        for copy in range(int(weight))
    ]
    value = figure(name, replies)(weights)

    if copies:
        assert value == pytest.approx(figure(name, copies)(np.ones(len(copies))), abs=1e-9)
    else:
        assert np.isnan(value)


@each_metric
def test_perfect_is_the_most_there_is(name: MetricName) -> None:
    """Right texts and choices get 1, the wrong ones less."""
    sentence = "Answer: 1"
    right = [
        Reply(text, (text,), CHOICES, text if text in CHOICES else None, answer, None, (text,))
        for text, answer in (("0", "0"), ("1", "1"))
    ]
    if isinstance(METRICS[name], RowMetric) or name.startswith("bleu"):
        right = [
            Reply(text, (text,)) for text in (f"the cat sat on the mat. {sentence}", f"a b c d {sentence}")
        ]
    wrong = [
        one._replace(text=other.text, choice=other.choice)
        for one, other in zip(right, right[::-1], strict=True)
    ]
    if name == "final_answer":
        wrong = [one._replace(text="Answer: 2") for one in right]

    assert figure(name, right)(np.ones(2)) == pytest.approx(1)
    assert figure(name, wrong)(np.ones(2)) < 1


@given(text=st.text(min_size=1), others=st.lists(st.text(), max_size=3))
def test_between_nothing_and_one_and_more_references_never_hurt(text: str, others: list[str]) -> None:
    """Of one reply: a share, and a further acceptable answer cannot make it worse."""
    names = [name for name, metric in METRICS.items() if isinstance(metric, RowMetric)]
    alone = worth(names, Reply(text, ("reference 1",)))
    with_others = worth(names, Reply(text, ("reference 1", *others)))

    for name in names:
        # But for the mark of a final answer: a reference without it is the whole answer.
        assert 0 <= alone[name] <= with_others[name] <= 1


def test_a_reply_alone_has_no_worth_in_a_corpus_metric() -> None:
    """Only means over rows say something of one row."""
    names = tuple(METRICS)

    assert all(
        isinstance(METRICS[name], CorpusMetric) for name in set(names) - set(worth(names, reply("1", "1", 0)))
    )
