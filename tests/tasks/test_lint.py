"""Every code of the lint: a table of bad templates, sets and rows, each with the findings it must raise."""

from typing import Any, NamedTuple

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from flan.tasks.lint import lint
from flan.tasks.lint_findings import Finding, Limits
from flan.tasks.lint_sets import position, shared_runs, similarity
from flan.tasks.lint_tokens import round_trip
from tests.tasks.samples import CLEAN_TEN, FREE_TEN, review_task

Rows = list[dict[str, Any]]
Place = tuple[str, int | None]
ROWS: Rows = [{"text": f"It is item {i}.", "label": ("negative", "positive")[i % 2]} for i in range(6)]
NAMES: Rows = [{"text": "Ada found it.", "label": "Ada"}]
FREE: dict[str, Any] = {"answer": {"column": "label"}, "metrics": ["rouge_l"], "templates": FREE_TEN}
OFFERED: dict[str, Any] = {"answer": {"column": "label", "choices_from": "options"}}
LONG = "the river that runs behind the mill on the hill"
UNREADABLE = ("options_in_line", "options_unreadable")
ASK = "Was the writer happy?\n\n{review}\n\n{options_}"


WORDS = "".join(map(chr, range(33, 123))).replace("{", "")
NEVER_LAST = {
    0: "Is one being kind or harsh? {review}\n\n{options_}",
    4: "Can you feel what moved a buyer? {review}\n\n{options_}",
}
NO_QUESTION = {
    0: "{review}\n\nSay whether that is kind or harsh.\n\n{options_}",
    4: "{review}\n\nGuess what the buyer felt.\n\n{options_}",
    5: 'A shop owner received this: "{review}"\n\nJudge how glad they should be.\n\n{options_}',
    9: "Find out whether the writer was happy.\n\n{review}\n\n{options_}",
}
NO_REQUEST = {
    1: "Which class has this opinion?\n\n{review}\n\n{options_}",
    2: "{options_}\n\nWhat label suits these words?\n\n{review}",
    3: "Review: {review}\nSentiment?\n{options_}",
    6: "Can you tell me the mood behind a message?\n\n{review}\n\n{options_}",
    7: "{review}\n\nPositive or negative?",
    8: "How would a {answer} comment sound?",
}
WITHOUT_OPTIONS = {
    0: "{review}\n\nIs this review positive or negative?",
    4: "{review}\n\nWas the buyer left with a negative or a positive feeling?",
    5: 'A shop owner received this: "{review}"\n\nGood news is "positive", bad "negative"; which is it?',
    9: "Did the writer smile (positive) or frown (negative)?\n\n{review}",
}


class Case(NamedTuple):
    """A task with one thing wrong; and which (code, template) that must raise, and no other."""

    name: str
    changes: dict[str, Any]
    expected: set[Place]
    rows: Rows = ROWS


def swap(pattern: str, at: int = 9, among: list[dict[str, Any]] = CLEAN_TEN, **more: str) -> dict[str, Any]:
    """A clean set with one template replaced."""
    return {"templates": [*among[:at], {"input": pattern, **more}, *among[at + 1 :]]}


def swap_many(patterns: dict[int, str]) -> dict[str, Any]:
    """A clean set with some inputs replaced."""
    return {
        "templates": [each | {"input": patterns.get(i, each["input"])} for i, each in enumerate(CLEAN_TEN)]
    }


def options_first(pattern: str) -> str:
    """The pattern with its options moved to the top."""
    shown = pattern.removesuffix("{options_}").rstrip()
    return pattern if shown == pattern else f"{{options_}}\n\n{shown}"


def wording(name: str, pattern: str, *codes: str) -> Case:
    """A case of one bad pattern in place of the last template."""
    return Case(name, swap(pattern), {(code, 9) for code in codes})


def inverted(name: str, pattern: str, target: str, *codes: str) -> Case:
    """The same for a template that is turned around."""
    return Case(name, swap(pattern, 8, target=target, role="inverted"), {(code, 8) for code in codes})


def choosing(*choices: str) -> dict[str, Any]:
    """An answer with other choices, and templates that name none in their words."""
    return {"answer": {"column": "label", "choices": choices}} | swap(
        "Is one glad?\n\n{review}\n\n{options_}", at=7
    )


