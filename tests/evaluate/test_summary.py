"""Figures of a task against values worked out by hand."""

from collections.abc import Sequence
from statistics import stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flan.evaluate.answering import Answered, reply_to
from flan.evaluate.metrics.correlation import pearson
from flan.evaluate.metrics.reply import Reply, mean
from flan.evaluate.questions import Question
from flan.evaluate.results import TaskResult
from flan.evaluate.summary import (
    Measured,
    NothingMeasured,
    Sample,
    best_template,
    blind_guesses,
    bootstrap_interval,
    summarise,
)
from flan.tasks.task import load_collection

TASK = load_collection("synthetic")["shop_reviews"]
HOW = Measured("validation", "rank", 200, {0: 0, 1: 1}, "0" * 64, num_shots=2)


def question(template: int, row: int, answers: tuple[str, ...], choices: tuple[str, ...]) -> Question:
    nothing = np.zeros(1, np.int32)
    return Question(template, row, "", nothing, template == 1, 2 - template, choices, (), answers, answers)


def answered(template: int, row: int, answer: str, is_right: bool) -> Answered:
    asked = question(template, row, (answer,), ("negative", "positive"))
    return Answered(asked, "", {"accuracy": float(is_right)}, is_finished=row != 2)


def test_mean_and_spread_are_over_templates() -> None:
    """Template 0 is right in 3 of 4 rows, template 1 in 1 of 4: mean 1/2, spread sqrt(1/8)."""
    given_ = [answered(0, row, "positive" if row else "negative", row != 3) for row in range(4)]
    given_ += [answered(1, row, "positive" if row else "negative", row == 0) for row in range(4)]

    result = summarise(TASK, HOW, given_)

    assert [template.metric_value for template in result.templates] == [0.75, 0.25]
    assert result.mean == 0.5
    assert result.spread == pytest.approx(stdev([0.75, 0.25])) == pytest.approx(0.125**0.5)
    assert (result.n, result.num_rows, result.chance, result.majority) == (4, 200, 0.5, 0.75)
    counts = [(t.n, t.num_skipped, t.num_pruned, t.num_cut, t.num_unfinished) for t in result.templates]
    assert counts == [(4, 0, 0, 0, 1), (4, 1, 4, 4, 1)]


def test_a_single_template_has_no_spread() -> None:
    """None, not zero: nothing is known about other wordings. A template without a row is named."""
    result = summarise(TASK, HOW, [answered(0, row, "positive", True) for row in range(3)])

    assert result.spread is None
    assert result.unmeasured_templates == (1,)


def test_blind_guesses_follow_the_rows() -> None:
    """Chance and majority of rows with several right options, and with options of their own."""
    fixed = [question(0, i, ("b",) if i < 3 else ("a",), ("a", "b")) for i in range(4)]
    several = [question(0, 0, ("a", "b"), ("a", "b", "c", "d"))]
    # Right at places 1, 1, 0: always giving the second option is right twice.
    own = [
        question(0, 0, ("y",), ("x", "y")),
        question(0, 1, ("q",), ("p", "q", "r", "s")),
        question(0, 2, ("k",), ("k", "l")),
    ]

    assert blind_guesses(fixed) == (0.5, 0.75)
    assert blind_guesses(several) == (0.5, 1.0)
    assert blind_guesses(own) == (pytest.approx((1 / 2 + 1 / 4 + 1 / 2) / 3), pytest.approx(2 / 3))
    assert blind_guesses([question(0, 0, ("text",), ())]) == (None, None)


def test_nothing_measured_is_an_error() -> None:
    """A task whose every prompt was too long has no figure, not zero."""
    with pytest.raises(NothingMeasured, match="7 prompts skipped"):
        summarise(TASK, HOW._replace(num_skipped={0: 7}), [])


def interval(values: Sequence[float]) -> tuple[float, float]:
    return bootstrap_interval([Sample(mean(values), np.arange(len(values)))], len(values))


@settings(max_examples=20)
@given(values=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=60))
def test_interval_holds_the_mean_and_stays_within_the_values(values: list[float]) -> None:
    """Seeded: the same rows give the same interval."""
    low, high = interval(values)

    assert min(values) <= low <= float(np.mean(values)) + 1e-12
    assert float(np.mean(values)) - 1e-12 <= high <= max(values)
    assert interval(values) == (low, high)


def test_interval_has_the_width_of_theory() -> None:
    """400 rows, half of them right: ± 1.96 · 0.5 / 20 = ± 0.049."""
    low, high = interval([0.0, 1.0] * 200)

    assert low == pytest.approx(0.5 - 0.049, abs=0.006)
    assert high == pytest.approx(0.5 + 0.049, abs=0.006)


def test_rows_are_drawn_with_all_their_templates() -> None:
    """Where templates agree on every row, two of them tell no more than one."""
    rows = np.arange(100)
    one = Sample(mean([0.0, 1.0] * 50), rows)

    assert bootstrap_interval([one, one], 100) == bootstrap_interval([one], 100)


def test_interval_of_a_correlation_has_the_width_of_theory() -> None:
    """Fisher's z of r = 0.6 over 400 pairs: ± 1.96 / sqrt(397), so 0.534 to 0.658."""
    generator = np.random.default_rng(1)
    a, noise = generator.normal(size=(2, 400))
    # Made to measure: noise without a trace of a, both of variance 1.
    a = (a - a.mean()) / a.std()
    noise -= noise.mean() + a * (a @ noise) / 400
    b = 0.6 * a + 0.8 * noise / noise.std()
    scale = ("-9", "9")
    replies = [
        Reply(repr(x), ("9",), scale, None, "9", y) for x, y in zip(a.tolist(), b.tolist(), strict=True)
    ]
    figure = pearson(replies)

    assert figure(np.ones(400)) == pytest.approx(0.6)
    assert bootstrap_interval([Sample(figure, np.arange(400))], 400) == (
        pytest.approx(0.534, abs=0.015),
        pytest.approx(0.658, abs=0.015),
    )


