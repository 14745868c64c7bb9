"""Super-NaturalInstructions: files in, tasks, rows and prompts out, character by character."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flan.errors import InvalidDocument
from flan.spec import parse
from flan.tasks.importers.natural_instructions import (
    EVALUATION_METRICS,
    MAX_FILE_BYTES,
    Imported,
    evaluation_categories,
    read_natural_instructions,
    read_split,
    task_name,
)
from flan.tasks.importers.tk_instruct import PAPER, TK_INSTRUCT, Encoding, encode
from flan.tasks.render import instance, render
from flan.tasks.task import Task
from flan.tasks.template import MAX_PATTERN_CHARS

DATA = os.environ.get("FLAN_DATA")
FOLDER = Path(DATA or "/none") / "natural-instructions"
FILES = sorted((FOLDER / "tasks").glob("*.json"))
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)

MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""ASCII punctuation, written out: the layout below shares nothing with the code under test."""

FILE: dict[str, Any] = {
    "Contributors": ["A. Keeper"],
    "Source": ["Harbour Log 2"],
    "URL": ["https://harbour.example/log"],
    "Categories": ["Word Analogy"],
    "Reasoning": [],
    "Definition": ["Say whether the ship of the entry came in or went out"],
    "Input_language": ["English"],
    "Output_language": ["English"],
    "Instruction_language": ["English"],
    "Domains": ["Seafaring -> Logs"],
    "Positive Examples": [
        {"input": "The Anna docked at noon", "output": "in", "explanation": "Docking ends a voyage"},
        {"input": " Sails set, lines off! ", "output": "out.", "explanation": "It leaves the quay."},
        {"input": "The Berta was towed to the pier", "output": "in", "explanation": "A pier is in port"},
    ],
    "Negative Examples": [
        {"input": "The crew sang", "output": "perhaps", "explanation": "Only in or out is an answer"},
    ],
    "Instances": [
        {"id": "log-1", "input": "Anchor dropped", "output": ["in", "In"]},
        {"id": "log-2", "input": "She cleared the mole?\n", "output": ["out"]},
    ],
    "Instance License": ["CC BY 4.0"],
}


def read(change: Callable[[dict[str, Any]], Any] | None = None, **changes: Any) -> Imported:
    """The file above, changed, as the importer sees it."""
    document = copy.deepcopy(FILE) | {key.replace("_", " "): value for key, value in changes.items()}
    if change is not None:
        change(document)
    return read_natural_instructions(json.dumps(document), "task9_harbour_log.json")


def stopped(text: str) -> str:
    """A part of the documented layout: stripped, and with a full stop where it ends in no punctuation."""
    text = text.strip()
    return text if text and text[-1] in MARKS else text + "."


def documented(
    document: dict[str, Any],
    text: str,
    *,
    name: str | None = None,
    definition: bool = True,
    positive: int = 2,
    negative: int = 0,
    explained: bool = False,
) -> str:
    """The prompt as the description of the released collator has it, line by line."""
    lines = []
    first = f"{name}. " if name else ""
    if definition:
        lines += ["Definition: " + stopped(document["Definition"][0]), ""]
    for word, count in (("Positive", positive), ("Negative", negative)):
        for i, shown in enumerate(document[f"{word} Examples"][:count]):
            lines += [f" {word} Example {i + 1} -", "Input: " + stopped(shown["input"])]
            lines += [" Output: " + stopped(shown["output"])]
            lines += [" Explanation: " + stopped(shown["explanation"])] if explained else []
            lines += [""]
    lines += ["Now complete the following example -", "Input: " + stopped(text), "Output: "]
    return first + "\n".join(lines)


DOCUMENTED: dict[str, dict[str, Any]] = {
    "definition": {"positive": 0},
    "positive": {"definition": False},
    "definition_positive": {},
    "definition_positive_negative": {"negative": 2},
    "definition_positive_explained": {"explained": True},
}