PATTERNS = [
    wording("letter before a slot", "Was the writer happy?\n\nn{review}\n\n{options_}", "literal_after_field"),
    wording("letter behind a slot", "Was the writer happy?\n\n{review}n\n\n{options_}", "literal_after_field"),
    wording("foreign letter", "Was the writer happy?\n\né{review}\n\n{options_}", "literal_after_field"),
    wording("slots that touch", "Was the writer happy?\n\n{review}{review}\n\n{options_}", "literal_after_field"),
    wording("two blanks", "Was the  writer happy?\n\n{review}\n\n{options_}", "odd_spacing"),
    wording("two blanks at a slot", "Was the writer happy?  {review}\n\n{options_}", "odd_spacing"),
    wording("line break at the end", ASK + "\n", "odd_spacing"),
    wording("blank at the start", " " + ASK, "odd_spacing"),
    wording("tabulator", "Was the writer\thappy?\n\n{review}\n\n{options_}", "odd_spacing"),
    wording("carriage return", "Was the writer happy?\r\n{review}\n\n{options_}", "odd_spacing"),
    wording("blank before a line break", "Was the writer happy? \n\n{review}\n\n{options_}", "odd_spacing"),
    wording("blank behind a line break", "Was the writer happy?\n {review}\n\n{options_}", "odd_spacing"),
    wording("two empty lines", "Was the writer happy?\n\n\n{review}\n\n{options_}", "odd_spacing"),
    inverted("blank behind the target", "Invent a {answer} remark.", "{review} ", "odd_spacing"),
    wording("two question marks", "Was the writer happy??\n\n{review}\n\n{options_}", "doubled_punctuation"),
    wording("two full stops", "Judge the writer's mood..\n\n{review}\n\n{options_}", "doubled_punctuation"),
    wording("five full stops", "Judge the writer's mood.....\n\n{review}\n\n{options_}", "doubled_punctuation"),
    wording("two commas", "Happy,, or was the writer not?\n\n{review}\n\n{options_}", "doubled_punctuation"),
    wording("blank before a mark", "Was the writer happy ?\n\n{review}\n\n{options_}", "doubled_punctuation"),
    wording("blank before a full stop", "Judge the mood .\n\n{review}\n\n{options_}", "doubled_punctuation"),
    wording("mark behind a mark", "Was the writer happy?.\n\n{review}\n\n{options_}", "doubled_punctuation"),
    wording("comma behind a colon", "The writer's mood:, it is\n{review}\n\n{options_}", "doubled_punctuation"),
    wording("full stop behind a full-stopped value", "Happy? {review}.\n\n{options_}", "doubled_punctuation"),
    wording("comma behind it", "Happy, going by {review}, or not?\n\n{options_}", "doubled_punctuation"),
    wording("full stop behind its quote", 'Judge "{review}".\n\n{options_}', "doubled_punctuation"),
    wording("comma behind its quote", 'Reading "{review}", is one glad?\n\n{options_}', "doubled_punctuation"),
    wording("word twice", "Was the the writer happy?\n\n{review}\n\n{options_}", "repeated_word"),
    wording("word twice, capital first", "Was was it liked?\n\n{review}\n\n{options_}", "repeated_word"),
    wording("one quotation mark", 'Was the writer happy?\n\n"{review}\n\n{options_}', "unbalanced"),
    wording("one parenthesis", "Was the writer (of this happy?\n\n{review}\n\n{options_}", "unbalanced"),
    wording("one curly quote", "Was the writer happy?\n\n“{review}\n\n{options_}", "unbalanced"),
    wording("one bracket", "Was the writer happy?]\n\n{review}\n\n{options_}", "unbalanced"),
    wording("no-break space", "Was the writer\u00a0happy?\n\n{review}\n\n{options_}", "odd_character"),
    wording("zero-width space", "Was the wri\u200bter happy?\n\n{review}\n\n{options_}", "odd_character"),
    wording("byte order mark", "\ufeff" + ASK, "odd_character"),
    wording("bell", "Was the writer happy?\x07\n\n{review}\n\n{options_}", "odd_character"),
    wording("replacement character", "Was the writer happy\ufffd\n\n{review}\n\n{options_}", "odd_character"),
    wording("Jinja's braces", "Was {{review}} happy?\n\n{review}\n\n{options_}", "unfilled_slot"),
    wording("Jinja's braces, spaced", "Was {{ review }} happy?\n\n{review}\n\n{options_}", "unfilled_slot"),
    wording("brackets", "Was [review] happy?\n\n{review}\n\n{options_}", "unfilled_slot"),
    wording("angles", "Was <review> happy?\n\n{review}\n\n{options_}", "unfilled_slot"),
    wording("dollar", "Was $review happy?\n\n{review}\n\n{options_}", "unfilled_slot"),
    wording("percent and name", "Was %(review)s happy?\n\n{review}\n\n{options_}", "unfilled_slot"),
    wording("percent", "Was %s happy?\n\n{review}\n\n{options_}", "unfilled_slot"),
    wording("empty braces", "Was {{}} happy?\n\n{review}\n\n{options_}", "unfilled_slot"),
    wording("options as text", "Was it liked?\n\n{review}\n\n{{options_}}", "unfilled_slot", "options_missing"),
    inverted("slot as text in a target", "Invent a {answer} remark.", "{{review}} {review}", "unfilled_slot"),
    wording("nothing but slots", "{review}\n\n{options_}", "no_instruction"),
    wording("nothing of the row", "Was the writer happy?\n\n{options_}", "shows_no_field"),
    inverted("turned around, nothing of the row", "Invent a remark.", "{review}", "shows_no_field"),
    wording("words before the options", "{review}\n\nWas the writer happy? {options_}", *UNREADABLE),
    wording("words behind the options", "{review}\n\n{options_} Was the writer happy?", "options_in_line"),
    wording("slot before the options", "Was the writer happy?\n{review} {options_}", *UNREADABLE),
    inverted("options shown for nothing", "Invent a\n\n{answer}\n\n{options_}", "{review}", "options_out_of_place"),
    wording("no options", "Was the writer happy?\n\n{review}", "options_missing"),
    wording("half of the options", 'Say "positive" if the writer was happy.\n\n{review}', "options_missing"),
    inverted("the same target for all", "Invent a {answer} remark.", "Fine.", "fixed_target"),
    inverted("the target in the input", "{review}\n\nRepeat what you read.", "{review}", "target_given_away"),
    Case(
        "more than the answer",
        swap(ASK, target="It is {answer}."),
        {("target_not_in_options", 9)},
    ),
    Case(
        "a field that is the answer",
        {"fields": {"review": "text", "mood": "label"}} | swap("Mood {mood}: liked?\n\n{review}\n\n{options_}"),
        {("answer_leaks_into_input", 9)},
    ),
    Case(
        "a wrong article",
        {"answer": {"column": "label", "choices": ["angry", "pleased"]}}
        | {"templates": [*CLEAN_TEN[:7], {"input": "Is one glad?\n\n{review}\n\n{options_}"}, *CLEAN_TEN[8:]]},
        {("wrong_article", 8)},
        [{"text": "It broke.", "label": "angry"}, {"text": "It works.", "label": "pleased"}],
    ),
    Case(
        "the other wrong article",
        swap('Invent an "{answer}" remark.', 8, target="{review}", role="inverted"),
        {("wrong_article", 8)},
    ),
]  # fmt: skip

