"""Every code of the lint, each on a template set that has the fault and on none that has not."""

from typing import Any

import pytest

from flan.tasks.lint import Finding, Limits, lint
from tests.tasks.samples import review_task

ROWS = [{"text": f"It is item {i}.", "label": ("negative", "positive")[i % 2]} for i in range(6)]
TEN = [{"input": f"{i}. {{review}} Good?\n{{options_}}"} for i in range(10)]
FREE: dict[str, Any] = {"answer": {"column": "label"}, "metrics": ["rouge_l"]}
LONG_ANSWER = "the river that runs behind the mill on the hill"


def codes(findings: list[Finding]) -> set[str]:
    return {finding.code for finding in findings}


def test_a_clean_task_has_no_finding() -> None:
    """Ten different templates over good rows: silence."""
    assert lint(review_task(templates=TEN), ROWS) == []


@pytest.mark.parametrize(
    ("code", "severity", "template", "changes", "rows"),
    [
        (
            "blank_input",
            "error",
            10,
            {"templates": [*TEN, {"input": "{review}"}]},
            [*ROWS, {"text": " ", "label": "positive"}],
        ),
        (
            "blank_target",
            "error",
            0,
            FREE | {"templates": [{"input": "{review}"}]},
            [{"text": "a", "label": " "}],
        ),
        ("row_dropped", "warning", None, {"templates": TEN}, [*ROWS, {"label": "positive"}]),
        ("row_dropped", "error", None, {"templates": TEN}, [{"label": "positive"}]),
        (
            "target_not_in_options",
            "error",
            None,
            {"templates": TEN},
            [*ROWS, {"text": "a", "label": "neutral"}],
        ),
        (
            "target_not_in_options",
            "error",
            10,
            {"templates": [*TEN, {"input": "{review}", "target": "It is {answer}."}]},
            ROWS,
        ),
        (
            "answer_leaks_into_input",
            "warning",
            0,
            FREE | {"templates": [{"input": "{review}"}]},
            [{"text": f"I saw {LONG_ANSWER}.", "label": LONG_ANSWER}],
        ),
        (
            "duplicate_option",
            "error",
            None,
            {"answer": {"column": "label", "choices": ["Yes", "yes"]}, "templates": TEN},
            [{"text": "a", "label": "yes"}],
        ),
        (
            "option_prefix_of_other",
            "warning",
            None,
            {"answer": {"column": "label", "choices": ["no", "no idea"]}, "templates": TEN},
            [{"text": "a", "label": "no"}],
        ),
        ("literal_after_field", "warning", 10, {"templates": [*TEN, {"input": "{review}n Good?"}]}, ROWS),
        ("literal_after_field", "warning", 10, {"templates": [*TEN, {"input": "Review{review}"}]}, ROWS),
        (
            "unused_field",
            "warning",
            None,
            {"fields": {"review": "text", "mood": "label"}, "templates": TEN},
            ROWS,
        ),
        (
            "inverted_over_three",
            "warning",
            None,
            {
                "templates": [
                    *TEN,
                    *(
                        {"input": f"{i}: {{answer}}?", "target": "{review}", "role": "inverted"}
                        for i in range(4)
                    ),
                ]
            },
            ROWS,
        ),
        (
            "duplicate_template",
            "warning",
            10,
            {"templates": [*TEN, {"input": "3.  {review} Good? {options_}"}]},
            ROWS,
        ),
        ("few_templates", "warning", None, {"templates": TEN[:9]}, ROWS),
        ("over_length", "warning", 0, {"templates": TEN}, [{"text": "long " * 1000, "label": "positive"}]),
        (
            "over_length",
            "warning",
            0,
            FREE | {"templates": [{"input": "{review}"}]},
            [{"text": "a", "label": "x" * 1025}],
        ),
    ],
)
def test_each_fault_has_its_code(
    code: str, severity: str, template: int | None, changes: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    """The finding names the template it is in, or none where it is in no single one."""
    findings = [finding for finding in lint(review_task(**changes), rows) if finding.code == code]

    assert findings
    assert (findings[0].severity, findings[0].template) == (severity, template)


def test_a_fault_of_many_rows_is_one_finding_with_count_and_first() -> None:
    """Two broken rows among eight are said once."""
    rows = [*ROWS[:2], {"label": "positive"}, *ROWS[2:], {"label": "negative"}]

    (finding,) = lint(review_task(templates=TEN), rows)

    assert finding.row == 2
    assert finding.message.startswith("2 of 8 rows; first: no column 'text'")


def test_errors_come_before_warnings() -> None:
    """What must be mended stands on top."""
    findings = lint(review_task(), [*ROWS, {"text": "a", "label": "neutral"}])

    assert [finding.severity for finding in findings] == ["error", "warning"]


def test_an_answer_may_stand_in_the_options_and_short_ones_anywhere() -> None:
    """Choosing needs the options in sight, and a short answer is found in a passage by nature."""
    choosing = review_task(answer={"column": "label", "choices_from": "options"}, templates=TEN)
    rows = [{"text": LONG_ANSWER, "options": [LONG_ANSWER, "none"], "label": LONG_ANSWER}]
    reading = review_task(**FREE, templates=[{"input": f"{i} {{review}}"} for i in range(10)])

    assert lint(choosing, rows) == []
    assert lint(reading, [{"text": "Ada found it.", "label": "Ada"}]) == []


def test_written_braces_are_no_slots() -> None:
    """A letter beside {{ or }} is only text."""
    assert lint(review_task(templates=[*TEN, {"input": "a{{b}}c{{{review}}}d\n{options_}"}]), ROWS) == []


def test_the_limits_can_be_set() -> None:
    """They are counted in characters: lint knows no tokenizer."""
    assert codes(lint(review_task(templates=TEN), ROWS, Limits(input_chars=20))) == {"over_length"}