def test_the_prompt_is_the_papers_to_the_character() -> None:
    """Spaces before the marks, full stops where none was, a blank after the last colon."""
    imported = read()

    assert encode(imported.instructions, "Anchor dropped") == (
        "Definition: Say whether the ship of the entry came in or went out.\n"
        "\n"
        " Positive Example 1 -\n"
        "Input: The Anna docked at noon.\n"
        " Output: in.\n"
        "\n"
        " Positive Example 2 -\n"
        "Input: Sails set, lines off!\n"
        " Output: out.\n"
        "\n"
        "Now complete the following example -\n"
        "Input: Anchor dropped.\n"
        "Output: "
    )


def test_name_explanations_and_wrong_examples_have_their_places() -> None:
    """The name comes first, wrong examples come last, each explanation below its output."""
    encoding = Encoding(task_name=True, definition=False, positive=1, negative=3, explanations=True)

    assert encode(read().instructions, "Fog", encoding) == (
        "task9_harbour_log.  Positive Example 1 -\n"
        "Input: The Anna docked at noon.\n"
        " Output: in.\n"
        " Explanation: Docking ends a voyage.\n"
        "\n"
        " Negative Example 1 -\n"
        "Input: The crew sang.\n"
        " Output: perhaps.\n"
        " Explanation: Only in or out is an answer.\n"
        "\n"
        "Now complete the following example -\n"
        "Input: Fog.\n"
        "Output: "
    )


@pytest.mark.parametrize("name", TK_INSTRUCT)
def test_each_encoding_of_tk_instruct_is_laid_out_as_documented(name: str) -> None:
    """Five encodings, each through encode, and each as a template."""
    document = read_natural_instructions(json.dumps(FILE), "task9.json", list(TK_INSTRUCT.values()))
    template = document.task.templates[list(TK_INSTRUCT).index(name)]

    for row, given_instance in zip(document.rows, FILE["Instances"], strict=True):
        expected = documented(FILE, given_instance["input"], **DOCUMENTED[name])
        assert encode(document.instructions, row["input"], TK_INSTRUCT[name]) == expected
        assert render(instance(document.task, row), template).input == expected


def test_a_blank_part_is_a_full_stop_and_a_missing_explanation_no_line() -> None:
    """The collator closes what is empty, too, and explains only where there is something to explain."""
    shown = [{"input": "", "output": " "}, {"input": "a", "output": "b", "explanation": None}]
    imported = read(Positive_Examples=shown)

    prompt = encode(imported.instructions, "\n", Encoding(definition=False, explanations=True))

    assert prompt == (
        " Positive Example 1 -\nInput: .\n Output: .\n\n"
        " Positive Example 2 -\nInput: a.\n Output: b.\n\n"
        "Now complete the following example -\nInput: .\nOutput: "
    )


def test_examples_are_added_while_the_whole_prompt_fits() -> None:
    """The first that does not fit ends its kind, though a later one were shorter; the other kind goes on."""
    shown = [{"input": word, "output": "in"} for word in ("short", "long" * 100, "tiny")]
    instructions = read(Positive_Examples=shown).instructions
    seen: list[str] = []

    def fits(prompt: str) -> bool:
        seen.append(prompt)
        return len(prompt) < 400

    prompt = encode(instructions, "Fog", Encoding(positive=3, negative=1), fits)

    assert "Input: short." in prompt and "Negative Example 1" in prompt
    assert "longlong" not in prompt and "tiny" not in prompt
    assert seen[-1] == prompt
    assert all(each.endswith("Input: Fog.\nOutput: ") for each in seen)
    assert encode(instructions, "Fog", PAPER, lambda _: False) == documented(FILE, "Fog", positive=0)


