"""promptsource files → documents, and rows through their templates."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.errors import InvalidDocument
from flan.tasks.importers.promptsource import PromptsourceSet, read_promptsource
from flan.tasks.importers.promptsource_yaml import MAX_FILE_CHARS
from flan.tasks.jinja.run import CannotRender
from flan.tasks.promptsource import (
    GUARD,
    MAX_JINJA_CHARS,
    PromptsourceTemplate,
    RenderedPrompt,
    render_promptsource,
)

HANGS_S = 20  # of processor time: what is bounded takes less than 1 s, what is not takes minutes or for ever
FILE = """
dataset: reviews
subset: short
templates:
  5f1c: !Template
    answer_choices: bad ||| good
    id: 5f1c
    jinja: |-
      Is this review good or bad? {{ text }} |||
      {{ answer_choices[label] }}
    metadata: !TemplateMetadata
      choices_in_prompt: true
      languages: &id001
      - en
      metrics:
      - Accuracy
      original_task: true
    name: good or bad
    reference: ''
  77aa: !Template
    answer_choices: null
    id: 77aa
    jinja: '{% macro m() %}{% endmacro %}{{ text }}|||{{ label }}'
    metadata: !TemplateMetadata
      choices_in_prompt: null
      languages: *id001
      metrics: null
      original_task: false
    name: with a macro
    reference: ''
"""


def _template(jinja: str, answer_choices: str | None = None, id_: str = "5f1c") -> PromptsourceTemplate:
    return PromptsourceTemplate(id=id_, name="t", jinja=jinja, answer_choices=answer_choices)


def test_a_file_becomes_documents_and_a_list_of_what_was_refused() -> None:
    """Everything promptsource says of a template is kept; what cannot be imported is named with its reason."""
    found = read_promptsource(FILE)

    assert (found.dataset, found.subset) == ("reviews", "short")
    assert found.templates == (
        PromptsourceTemplate(
            id="5f1c",
            name="good or bad",
            jinja="Is this review good or bad? {{ text }} |||\n{{ answer_choices[label] }}",
            answer_choices="bad ||| good",
            original_task=True,
            choices_in_prompt=True,
            metrics=("Accuracy",),
            languages=("en",),
        ),
    )
    assert list(found.refused) == ["with a macro"]
    assert "line 1: Macro is not imported" in found.refused["with a macro"]
    assert PromptsourceSet.model_validate_json(found.canonical()) == found


def test_a_row_is_rendered_with_its_choices() -> None:
    """Input, target and choices, each without outer white space."""
    template = read_promptsource(FILE).templates[0]

    rendered = render_promptsource(template, {"text": "Well made.", "label": 1})

    assert rendered == RenderedPrompt("Is this review good or bad? Well made.", "good", ("bad", "good"))


def test_a_separator_of_the_row_is_text() -> None:
    """The row's own ||| neither splits the prompt nor the choices, however deep it lies."""
    row = {"text": "a ||| b", "options": ["c ||| d", "e"]}
    template = _template(
        "{{ text }} {{ options }} ||| {{ answer_choices[0] }}", "{{ options | join(' ||| ') }}"
    )

    rendered = render_promptsource(template, row)

    assert rendered == RenderedPrompt("a ||| b ['c ||| d', 'e']", "c ||| d", ("c ||| d", "e"))


def test_a_template_may_split_at_the_guard() -> None:
    """Published templates part a text at the row's separators by the token that stands for them."""
    template = _template(f'{{{{ text.split("{GUARD}") | length }}}} ||| x')

    assert render_promptsource(template, {"text": "a|||b|||c"}) == RenderedPrompt("3", "x", ())


def test_a_template_that_prints_nothing_skips_the_row() -> None:
    """A condition around the whole template leaves rows out."""
    template = _template("{% if label %}{{ text }} ||| yes{% endif %}")

    assert render_promptsource(template, {"text": "a", "label": 0}) is None
    assert render_promptsource(template, {"text": "a", "label": 1}) == RenderedPrompt("a", "yes", ())


@pytest.mark.parametrize(("jinja", "parts"), [("a{% if x %}|||{% endif %}", 1), ("a ||| b ||| c", 3)])
def test_other_than_two_parts_are_an_error_of_the_row(jinja: str, parts: int) -> None:
    """A prompt without its target, or with two, is never passed on."""
    with pytest.raises(CannotRender, match=f"'t': {parts} parts"):
        render_promptsource(_template(jinja), {"x": 0})