SETS = [
    Case(
        "the same but for line breaks",
        swap(CLEAN_TEN[4]["input"].replace("\n\n", "\n")),
        {("duplicate_template", 9)},
    ),
    Case(
        "two thirds of the words",
        swap("How did the buyer feel when asked about it later?\n\n{review}\n\n{options_}"),
        {("similar_template", 9)},
    ),
    Case("six of ten words", swap("How did the seller react?\n\n{review}\n\n{options_}"), set()),
    Case(
        "nearly the same words",
        swap("How did the buyer feel?\n{review}\n{options_}"),
        {("similar_template", 9)},
    ),
    Case(
        "eight words in a row",
        swap(
            "Tell me in one word what mood speaks when a stranger who owns no telephone says {review}\n\n{options_}"
        ),
        {("shared_run", 9)},
    ),
    Case("a field for nothing", {"fields": {"review": "text", "mood": "label"}}, {("unused_field", None)}),
    Case("a constant for nothing", {"constants": {"shop": "Owl & Sons"}}, {("unused_field", None)}),
    Case(
        "a column twice",
        {"fields": {"review": "text", "again": "text"}} | swap("Is one glad of this? {again}\n\n{options_}"),
        {("same_column", None)},
    ),
    Case("nine", {"templates": CLEAN_TEN[:9]}, {("few_templates", None)}),
    Case("one", {"templates": CLEAN_TEN[:1]}, {("few_templates", None)}),
    Case(
        "eleven",
        {"templates": [*CLEAN_TEN, {"input": "Is anybody pleased here?\n\n{review}\n\n{options_}"}]},
        {("many_templates", None)},
    ),
    Case(
        "four turned around",
        {
            "templates": [
                *CLEAN_TEN[:5],
                {"input": "Is anybody pleased here?\n\n{review}\n\n{options_}"},
                *(
                    {"input": pattern, "target": "{review}", "role": "inverted"}
                    for pattern in (
                        "Invent something {answer} about an umbrella.",
                        "Which sentence could be called {answer}?",
                        "{answer} are the thoughts of a guest. What are they?",
                        "Label: {answer}\nMessage:",
                    )
                ),
            ]
        },
        {("inverted_over_three", None)},
    ),
    Case("never last", swap_many(NEVER_LAST), {("positions_alike", None)}),
    Case("never a question", swap_many(NO_QUESTION), {("moods_alike", None)}),
    Case("never a request", swap_many(NO_REQUEST), {("moods_alike", None)}),
    Case("options seldom", swap_many(WITHOUT_OPTIONS), {("options_seldom", None)}),
    Case(
        "options always behind", swap("Pick one.\n\n{review}\n\n{options_}", at=2), {("options_alike", None)}
    ),
    Case(
        "options always before",
        {"templates": [each | {"input": options_first(each["input"])} for each in CLEAN_TEN]},
        {("options_alike", None)},
    ),
]

