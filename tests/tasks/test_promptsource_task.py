"""A task whose templates are promptsource's: it reads, renders, fits and is linted as any other."""

from typing import Any

import pytest

from flan.errors import InvalidDocument
from flan.spec import parse
from flan.tasks.formats import NoFields, formatted
from flan.tasks.importers.promptsource import promptsource_task, read_promptsource
from flan.tasks.lint import lint
from flan.tasks.promptsource import PromptsourceTemplate
from flan.tasks.render import instance, longest_field, render, target_of
from flan.tasks.task import Task
from flan.tasks.template import RowError
from tests.tasks.samples import review_task

ASKING = {
    "language": "promptsource",
    "id": "1",
    "name": "asks",
    "jinja": "{{ text }}\nGood or bad? ||| {{ answer_choices[label] }}",
    "answer_choices": "bad ||| good",
    "original_task": True,
    "metrics": ["Accuracy"],
}
SELDOM = ASKING | {"id": "2", "name": "seldom", "jinja": "{% if label %}{{ text }} ||| good{% endif %}"}
TURNED = ASKING | {"id": "3", "name": "turned", "original_task": False, "jinja": "Write one. ||| {{ text }}"}
ROW = {"text": "It works.", "label": 1}


def task(**changes: Any) -> Task:
    document = {
        "name": "foreign",
        "cluster": "sentiment",
        "source": {"kind": "dataset", "name": "reviews"},
        "metrics": ["accuracy"],
        "templates": [ASKING, SELDOM, TURNED],
    }
    return parse(Task, document | changes)


def test_the_template_says_what_choices_and_answer_are() -> None:
    """The row has only columns: input, target and choices are what the template prints."""
    rendered = render(instance(task(), ROW), task().templates[0])

    assert rendered.input == "It works.\nGood or bad?"
    assert (rendered.target, rendered.answer, rendered.references) == ("good", "good", ("good",))
    assert rendered.choices == ("bad", "good")


def test_a_choice_is_written_as_it_is() -> None:
    """An option to be scored is the text that the template would print as target."""
    assert target_of(instance(task(), ROW), task().templates[0], None, "bad") == "bad"


def test_a_row_that_a_template_passes_over_is_an_error_of_the_row() -> None:
    """It is counted where broken rows are, and other templates still ask about the row."""
    with pytest.raises(RowError, match="'seldom' passes over"):
        render(instance(task(), ROW | {"label": 0}), task().templates[1])


def test_only_templates_of_the_original_task_are_evaluated() -> None:
    """promptsource marks the others; here they are inverted."""
    assert task().answer_templates == (0, 1)
    assert task().has_choices
    assert not task(templates=[ASKING | {"answer_choices": None, "jinja": "{{ text }} ||| x"}]).has_choices


def test_the_longest_text_that_the_template_reads_is_cut() -> None:
    """A column that is not in its source cannot make the prompt shorter."""
    row = ROW | {"unread": "long " * 50}

    assert longest_field(task(), instance(task(), row), task().templates[0]) == "text"


def test_a_cut_row_keeps_what_was_drawn() -> None:
    """Cutting a text changes that text alone."""
    drawing = task(
        templates=[ASKING | {"jinja": "{{ range(1000) | random }} {{ text }} ||| x", "answer_choices": None}]
    )
    whole = instance(drawing, {"text": "abc def"})
    cut = whole._replace(fields={"text": "abc"})

    assert render(cut, drawing.templates[0]).input == render(whole, drawing.templates[0]).input.removesuffix(
        " def"
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"fields": {"text": "text"}}, "/fields: templates of promptsource read columns"),
        ({"answer": {"column": "label"}}, "/answer: templates of promptsource read"),
        ({"templates": [ASKING, {"input": "{text}"}]}, "/templates/1/language: written in slots"),
        ({"templates": [TURNED]}, "inverted"),
        ({"templates": [ASKING | {"jinja": "{{ text|pprint }} ||| x"}]}, "/templates/0/jinja: .*pprint"),
        ({"templates": [ASKING | {"language": "mustache"}]}, "mustache"),
    ],
)
def test_a_task_that_mixes_languages_is_refused(changes: dict[str, Any], says: str) -> None:
    """Its parts would contradict each other."""
    with pytest.raises(InvalidDocument, match=says):
        task(**changes)


@pytest.mark.parametrize("left_out", ["answer", "fields"])
def test_templates_of_slots_need_fields_and_answer(left_out: str) -> None:
    """Only promptsource's do without."""
    with pytest.raises(InvalidDocument, match=left_out):
        review_task(**{left_out: None if left_out == "answer" else {}})


def test_it_has_no_form_without_its_templates() -> None:
    """The ablations ask fields, and it knows none."""
    assert formatted(task(), "instructions") == task()
    with pytest.raises(NoFields, match="promptsource"):
        formatted(task(), "no_template")


def test_lint_renders_it() -> None:
    """What its templates print is looked at, and what they pass over is counted."""
    strange = ASKING | {"id": "4", "name": "strange", "jinja": "{{ text }} ||| perhaps"}
    blank = ASKING | {
        "id": "5",
        "name": "blank",
        "jinja": "{{ text }} ||| {{ nothing }}",
        "answer_choices": None,
    }

    found = lint(task(templates=[ASKING, SELDOM, strange, blank]), [ROW, ROW | {"label": 0}])

    assert {(each.code, each.template) for each in found} == {
        ("few_templates", None),
        ("row_passed_over", 1),
        ("target_not_in_options", 2),
        ("row_passed_over", 3),
    }


FILE = """
dataset: shops/reviews
subset: short
templates:
  a: !Template
    id: a
    name: asks
    jinja: '{{ text }} ||| {{ answer_choices[label] }}'
    answer_choices: 'bad ||| good'
    metadata: !TemplateMetadata
      original_task: true
      metrics: [Accuracy, Other]
  b: !Template
    id: b
    name: turned
    jinja: 'Write. ||| {{ text }}'
    metadata: !TemplateMetadata
      original_task: false
      metrics: [ROUGE]
"""


def test_a_file_of_promptsource_becomes_a_task() -> None:
    """Its rows are the dataset's; it is measured by what the templates of the original task name."""
    made = promptsource_task(
        read_promptsource(FILE), name="shop", cluster="sentiment", splits={"train": "train"}, folder="reviews"
    )

    assert made.source.model_dump() == {
        "kind": "hub", "id": "shops/reviews", "config": "short", "revision": None, "folder": "reviews",
        "splits": {"train": "train"}, "rows": {},
    }  # fmt: skip
    assert made.metrics == ("accuracy",)
    assert [each.name for each in made.templates if isinstance(each, PromptsourceTemplate)] == [
        "asks",
        "turned",
    ]