def test_the_column_of_the_choices_is_reserved() -> None:
    """promptsource refuses a row that has it, and so does the importer."""
    with pytest.raises(CannotRender, match="answer_choices"):
        render_promptsource(_template("a ||| b"), {"answer_choices": ["x"]})


def test_an_error_names_template_and_line() -> None:
    """A row that lacks a column says where it is missed."""
    with pytest.raises(CannotRender, match="'t': line 2: 'answers' is undefined"):
        render_promptsource(_template("a |||\n{{ answers.text }}"), {})


def test_truncation_is_the_textual_one_of_promptsource() -> None:
    """2,048 characters and five of grace; the filter binds to the last operand before the braces."""
    words = "word " * 1_000
    plain, sum_ = _template("{{ text }} ||| x"), _template("{{ text ~ text }} ||| x")

    cut = render_promptsource(plain, {"text": words})
    kept = render_promptsource(plain, {"text": words}, truncation="none")
    half = render_promptsource(sum_, {"text": words})

    assert cut is not None and kept is not None and half is not None
    assert cut.input == words[:2044].strip() + "..."
    assert kept.input == words.strip()
    assert half.input == words + cut.input
    exact = {"text": "a" * 2_053}
    assert render_promptsource(plain, exact) == RenderedPrompt("a" * 2_053, "x", ())


def test_braces_that_truncation_would_break_are_refused() -> None:
    """`-}}` is Jinja, but not after promptsource has written its filter before it."""
    with pytest.raises(InvalidDocument, match="not Jinja"):
        PromptsourceTemplate.parse({"id": "a", "name": "t", "jinja": "{{ text -}} ||| x"})


CHOOSING = "{{ ['a', 'b', 'c', 'd'] | choice }}{{ range(1000) | random }} ||| {{ answer_choices | choice }}"

DRAWN = ["a643", "b174", "c108", "a975"]


@given(st.integers(), st.text(max_size=20), st.text(min_size=1, max_size=9))
def test_rendering_is_a_function_of_the_row(number: int, text: str, id_: str) -> None:
    """The same row and template give the same choices, whatever was rendered in between."""
    template = _template(f"{{{{ text }}}}{CHOOSING}", "{{ text }} ||| other", id_)
    row = {"text": text, "n": number}

    first = render_promptsource(template, row)
    render_promptsource(template, row | {"n": number + 1})

    assert render_promptsource(template, row) == first


def test_a_row_that_was_cut_draws_as_the_whole_one_does() -> None:
    """A prompt that is made to fit stays the same prompt."""
    template, whole = _template(f"{{{{ text }}}}{CHOOSING}", "y"), {"text": "a long text"}

    rendered = render_promptsource(template, whole)
    cut = render_promptsource(template, {"text": "a"}, drawn_for=whole)

    assert rendered is not None and cut is not None
    assert cut.input == rendered.input.replace("a long text", "a")


def test_choices_are_even_and_differ_between_templates_and_draws() -> None:
    """Each item is chosen about as often as any other, by each template on its own."""
    one = [render_promptsource(_template(CHOOSING, "y", "1"), {"n": seed}) for seed in range(2_000)]
    other = [render_promptsource(_template(CHOOSING, "y", "2"), {"n": seed}) for seed in range(2_000)]
    letters = [rendered.input[0] for rendered in one if rendered]

    assert all(450 < letters.count(letter) < 550 for letter in "abcd")
    assert sum(a == b for a, b in zip(one, other, strict=True)) < 20


def test_choices_are_the_same_on_every_machine() -> None:
    """Not the interpreter's generator, whose choices may change with its version, but a hash."""
    drawn = [render_promptsource(_template(CHOOSING, "y"), {"n": seed}) for seed in range(4)]

    assert [each.input for each in drawn if each] == DRAWN


def _file(**changes: Any) -> str:
    lines = {"name": "name: t", "jinja": "jinja: 'a ||| b'", "id": "id: x", "more": ""} | changes
    body = "\n".join(f"    {line}" for line in lines.values() if line)
    return f"dataset: d\ntemplates:\n  x: !Template\n{body}\n    metadata: !TemplateMetadata\n      metrics: []\n"


def test_the_smallest_file_is_read() -> None:
    """Only name, id and jinja are needed."""
    assert [each.name for each in read_promptsource(_file()).templates] == ["t"]