OF_ROWS = [
    Case(
        "a blank field",
        {},
        {("blank_field", None), ("blank_target", 8)},
        [*ROWS, {"text": " ", "label": "positive"}],
    ),
    Case(
        "a blank input",
        swap("{review}"),
        {
            ("blank_field", None), ("blank_target", 8), ("blank_input", 9),
            ("no_instruction", 9), ("options_missing", 9),
        },
        [*ROWS, {"text": " ", "label": "positive"}],
    ),
    Case(
        "a blank answer",
        FREE,
        {("blank_field", None), *(("blank_target", i) for i in range(10) if i != 8)},
        [*NAMES, {"text": "Who?", "label": " "}],
    ),
    Case("a missing column", {}, {("row_dropped", None)}, [*ROWS, {"label": "positive"}]),
    Case("no row that can be read", {}, {("row_dropped", None)}, [{"label": "positive"}]),
    Case(
        "an answer among no options", {}, {("target_not_in_options", None)}, [*ROWS, {"text": "a", "label": "mixed"}]
    ),
    Case(
        "one choice in two spellings",
        choosing("Yes", "yes"),
        {("duplicate_option", None)},
        [{"text": "a", "label": "yes"}],
    ),
    Case(
        "values without a full stop before a sentence",
        swap("Is somebody glad here? {review} Tell me.\n\n{options_}"),
        {("run_on", 9)},
        [{"text": "It is an item", "label": "positive"}],
    ),
    Case(
        "two choices of a row that differ in a capital",
        OFFERED | swap("Is it?\n\n{review}\n\n{options_}", at=7),
        {("duplicate_option", None)},
        [{"text": "a", "options": ["just SS", "just Ss"], "label": "just Ss"}],
    ),
    Case(
        "a choice that begins another",
        choosing("no", "no idea"),
        {("option_prefix_of_other", None)},
        [{"text": "a", "label": "no"}],
    ),
    Case("white space at the end", {}, {("untrimmed_field", None)}, [*ROWS, {"text": "Good.\n", "label": "positive"}]),
    Case("a field for an answer", FREE, {("untrimmed_field", None)}, [*NAMES, {"text": "Ada ran.", "label": " Ada"}]),
    Case(
        "an option of nothing",
        OFFERED | swap("Is it?\n\n{review}\n\n{options_}", at=7),
        {
            ("blank_field", None), ("option_prefix_of_other", None),
            *(("options_unreadable", i) for i in (0, 1, 3, 4, 5, 6, 7, 9)),
        },
        [{"text": "a", "options": ["negative", ""], "label": "negative"}],
    ),
    Case(
        "options of the row that are not shown",
        OFFERED,
        {("options_missing", 7)},
        [{"text": "a", "options": ["negative", "positive"], "label": "negative"}],
    ),
    Case(
        "a long answer in the text",
        FREE,
        {("answer_leaks_into_input", i) for i in range(10) if i != 8},
        [*NAMES, {"text": f"I saw {LONG}.", "label": LONG}],
    ),
    Case(
        "a long target in the input",
        {"fields": {"review": "text", "title": "title"}}
        | swap("{title}\n\nA {answer} text has this heading.", 8, target="{review}", role="inverted"),
        {("target_given_away", 8)},
        [{"text": LONG, "title": f"On {LONG}", "label": "positive"}],
    ),
    Case(
        "an input that is too long",
        {},
        {*(("over_length", i) for i in range(10))},
        [{"text": "long, " * 1000 + "long", "label": "positive"}],
    ),
    Case(
        "a target that is too long",
        FREE,
        {("over_length", i) for i in range(10) if i != 8},
        [{"text": "a", "label": "x" * 1025}],
    ),
]  # fmt: skip
CASES = {case.name: case for case in (*PATTERNS, *SETS, *OF_ROWS)}