def test_a_file_becomes_a_task_and_rows() -> None:
    """Name, cluster, family, licence, metric and answers come from where the format keeps them."""
    task, rows, instructions = read()

    assert (task.name, task.cluster, task.family) == ("task9_harbour_log", "word_analogy", "harbour_log_2")
    assert (task.licence, task.metrics, task.description) == (
        "CC BY 4.0",
        ("super_ni_exact_match", "super_ni_rouge_l"),
        FILE["Definition"][0],
    )
    assert task.source.model_dump() == {
        "kind": "dataset",
        "name": "task9_harbour_log",
        "format": "jsonl",
        "splits": {},
    }
    assert rows[0] == {
        "id": "log-1",
        "input": "Anchor dropped",
        "prompt_input": "Anchor dropped.",
        "output": "in",
        "references": ["in", "In"],
    }
    assert rows[1]["input"] == "She cleared the mole?\n"
    rendered = render(instance(task, rows[0]), task.templates[0])
    assert (rendered.target, rendered.references) == ("in", ("in", "In"))
    assert instructions.domains == ("Seafaring -> Logs",)
    assert instructions.urls == ("https://harbour.example/log",)
    assert instructions.negative[0].explanation == "Only in or out is an answer"
    assert parse(Task, json.loads(task.canonical())) == task


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"Definition": "One text"}, lambda it: it.instructions.definition == "One text"),
        ({"Definition": ["First", "Second"]}, lambda it: it.instructions.definition == "First"),
        ({"Categories": "Data to Text"}, lambda it: it.task.cluster == "data_to_text"),
        ({"Categories": ["Misc.", "Word Analogy"]}, lambda it: it.task.metrics == ("super_ni_rouge_l",)),
        ({"Domains": "News"}, lambda it: it.instructions.domains == ("News",)),
        ({"URL": [float("nan")]}, lambda it: it.instructions.urls == ()),
        ({"Instance_License": ["MIT", "Other"]}, lambda it: it.task.licence == "MIT, Other"),
        ({"Instance_License": None}, lambda it: it.task.licence == "unknown"),
        ({"Source": []}, lambda it: it.task.family is None),
        ({"Negative_Examples": []}, lambda it: it.instructions.negative == ()),
        (
            {"Instances": [{"id": "a", "input": "b", "output": "c"}]},
            lambda it: it.rows[0]["references"] == ["c"],
        ),
        ({"Instances": [{"id": "a", "input": "b", "output": [""]}]}, lambda it: it.rows[0]["output"] == ""),
        ({"Instruction_Source": 7}, lambda it: it.task.name == "task9_harbour_log"),
    ],
)
def test_looser_spellings_of_the_format_are_read(
    changes: dict[str, Any], seen: Callable[[Imported], bool]
) -> None:
    """One text for a list, a missing cell, further entries: each has its documented reading."""
    assert seen(read(**changes))


def test_a_byte_order_mark_is_no_fault() -> None:
    """Editors put one in front."""
    assert read_natural_instructions("\ufeff" + json.dumps(FILE), "a.json").task.name == "a"