BAD_FILES = {
    "no YAML": "a: [",
    "no mapping": "- a",
    "no templates": "dataset: d",
    "templates in a list": "dataset: d\ntemplates: [a]",
    "a template in a word": "dataset: d\ntemplates:\n  x: a",
    "metadata in a word": "dataset: d\ntemplates:\n  x: {metadata: a}",
    "no dataset": _file().replace("dataset: d\n", ""),
    "an unknown key": _file() + "author: me\n",
    "a python object": _file(more="more: !!python/object/apply:os.system ['true']"),
    "a python name": _file(more="more: !!python/name:os.system"),
    "an unknown tag": _file(more="more: !Other {}"),
    "a tag on a word": "dataset: d\ntemplates:\n  x: !Template a",
    "a key twice": _file(more="name: u"),
    "a template twice": _file() + _file().split("templates:\n")[1],
    "NUL": _file(name='name: "a\\0"'),
    "half a surrogate pair": _file(name='name: "a\\ud800"'),
    "a raw surrogate": _file(name="name: a\ud800"),
    "a raw NUL": _file(name="name: a\0"),
    "deep nesting": "dataset: " + "[" * 100_000,
    "a merge key": "a: &a {b: c}\ndataset: d\ntemplates: {<<: *a}",
    "aliases for a billion values": "l0: &l0 [a, a, a, a, a, a, a, a]\n"
    + "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 8)}]\n" for i in range(1, 10)),
    "aliases in a long list": "a: &a [" + "1," * 100_000 + "]\nb: [" + "*a," * 100_000 + "]\ntemplates: {}\n",
    "a list in itself": "dataset: &a [*a]\ntemplates: {}",
    "5 MB": "dataset: " + "d" * 5_000_000,
    "a long dataset": _file().replace("dataset: d", "dataset: " + "d" * 300),
}


@pytest.mark.parametrize("text", BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_none_is_refused_in_time(text: str) -> None:
    """Whatever is sent, it is an error of the document, at once; nothing is executed."""
    started = time.process_time()
    with pytest.raises(InvalidDocument) as refused:
        read_promptsource(text)

    assert refused.value.problems[0]["message"]
    assert time.process_time() - started < HANGS_S


BAD_TEMPLATES = {
    "no jinja": {"jinja": ""},
    "no separator": {"jinja": "jinja: a"},
    "a number as jinja": {"jinja": "jinja: 7"},
    "a list as a name": {"name": "name: [a]"},
    "a date as a name": {"name": "name: 2020-01-01"},
    "an unknown field": {"more": "owner: me"},
    "a word as a flag": {"more": "original_task: maybe"},
    "too long": {"jinja": f"jinja: 'a ||| {'b' * MAX_JINJA_CHARS}'"},
    "no Jinja in the choices": {"more": "answer_choices: '{{ a'"},
    "a refused filter in the choices": {"more": "answer_choices: '{{ a|pprint }}'"},
    "no choices": {"more": "answer_choices: ''"},
}


@pytest.mark.parametrize("changes", BAD_TEMPLATES.values(), ids=BAD_TEMPLATES)
def test_a_bad_template_is_listed_and_the_others_are_kept(changes: dict[str, str]) -> None:
    """One bad template does not cost the file."""
    other = "  y: !Template\n    name: other\n    id: y\n    jinja: 'a ||| b'\n"

    found = read_promptsource(_file(**changes) + other)

    assert [each.name for each in found.templates] == ["other"]
    assert len(found.refused) == 1
    assert all(found.refused.values())


def test_templates_of_one_name_are_told_apart() -> None:
    """The second refusal of a name does not hide the first."""
    text = _file(jinja="jinja: a")
    again = text.split("templates:\n")[1].replace("  x:", "  y:")

    assert list(read_promptsource(text + again).refused) == ["t", "t (y)"]


def test_too_many_templates_are_refused() -> None:
    """A thousand is the limit of any template set."""
    each = "  {0}: !Template {{name: n{0}, id: i, jinja: 'a ||| b'}}\n"
    text = "dataset: d\ntemplates:\n" + "".join(each.format(i) for i in range(1_001))

    assert len(text) < MAX_FILE_CHARS
    with pytest.raises(InvalidDocument, match="templates"):
        read_promptsource(text)


def test_jinja_line_ends_and_text_stay_as_they_are() -> None:
    """Blank lines within a prompt are kept; only the ends are stripped."""
    template = _template("\n  a\n\n\n b \t{{ text }}\n ||| c\n")

    assert render_promptsource(template, {"text": " x "}) == RenderedPrompt("a\n\n\n b \t x", "c", ())