def places(findings: list[Finding]) -> set[Place]:
    return {(finding.code, finding.template) for finding in findings}


def test_clean_tasks_have_no_finding() -> None:
    """Ten good templates over good rows: silence, for choices and for free text."""
    assert lint(review_task(templates=CLEAN_TEN), ROWS) == []
    assert lint(review_task(**FREE), NAMES) == []


def test_the_table_is_long_and_names_each_case_once() -> None:
    """At least 60 cases; a name that stood twice would hide one."""
    assert len(CASES) == len(PATTERNS) + len(SETS) + len(OF_ROWS) >= 60


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_found_where_it_is_and_nothing_else(name: str) -> None:
    """Each bad template, set or row raises its findings, at their templates, and no further ones."""
    case = CASES[name]
    task = review_task(**({"templates": CLEAN_TEN} | case.changes))

    assert places(lint(task, case.rows)) == case.expected


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("a missing column", "warning"),
        ("no row that can be read", "error"),
        ("an answer among no options", "error"),
        ("a field that is the answer", "error"),
        ("a long answer in the text", "warning"),
        ("one choice in two spellings", "error"),
        ("two choices of a row that differ in a capital", "warning"),
        ("Jinja's braces", "error"),
        ("the same target for all", "error"),
        ("the target in the input", "error"),
        ("a long target in the input", "warning"),
        ("nearly the same words", "warning"),
        ("nine", "warning"),
    ],
)
def test_an_error_is_what_makes_a_template_useless(name: str, severity: str) -> None:
    """What only might be wrong, or is wrong with some rows, is a warning."""
    case = CASES[name]
    findings = lint(review_task(**({"templates": CLEAN_TEN} | case.changes)), case.rows)

    assert {finding.severity for finding in findings} == {severity}


def test_a_fault_of_many_rows_is_one_finding_with_count_and_first() -> None:
    """Two broken rows among eight are said once."""
    rows = [*ROWS[:2], {"label": "positive"}, *ROWS[2:], {"label": "negative"}]

    (finding,) = lint(review_task(templates=CLEAN_TEN), rows)

    assert finding.row == 2
    assert finding.message.startswith("2 of 8 rows; first: no column 'text'")


def test_errors_come_before_warnings() -> None:
    """What must be mended stands on top."""
    findings = lint(review_task(), [*ROWS, {"text": "a", "label": "neutral"}])

    assert [finding.severity for finding in findings] == ["error", "warning"]


def test_marks_that_meet_in_few_rows_are_the_rows_own() -> None:
    """One text in forty that ends with a full stop is no reason to write the template another way."""
    rows = [{"text": f"item {i}", "label": "positive"} for i in range(39)]
    task = review_task(**swap("Is {review}, in short, liked?\n\n{options_}"))

    assert lint(task, [*rows, {"text": "An item.", "label": "positive"}]) == []
    assert places(lint(task, [*rows[:9], {"text": "An item.", "label": "positive"}])) == {
        ("doubled_punctuation", 9)
    }


def test_an_answer_may_stand_in_the_options_and_short_ones_anywhere() -> None:
    """Choosing needs the options in sight, and a short answer is found in a passage by nature."""
    task = review_task(**(OFFERED | swap("Is it?\n\n{review}\n\n{options_}", at=7)))
    rows = [{"text": f"By {LONG}", "options": [LONG, "none"], "label": LONG}]

    assert lint(task, rows) == []
    assert lint(review_task(**FREE), NAMES) == []


@pytest.mark.parametrize(
    "pattern",
    [
        "a{{b}}c{{{review}}}d happy?\n{options_}",
        'Is "{review}" kind, i.e. nice ... or (maybe) not?\n\n{options_}',
        "1) Read.\n2) Judge the tone.\n\n{review}\n\n{options_}",
        "Was it $5 well spent, <or> 100% lost?\n\n{review}\n\n{options_}",
        'What would "{review}" tell a buyer?\n\n{options_}',
        "On a scale of 1,000: liked?! Then say so.\n\n{review}\n\n{options_}",
    ],
)
def test_odd_but_right_wording_is_left_alone(pattern: str) -> None:
    """Braces, lists, prices, abbreviations and ellipses are no faults."""
    assert lint(review_task(**swap(pattern)), ROWS) == []