def put(value: Any, *path: str | int) -> Callable[[dict[str, Any]], None]:
    """A change that puts `value` at `path`."""

    def change(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "pointer", "code", "says"),
    [
        (lambda it: it.pop("Definition"), "", "missing", "lacks ['Definition']"),
        (lambda it: [it.pop(key) for key in list(it)], "", "missing", "'Positive Examples'"),
        (put([], "Definition"), "/Definition", "empty", "no definition"),
        (put("  ", "Definition"), "/Definition", "empty", "no definition"),
        (put([7], "Definition"), "/Definition/0", "type", "holds a number, not text"),
        (put({"a": 1}, "Definition"), "/Definition", "type", "holds an object, not text"),
        (put("x" * 20_000, "Definition"), "/Definition", "too_long", "20,000 characters"),
        (put([], "Categories"), "/Categories", "empty", "no category"),
        (put("…", "Categories"), "/Categories", "empty", "no category"),
        (put([["a"]], "Domains"), "/Domains/0", "type", "holds a list"),
        (put("-", "Positive Examples"), "/Positive Examples", "type", "holds text, not a list"),
        (put(["-"], "Negative Examples"), "/Negative Examples/0", "type", "holds text, not an object"),
        (put([{"input": "a"}], "Positive Examples"), "/Positive Examples/0", "missing", "lacks ['output']"),
        (put(["b"], "Positive Examples", 1, "output"), "/Positive Examples/1/output", "type", "a list"),
        (
            put(True, "Negative Examples", 0, "explanation"),
            "/Negative Examples/0/explanation",
            "type",
            "true",
        ),
        (put([], "Instances"), "/Instances", "empty", "no instance"),
        (put(None, "Instances"), "/Instances", "type", "holds null, not a list"),
        (put(3, "Instances", 1), "/Instances/1", "type", "holds a number, not an object"),
        (put({"id": "x", "input": "y"}, "Instances", 1), "/Instances/1", "missing", "lacks ['output']"),
        (put({"input": "y", "output": ["z"]}, "Instances", 1), "/Instances/1", "missing", "lacks ['id']"),
        (put(float("nan"), "Instances", 1, "input"), "/Instances/1/input", "type", "a number"),
        (put(5, "Instances", 1, "id"), "/Instances/1/id", "type", "a number"),
        (put(["a", 4], "Instances", 1, "output"), "/Instances/1/output/1", "type", "a number"),
        (put([], "Instances", 1, "output"), "/Instances/1/output", "empty", "no reference"),
        (put([None], "Instances", 1, "output"), "/Instances/1/output", "empty", "no reference"),
        (
            put("log-1", "Instances", 1, "id"),
            "/Instances/1/id",
            "duplicate",
            "'log-1' is also that of /Instances/0",
        ),
        (put("ab\ud800", "Instances", 0, "input"), "/Instances/0/input", "surrogate", "at character 2"),
        (put("a\x00", "Instances", 0, "output"), "/Instances/0/output", "nul", "NUL at character 1"),
        (put("\udfff", "Definition"), "/Definition", "surrogate", "at character 0"),
        (put("\x00", "Source"), "/Source", "nul", "NUL"),
    ],
)
def test_a_fault_is_named_with_its_place(
    change: Callable[[dict[str, Any]], Any], pointer: str, code: str, says: str
) -> None:
    """A JSON pointer, a stable code, and the value."""
    with pytest.raises(InvalidDocument) as refused:
        read(change)

    problem = refused.value.problems[0]
    assert (problem["pointer"], problem["code"]) == (pointer, code)
    assert says in problem["message"]
    assert refused.value.message.startswith(f"task9_harbour_log.json: {pointer or 'the file'}: ")


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("", "not_json", "line 1, column 1"),
        ('{"a": 1,\n b}', "not_json", "line 2, column 2"),
        ("[1]", "type", "holds a list, not an object"),
        ("null", "type", "holds null"),
        ("[" * 100_000, "not_json", "not JSON we read"),
        ('{"a": ' + "9" * 5_000 + "}", "not_json", "not JSON we read"),
        (" " * (MAX_FILE_BYTES + 1), "too_large", "larger than 50 MB"),
        ("é" * (MAX_FILE_BYTES // 2 + 1), "too_large", "larger than 50 MB"),
    ],
    ids=["empty", "broken", "list", "null", "deep", "long number", "large", "large in bytes"],
)
def test_what_is_no_file_of_the_format_is_refused(text: str, code: str, says: str) -> None:
    """Not JSON, no object, too deep, too large: a reason each, never a traceback."""
    with pytest.raises(InvalidDocument) as refused:
        read_natural_instructions(text, "task1.json")

    assert refused.value.problems[0]["code"] == code
    assert says in refused.value.message


def test_many_faults_are_counted_and_the_first_shown() -> None:
    """A file of broken instances does not become an error of megabytes."""
    with pytest.raises(InvalidDocument, match=r"/Instances/0: .* \(and 299 more\)") as refused:
        read(Instances=[7] * 300)

    assert len(refused.value.problems) == 20


@pytest.mark.parametrize("name", ["…", ".json", "task\ud800.json", "a\x00.json"])
def test_a_file_name_that_makes_no_task_name_is_refused(name: str) -> None:
    """Nothing is left of it, or it is no text."""
    with pytest.raises(InvalidDocument):
        read_natural_instructions(json.dumps(FILE), name)


def test_names_are_ours_and_long_ones_stay_distinct() -> None:
    """Lower case, no strange character, 64 at most; a cut name carries a digest of the whole."""
    long = "task509_collate_of_all_alphabetical_and_numerical_elements_in_list_separately"

    assert task_name("Fill in The Blank") == "fill_in_the_blank"
    assert task_name("Misc.") == "misc"
    assert task_name("question_&_answer") == "question_answer"
    assert task_name("task1529_scitail1.1_classification") == "task1529_scitail1.1_classification"
    assert task_name("x" * 64) == "x" * 64
    assert len(task_name(long)) == 64 and task_name(long).startswith("task509_collate_of_all_")
    assert task_name(long) != task_name(f"{long}_again")