YES_NO = ("no", "yes")


def judged(row: int, choice: str, answer: str, group: str = "", template: int = 0) -> Answered:
    asked = question(template, row, (answer,), YES_NO)._replace(group=(group,) if group else ())
    return Answered(asked, choice, {})


def test_a_corpus_metric_is_of_each_template_as_a_whole() -> None:
    """F1 of the choices: template 0 hits 2 with 1 false alarm (4/5), template 1 misses 1 of 2 (2/3)."""
    task = TASK.model_copy(update={"metrics": ("positive_f1",)})
    answers = ["yes", "yes", "no", "no"]
    given_ = [judged(row, ("yes", "yes", "yes", "no")[row], answers[row]) for row in range(4)]
    given_ += [judged(row, ("yes", "no", "no", "no")[row], answers[row], template=1) for row in range(4)]

    result = summarise(task, HOW, given_)

    assert [template.metric_value for template in result.templates] == [
        pytest.approx(0.8),
        pytest.approx(2 / 3),
    ]
    assert result.mean == pytest.approx((0.8 + 2 / 3) / 2)
    assert result.interval[0] < result.mean < result.interval[1]
    assert (result.chance, result.majority) == (None, None)
    assert result.signatures == {"positive_f1": "positive_f1 v1"}


def test_rows_of_a_question_are_drawn_together() -> None:
    """Four rows of a question that stand and fall with it make no narrower interval than one of them would."""
    task = TASK.model_copy(update={"metrics": ("question_exact_match",), "group_by": ("review",)})

    def measured(rows_each: int) -> TaskResult:
        given_ = [
            judged(row, "yes" if row // rows_each % 2 else "no", "yes", str(row // rows_each))
            for row in range(40 * rows_each)
        ]
        return summarise(task, HOW, given_)

    assert measured(4).interval == measured(1).interval
    assert measured(4).mean == measured(1).mean == 0.5
    assert "questions" in measured(4).interval_method


def test_answers_that_cannot_be_read_are_counted() -> None:
    """Texts that are no option: wrong, and said to be so."""
    task = TASK.model_copy(update={"metrics": ("positive_f1", "matthews_correlation")})
    given_ = [
        judged(0, "yes", "yes"),
        judged(1, "perhaps", "no"),
        judged(2, "", "yes"),
        judged(3, "no", "no"),
    ]

    [template] = summarise(task, HOW, given_).templates

    # One hit, one false alarm, one miss.
    assert (template.num_unread, template.metric_value) == (2, 0.5)


def test_metrics_see_names_and_written_choices() -> None:
    """ReCoRD's options go on after the name; where the model writes, a choice may be written as its mark."""
    asked = question(0, 0, ("Ann left.", "Anna left."), ("Bob left.", "Ann left."))
    named = asked._replace(names=("Bob", "Ann"))
    written = asked._replace(references=("(B)",), choice_texts=("(A)", "(B)"))

    assert reply_to(named, "Ann left.")[:2] == ("Ann", ("Ann", "Anna left."))
    assert reply_to(named, "Ann did.").text == "Ann did."
    assert (reply_to(written, " (B)\n").choice, reply_to(written, "(C)").choice) == ("Ann left.", None)
    assert reply_to(asked, "Bob left.").choice == "Bob left."


def test_the_best_template_never_looks_at_test() -> None:
    """Template 0 is better on dev; on the reported rows it is always wrong, and template 1 always right."""
    dev = [answered(0, row, "positive", row != 3) for row in range(4)]
    dev += [answered(1, row, "positive", row == 0) for row in range(4)]
    reported = [answered(0, row, "positive", False) for row in range(4)]
    reported += [answered(1, row, "positive", True) for row in range(4)]

    best = best_template(TASK, (HOW._replace(split="dev"), dev), (HOW, reported))

    assert best is not None
    assert (best.split, best.index, best.metric_value, best.interval) == ("dev", 0, 0.0, (0.0, 0.0))
    assert [template.metric_value for template in best.on_dev] == [0.75, 0.25]


def test_of_equals_on_dev_the_first_is_best() -> None:
    """Whatever they get elsewhere; and a template that could not be asked there has no figure."""
    dev = [answered(template, row, "positive", True) for template in (0, 1) for row in range(3)]
    reported = [answered(1, row, "positive", True) for row in range(3)]

    assert best_template(TASK, (HOW, dev), (HOW, reported)) is None
    assert best_template(TASK, (HOW, []), (HOW, reported)) is None
    reported += [answered(0, row, "positive", False) for row in range(3)]
    best = best_template(TASK, (HOW, dev), (HOW, reported))
    assert best is not None and best.index == 0


def test_what_an_untuned_model_writes_behind_its_answer_is_not_compared() -> None:
    """The text is kept as it was written; the result says how it was read."""
    asked = question(0, 0, ("positive",), ("negative", "positive"))._replace(post="first_line")
    written = Answered(asked, " positive\nReview: and another", {"accuracy": 1.0})
    task = TASK.model_copy(update={"post": "first_line"})

    assert (written.reply.text, written.reply.choice) == ("positive", "positive")
    assert written.text == " positive\nReview: and another"
    assert summarise(task, HOW._replace(scoring="generate"), [written]).post == "first_line v1"
    assert (
        summarise(task, HOW, [written._replace(question=asked._replace(post="as_written"))]).post
        == "as_written v1"
    )