@pytest.mark.parametrize(
    ("answer", "pattern"),
    [
        ("useful", "Invent a {answer} remark."), ("honest", "Invent an {answer} remark."),
        ("one-sided", "Invent a {answer} remark."), ("MRI-like", "Invent an {answer} remark."),
        ("8-year-old", "Invent an {answer} remark."), ("unhappy", "Invent an {answer} remark."),
    ],
)  # fmt: skip
def test_articles_go_by_sound(answer: str, pattern: str) -> None:
    """A useful, an honest, a one-sided remark; what is spelt out or counted is not judged."""
    task = review_task(**(FREE | swap(pattern, 8, FREE_TEN, target="{review}", role="inverted")))

    assert lint(task, [{"text": "It broke.", "label": answer}]) == []


def test_the_limits_can_be_set() -> None:
    """They are counted in characters, and the field that would be cut is named."""
    findings = lint(review_task(templates=CLEAN_TEN), ROWS, Limits(input_chars=40))

    assert {finding.code for finding in findings} == {"over_length"}
    assert "'review' would be cut" in findings[0].message


def test_a_tokenizer_that_loses_text_is_found_in_templates_and_in_rows() -> None:
    """A real one, which never saw a brace and splits at white space: braces and line breaks do not come back."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        special_tokens=["<unk>"], initial_alphabet=list(WORDS), show_progress=False
    )
    tokenizer.train_from_iterator([WORDS], trainer)
    trips = {"small": round_trip(tokenizer)}
    task = review_task(**swap("Was {{it}} liked?\n\n{review}\n\n{options_}"))

    found = lint(task, [{"text": "Fine §", "label": "positive"}], tokenizers=trips)

    assert {finding.code for finding in found} == {"tokenizer_lossy"}
    messages = {finding.template: finding.message for finding in found}
    assert set(messages) == {0, 1, 2, 3, 4, 5, 6, 7, 9, None}
    assert messages[4] == "small: line breaks or runs of blanks become one blank"
    assert "<unk>" in messages[9]
    assert messages[None].startswith("1 of 1 rows; first: small on review: '§' comes back as '<unk>'")


def test_a_tokenizer_that_keeps_every_byte_has_no_finding() -> None:
    """Byte-level BPE loses nothing, and so says the lint."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [WORDS], trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False)
    )
    rows = [{"text": "Fine § {x}\n\ty", "label": "positive"}]

    assert lint(review_task(templates=CLEAN_TEN), rows, tokenizers={"bytes": round_trip(tokenizer)}) == []


@pytest.mark.parametrize(
    ("pattern", "where"),
    [
        ("Tell me what it says.\n\n{review}\n\n{options_}", "first"),
        ("{options_}\n\nTell me what it says.\n\n{review}", "first"),
        ("{review}\n\nWhat does it say?\n\n{options_}", "last"),
        ("{review} What does it say?", "last"),
        ("What does it say? {review}", "first"),
        ("{review}\n\nWhat does it say of this?\n\n{title}", "between"),
        ("Title: {title}\nText: {review}\nMood:\n{options_}", "labels"),
        ('"{title}"\n\nIn these lines, "{review}" has a meaning.', "last"),
        ("{review}", "labels"),
    ],
)
def test_position_is_that_of_the_longest_line_of_words(pattern: str, where: str) -> None:
    """Relative to the lines that hold the row; the options block does not count."""
    assert position(pattern) == where


def test_similarity_counts_words_without_slots() -> None:
    """Of "the cat saw the dog" and "the dog" 2 words are common: 4 of 7. Case and slots do not matter."""
    assert similarity("The cat saw the dog {review}", "{title} the DOG!") == pytest.approx(4 / 7)
    assert similarity("{review}", "{title}") == 0


def test_shared_runs_do_not_reach_across_a_slot() -> None:
    """Eight words in a row must be the author's, not those on both sides of a value."""
    whole = "one two three four five six seven eight"
    broken = "one two three four {review} five six seven eight"

    assert [(run.a, run.b) for run in shared_runs([whole, broken, f"And {whole} {{x}}"])] == [(0, 2)]
    assert [(run.a, run.b) for run in shared_runs([broken, whole], [whole])] == [(1, 0)]