def test_examples_that_a_pattern_has_no_room_for_are_left_out() -> None:
    """Braces count double in a pattern; the template stays within its limit and asks all the same."""
    half = MAX_PATTERN_CHARS // 2
    shown = [{"input": "a", "output": "b"}, {"input": "{" * half, "output": "b"}]
    imported = read(Positive_Examples=shown)

    prompt = render(instance(imported.task, imported.rows[0]), imported.task.templates[0]).input

    assert prompt == documented(FILE | {"Positive Examples": shown}, "Anchor dropped", positive=1)


_ANY_TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=60)


@given(definition=_ANY_TEXT.filter(str.strip), shown=_ANY_TEXT, text=_ANY_TEXT)
@example(definition="Use {input} and {{answer}}", shown="{options_}", text="OPTIONS:\n- {a}\n- b")
@example(definition="}{", shown="{input}\nOutput: in", text="{input}\nOutput: ")
def test_any_text_stands_in_the_prompt_as_it_was_written(definition: str, shown: str, text: str) -> None:
    """Braces, OPTIONS blocks and line ends are text; only outer white space and a full stop change."""
    exemplars = [{"input": shown, "output": shown, "explanation": shown}]
    task, rows, instructions = read(
        Definition=[definition],
        Positive_Examples=exemplars,
        Negative_Examples=exemplars,
        Instances=[{"id": "1", "input": text, "output": [shown]}],
    )

    rendered = render(instance(task, rows[0]), task.templates[0])

    assert rendered.input == documented({"Definition": [definition], "Positive Examples": exemplars,
                                         "Negative Examples": []}, text)  # fmt: skip
    assert rendered.input == encode(instructions, text)
    assert rendered.target == shown
    assert rows[0]["input"] == text


def test_the_evaluation_categories_are_the_twelve_of_the_paper() -> None:
    """Six by exact match, six by ROUGE-L; however the name is capitalised."""
    assert len(EVALUATION_METRICS) == 12
    assert sorted(EVALUATION_METRICS.values()) == ["super_ni_exact_match"] * 6 + ["super_ni_rouge_l"] * 6
    categories = ["Question Answering", "Textual Entailment", "Data to text", "Misc."]
    assert evaluation_categories(categories) == ("Textual Entailment", "Data to text")


def test_a_split_is_its_names_without_blank_lines() -> None:
    """Endings, blank lines, a byte order mark and repetition do not matter; the order does."""
    assert read_split("\ufefftask2_b\r\n\n  task1_a.json \ntask2_b\n\n") == ("task2_b", "task1_a")
    assert read_split("") == ()


@pytest.mark.data
@each_file
def test_a_published_file_imports_and_is_asked_as_documented(path: Path) -> None:
    """Every instance is a row; 20 of them are laid out, in all five encodings, character by character."""
    text = path.read_text()
    document = json.loads(text)
    task, rows, instructions = read_natural_instructions(text, path.name, list(TK_INSTRUCT.values()))

    assert len(rows) == len(document["Instances"])
    assert parse(Task, json.loads(task.canonical())) == task
    assert read_natural_instructions(text, path.name).task.templates == (task.templates[2],)
    stride = -(-len(rows) // 20)
    for row, asked in list(zip(rows, document["Instances"], strict=True))[::stride]:
        for template, (name, encoding) in zip(task.templates, TK_INSTRUCT.items(), strict=True):
            expected = documented(document, asked["input"], **DOCUMENTED[name])
            assert encode(instructions, asked["input"], encoding) == expected
            rendered = render(instance(task, row), template)
            assert rendered.input == expected
            references = [asked["output"]] if isinstance(asked["output"], str) else asked["output"]
            assert rendered.references == tuple(dict.fromkeys(references))
            assert rendered.target == references[0]


@pytest.mark.data
def test_the_official_test_tasks_are_those_of_the_evaluation_categories() -> None:
    """The published list and the 12 categories draw the same line through the files at hand."""
    test_tasks = read_split((FOLDER / "splits" / "official_test_tasks.txt").read_text())
    assert len(test_tasks) == len({task_name(name) for name in test_tasks}) == 119
    assert len(FILES) == 123
    for path in FILES:
        categories = json.loads(path.read_text())["Categories"]
        assert bool(evaluation_categories(categories)) == (path.stem in test_tasks)
