"""Preparations: each on a made-up row of the shape that its dataset has."""

import copy
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.spec import parse
from flan.tasks.prepare import PREPARATIONS
from flan.tasks.prepare.rows import Row
from flan.tasks.render import instance, render
from flan.tasks.task import Task, load_collection
from flan.tasks.template import RowError
from tests.tasks.hub_rows import HUB_ROWS

DATA = os.environ.get("FLAN_DATA")
TASKS = load_collection("flan")
AT_HAND = (
    "cnn_dailymail",
    "multi_news",
    "drop",
    "record",
    "wsc273",
    "cot_ecqa",
    "cot_gsm8k",
    "cot_qasc",
    "cot_sensemaking",
    "cot_strategyqa",
    "gsm8k",
    "aqua_rat",
    "strategy_qa",
)
"""Tasks of HUB_ROWS that the data folder has rows of."""
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("trim", {"sentence": "a fine cake \n", "label": 1}, {"sentence": "a fine cake"}),
    (
        "web_text",
        {"text": "Salt &amp; pepper.<br /><br />Nice! ", "title": "5 &gt; 4"},
        {"text": "Salt & pepper.\nNice!", "title": "5 > 4"},
    ),
    (
        "backslashed_text",
        {"text": r"Cold soup.\n\nThe cook said \"sorry\". Caf\u00e9 closed."},
        {"text": 'Cold soup.\n\nThe cook said "sorry". Café closed.'},
    ),
    (
        "ag_news",
        {
            "text": r"Owl wins the baker #39;s cup &lt;b&gt;...&lt;/b&gt; quot;Hoot, quot; it\said for \$5 <OWL.O>"
        },
        {"text": 'Owl wins the baker\'s cup ... "Hoot, " it said for $5 <OWL.O>'},
    ),
    ("ask", {"question": "who baked the first pie "}, {"question": "Who baked the first pie?"}),
    ("ask", {"question": "Is rye a grain ?"}, {"question": "Is rye a grain?"}),
    (
        "squad",
        {"title": "Apple_pie", "context": " Pies are old.", "question": "How old ? "},
        {"title": "Apple pie", "context": "Pies are old.", "question": "How old ?"},
    ),
    ("stsb", {"label": 3.8}, {"label": "4", "similarity": 3.8}),
    ("stsb", {"label": 2.5}, {"label": "2", "similarity": 2.5}),
    (
        "lettered_choices",
        {"choices": {"text": ["a loaf", "a pan"], "label": ["1", "2"]}, "answerKey": "2"},
        {"choices": ["a loaf", "a pan"], "answer": "a pan"},
    ),
    (
        "lettered_choices",
        {"choices": {"text": ["rye", "oat", "rye  "], "label": ["A", "B", "C"]}, "answerKey": "C"},
        {"choices": ["rye", "oat"], "answer": "rye"},
    ),
    (
        "copa",
        {"premise": "The pie burned.", "choice1": "It rained.", "choice2": "I slept.", "label": "choice2"},
        {"choices": ["It rained.", "I slept."], "answer": "I slept."},
    ),
    (
        "piqa",
        {"goal": "Warm a pie. ", "sol1": "Use an oven.", "sol2": "Use a fridge.", "label": "0"},
        {"goal": "Warm a pie.", "choices": ["Use an oven.", "Use a fridge."], "answer": "Use an oven."},
    ),
    (
        "hellaswag",
        {
            "ctx": "[header] How to bake [title] Get flour. [step] Any kind will do.",
            "endings": ["Eat it raw.", "Sift it. [substeps] Use a sieve.", "Throw it.", "Sing."],
            "label": "1",
        },
        {
            "ctx": "How to bake\nGet flour.\nAny kind will do.",
            "choices": ["Eat it raw.", "Sift it. Use a sieve.", "Throw it.", "Sing."],
            "answer": "Sift it. Use a sieve.",
        },
    ),
    (
        "cosmos_qa",
        {"answer0": "Pie .", "answer1": "Rain .", "answer2": "Snow .", "answer3": "None .", "label": 3},
        {"choices": ["Pie .", "Rain .", "Snow .", "None ."], "answer": "None ."},
    ),
    (
        "winogrande",
        {"sentence": "Ann fed Eve since _ was hungry.", "option1": "Ann", "option2": "Eve", "answer": "2"},
        {
            "context": "Ann fed Eve since",
            "choices": ["Ann was hungry.", "Eve was hungry."],
            "answer": "Eve was hungry.",
        },
    ),
    (
        "candidates",
        {"sentence": "The cat bit the dog as it ran.", "candidates": ["The cat", "the dog"], "label": "1"},
        {"choices": ["The cat", "the dog"], "answer": "the dog"},
    ),
    ("common_gen", {"concepts": ["oven", "pie", "bake"]}, {"concepts": "oven, pie, bake"}),
    (
        "e2e_nlg",
        {"meaning_representation": "name[The Owl], food[Pies, cakes], familyFriendly[yes]"},
        {"meaning_representation": "name = The Owl, food = Pies, cakes, familyFriendly = yes"},
    ),
    (
        "web_nlg",
        {"input": ['Apple_pie | mainIngredient | "Apple"', "Apple_pie | country | Old_England"]},
        {"triples": "Apple pie, mainIngredient, Apple; Apple pie, country, Old England"},
    ),
    (
        "dart",
        {"tripleset": [["[TABLECONTEXT]", "BAKER_NAME", "Eve"], ["Eve", "AGE", "40"]]},
        {"triples": "BAKER NAME, Eve; Eve, AGE, 40"},
    ),
    (
        "cnn_dailymail",
        HUB_ROWS["cnn_dailymail"],
        {
            "article": "A pie the size of a pond (no joke) was eaten on Monday. Police came.",
            "highlights": "Giant pie eaten in Bakersfield.\nNEW: Police asked for seconds.",
        },
    ),
    (
        "multi_news",
        HUB_ROWS["multi_news"],
        {
            "document": "Article 1: Rye is dear.\nBakers complain.\n\n"
            "Article 2: Image caption A loaf\nPrices rose 4%.",
            "summary": "Rye costs 4% more, and bakers are cross.",
        },
    ),
    (
        "newsroom",
        HUB_ROWS["newsroom"],
        {"text": "The mill on Owl Street closes after ninety years.", "summary": "A mill shuts."},
    ),
    (
        "rotten_tomatoes",
        HUB_ROWS["opinion_abstracts_rotten_tomatoes"],
        {
            "first_review": "The 0th owl falls, and one laughs.",
            "reviews": "\n".join(f"{i + 1}. The {i}th owl falls, and one laughs." for i in range(10)),
            "_critic_consensus": "Funny birds carry a thin plot.",
        },
    ),
    (
        "idebate",
        HUB_ROWS["opinion_abstracts_idebate"],
        {"arguments": "1. Teeth rot.\n2. Sleep suffers."},
    ),
    (
        "squad_v2",
        HUB_ROWS["squad_v2"],
        {"title": "Apple pie", "answer": "unanswerable", "references": ["unanswerable"]},
    ),
    (
        "squad_v2",
        HUB_ROWS["squad_v2"] | {"answers": {"text": ["forks", "Forks"], "answer_start": [17, 17]}},
        {"title": "Apple pie", "answer": "forks", "references": ["forks", "Forks"]},
    ),
    ("drop", HUB_ROWS["drop"], {"answer": "Elam, Kasay", "references": ["Elam, Kasay"]}),
    (
        "drop",
        {"answers_spans": {"spans": ["second", "second quarter"], "types": ["span", "span"]}},
        {"answer": "second", "references": ["second", "second quarter"]},
    ),
    (
        "drop",
        {"answers_spans": {"spans": ["4", "5"], "types": ["number", "number"]}},
        {"answer": "4", "references": ["4", "5"]},
    ),
    (
        "quac",
        HUB_ROWS["quac"],
        {
            "context": "English cooks baked it in 1381. Nobody knows who came first.",
            "question": "Who ate it?",
            "answer": "unanswerable",
            "references": ["unanswerable", "unanswerable", "Nobody knows"],
        },
    ),
    (
        "coqa",
        HUB_ROWS["coqa"],
        {
            "story": "Ann baked a pie. Eve ate it.",
            "numbered_questions": "1. Who baked?\n2. What?\n3. Did she eat it?",
            "numbered_answers": "1. Ann\n2. a pie\n3. no",
        },
    ),
    ("math_dataset", HUB_ROWS["math_dataset"], {"question": "Solve 3*x - 4 = -22 for x.", "answer": "-6"}),
    (
        "math_dataset",
        {"question": "Solve x = 2.", "answer": "2\n"},
        {"question": "Solve x = 2.", "answer": "2"},
    ),
    (
        "story_cloze",
        HUB_ROWS["story_cloze"],
        {
            "context": "Ann had no flour. She asked her neighbour. He had a whole sack. He filled her bowl.",
            "choices": ["Ann wept for a week.", "Ann baked for both of them."],
            "answer": "Ann baked for both of them.",
        },
    ),
    (
        "wsc273",
        HUB_ROWS["wsc273"],
        {
            "context": "Ann sat. The mother held the girl so that",
            "choices": ["the mother's hair stayed dry.", "Ann's girl's hair stayed dry."],
            "answer": "Ann's girl's hair stayed dry.",
        },
    ),
    (
        "wsc273",
        {
            "text": "The cat ate the bird. It was fat.",
            "pronoun": "It",
            "pronoun_loc": 22,
            "options": ["The cat", "the bird"],
            "label": 0,
        },
        {
            "context": "The cat ate the bird.",
            "choices": ["The cat was fat.", "The bird was fat."],
            "answer": "The cat was fat.",
        },
    ),
    (
        "record",
        HUB_ROWS["record"],
        {
            "passage": "ROME, Italy (CNN) -- Bakers met in Rome. Anna Pane spoke.",
            "query": "The talk was given by ...",
            "choices": [
                "ROME's daughter, Eve.",
                "Italy's daughter, Eve.",
                "Anna Pane's daughter, Eve.",
                "Pane's daughter, Eve.",
            ],
            "names": ["ROME", "Italy", "Anna Pane", "Pane"],
            "answer": "Pane's daughter, Eve.",
            "references": ["Pane's daughter, Eve.", "Anna Pane's daughter, Eve."],
        },
    ),
    (
        "record",
        {"passage": "Eve sang.", "query": "@placeholder sang", "entities": ["Eve"], "answers": ["Eve"]},
        {
            "query": "...",
            "choices": ["Eve sang"],
            "names": ["Eve"],
            "answer": "Eve sang",
            "references": ["Eve sang"],
        },
    ),
    ("true_case", HUB_ROWS["true_case"], {"cased": "Ann lives in Rome.", "lower": "ann lives in rome."}),
    (
        "fix_punct",
        HUB_ROWS["fix_punct"],
        {"punctuated": "Well – it's half-baked, Ann!", "bare": "Well its halfbaked Ann"},
    ),
    ("word_segment", HUB_ROWS["word_segment"], {"spaced": "Ann lives in Rome.", "joined": "AnnlivesinRome."}),
    (
        "cot",
        HUB_ROWS["cot_ecqa"],
        {
            "question": "Where does one bake bread?\nOPTIONS:\n- oven\n- fridge",
            "answer": "oven",
            "rationale": "Bread needs heat. An oven gives heat.",
        },
    ),
    (
        "cot",
        HUB_ROWS["cot_qasc"],
        {"question": "What makes dough rise?\nOPTIONS:\n- (A) salt\n- (B) yeast", "answer": "(B) yeast"},
    ),
    (
        "cot",
        HUB_ROWS["cot_sensemaking"],
        {
            "question": "Which sentence is against common sense?\nOPTIONS:\n"
            '- Sentence A: "He ate the oven."\n- Sentence B: "He ate the pie."',
            "answer": "Sentence A",
        },
    ),
    ("cot", HUB_ROWS["cot_gsm8k"], {}),
    ("gsm8k", HUB_ROWS["gsm8k"], {"rationale": "She bakes 3 x 4 = 12 pies.\nThat is all.", "answer": "12"}),
    (
        "aqua_rat",
        HUB_ROWS["aqua_rat"],
        {
            "question": "A pie costs $3. What do 7 pies cost?\nOPTIONS:\n- (A) $10\n- (B) $21\n- (C) $37",
            "answer": "(B) $21",
            "rationale": "7 x 3 = 21, so that option A is out.",
        },
    ),
    (
        "strategy_qa",
        HUB_ROWS["strategy_qa"],
        {"rationale": "Ovens are small. Bakers are not.", "answer": "no"},
    ),
]


@pytest.mark.parametrize(("name", "row", "made"), CASES, ids=[name for name, _, _ in CASES])
def test_a_preparation_makes_what_slots_can_reach(
    name: str, row: dict[str, Any], made: dict[str, Any]
) -> None:
    """It sets exactly the columns it speaks of, keeps the others and leaves the given row alone."""
    before = copy.deepcopy(row)

    assert PREPARATIONS[name](row) == row | made
    assert row == before


def test_every_preparation_has_a_case_and_a_docstring() -> None:
    """What is not shown on a row here is not known to work."""
    assert {name for name, _, _ in CASES} == set(PREPARATIONS)
    assert all(preparation.__doc__ for preparation in PREPARATIONS.values())


@given(st.floats(min_value=0, max_value=5))
def test_similarity_is_rounded_to_a_choice_at_most_half_away(similarity: float) -> None:
    """Every score a pair can have becomes one of the six answers, and never the farther one."""
    label = PREPARATIONS["stsb"]({"label": similarity})["label"]

    assert label in {"0", "1", "2", "3", "4", "5"}
    assert abs(float(label) - similarity) <= 0.5


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            {"goal": "Warm a pie.", "sol1": "Oven.", "sol2": "Ice.", "label": -1}, id="hidden answer"
        ),
        pytest.param({"goal": "Warm a pie.", "sol1": "Oven.", "sol2": "Ice.", "label": None}, id="no answer"),
        pytest.param({"goal": "Warm a pie.", "sol1": "Oven.", "sol2": "Ice.", "label": 2}, id="too large"),
        pytest.param({"goal": "Warm a pie.", "label": 0}, id="column missing"),
        pytest.param({"goal": 7, "sol1": "Oven.", "sol2": "Ice.", "label": 0}, id="not text"),
    ],
)
def test_a_row_of_another_shape_is_refused_by_name(row: dict[str, Any]) -> None:
    """A preparation that cannot read a row says so as an error of the row, and never guesses an answer."""
    task = parse(
        Task,
        {
            "name": "pies",
            "cluster": "common_sense",
            "source": {"kind": "dataset", "name": "pies"},
            "prepare": "piqa",
            "fields": {"goal": "goal"},
            "answer": {"column": "answer", "choices_from": "choices"},
            "metrics": ["accuracy"],
            "templates": [{"input": "{goal}\n{options_}"}],
        },
    )

    with pytest.raises(RowError, match="preparation 'piqa'"):
        instance(task, row)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        pytest.param("true_case", {"translation": {"en": "no capital here."}}, id="no capital"),
        pytest.param("fix_punct", {"translation": {"en": "no sign here"}}, id="no sign"),
        pytest.param("fix_punct", {"translation": {"en": "*** !"}}, id="only signs"),
        pytest.param("word_segment", {"translation": {"en": " Alone. "}}, id="one word"),
        pytest.param("multi_news", {"document": " ||||| ", "summary": "– Nothing."}, id="no article"),
        pytest.param("newsroom", {"title": " ", "text": "A text.", "summary": "Short."}, id="no title"),
        pytest.param(
            "coqa", {"story": "", "questions": ["Who?"], "answers": {"input_text": []}}, id="no reply"
        ),
        pytest.param("story_cloze", HUB_ROWS["story_cloze"] | {"answer_right_ending": 0}, id="no ending"),
        pytest.param("record", HUB_ROWS["record"] | {"answers": []}, id="hidden name"),
        pytest.param("record", HUB_ROWS["record"] | {"answers": ["Bob"]}, id="name of nobody"),
        pytest.param("drop", {"answers_spans": {"spans": [], "types": []}}, id="no span"),
        pytest.param("aqua_rat", HUB_ROWS["aqua_rat"] | {"rationale": "Answer: B"}, id="no reason"),
        pytest.param("cot", HUB_ROWS["cot_qasc"] | {"answer": "(C)"}, id="no such option"),
        pytest.param("strategy_qa", HUB_ROWS["strategy_qa"] | {"facts": []}, id="no fact"),
    ],
)
def test_a_row_with_nothing_to_ask_is_refused(name: str, row: dict[str, Any]) -> None:
    """It raises what `instance` counts as a dropped row, rather than make up a task."""
    with pytest.raises((LookupError, ValueError)):
        PREPARATIONS[name](row)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Z"]), max_size=60))
@pytest.mark.parametrize("name", ["true_case", "fix_punct", "word_segment"])
def test_spoilt_text_differs_from_the_answer_in_one_respect(name: str, text: str) -> None:
    """Spoiling the answer again gives the input, so nothing but the answer is asked for."""
    fields = {"true_case": ("lower", "cased"), "fix_punct": ("bare", "punctuated")}
    spoilt, answer = fields.get(name, ("joined", "spaced"))
    try:
        made = PREPARATIONS[name]({"translation": {"en": text}})
    except ValueError:
        return

    again = PREPARATIONS[name]({"translation": {"en": made[answer]}})
    assert made[spoilt] and made[spoilt] != made[answer]
    assert again[spoilt] == made[spoilt]


def test_each_dialogue_always_asks_the_same_question_and_not_always_the_first() -> None:
    """The turn is a function of the dialogue's name: all turns are asked somewhere, whatever the order."""
    rows = [HUB_ROWS["quac"] | {"dialogue_id": f"C_{i}"} for i in range(40)]

    questions = [PREPARATIONS["quac"](row)["question"] for row in rows]
    assert questions == [PREPARATIONS["quac"](row)["question"] for row in rows]
    assert set(questions) == {"When was it first baked?", "Who ate it?"}


@pytest.mark.parametrize(
    ("article", "left"),
    [
        ("(CNN)Owls fly.", "Owls fly."),
        ("(CNN) -- Owls fly.", "Owls fly."),
        ("London (CNN)Owls fly.", "Owls fly."),
        ("ST. ALBANS, England (Reuters)  -- Owls fly.", "Owls fly."),
        ("PARIS, France -- Owls fly.", "Owls fly."),
        ("(WIRED)Owls fly.", "Owls fly."),
        (
            "The Owl Fund (OWL) said -- twice -- that owls fly.",
            "The Owl Fund (OWL) said -- twice -- that owls fly.",
        ),
        ("Owls fly (CNN) over PARIS -- so they say.", "Owls fly (CNN) over PARIS -- so they say."),
        ("Dar es Salaam, Tanzania  (CNN) Owls fly.", "Owls fly."),
        ("Owls fly. PARIS, France -- Owls sing.", "Owls fly. PARIS, France -- Owls sing."),
    ],
)
def test_only_the_dateline_leaves_an_article(article: str, left: str) -> None:
    """Place and agency go from the beginning; brackets and dashes of the text itself stay."""
    assert PREPARATIONS["cnn_dailymail"]({"article": article, "highlights": ""})["article"] == left


@pytest.mark.parametrize(
    ("rationale", "left"),
    [
        ("x = 2.\nAnswer: E", "x = 2."),
        ("x = 2. The answer is (C).", "x = 2."),
        ("x = 2\nCorrect answer - A", "x = 2"),
        ("x = 2\nAnswer : A", "x = 2"),
        ("x = 2, so the answer is 2.", "x = 2, so the answer is 2."),
        ("The answer is easy to see: x = 2", "The answer is easy to see: x = 2"),
    ],
)
def test_only_the_letter_at_the_end_leaves_a_rationale(rationale: str, left: str) -> None:
    """The target names the answer itself; whatever reasons for it stay."""
    row = HUB_ROWS["aqua_rat"] | {"rationale": rationale}

    assert PREPARATIONS["aqua_rat"](row)["rationale"] == left


@pytest.mark.parametrize("name", HUB_ROWS)
def test_a_row_of_the_hubs_shape_goes_through_every_template(name: str) -> None:
    """Its columns are found, and neither field, input nor target is empty."""
    _goes_through(TASKS[name], HUB_ROWS[name])


@pytest.mark.data
@pytest.mark.skipif(DATA is None, reason="FLAN_DATA is not set")
@pytest.mark.parametrize("name", AT_HAND)
def test_every_real_row_goes_through_every_template(name: str) -> None:
    """Each row at hand renders, save rationales of AQuA that give no reason: fewer than one in a hundred."""
    num_rows = num_lost = 0
    for path in (Path(str(DATA)) / "hub" / name).glob("*.jsonl.gz"):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            num_rows += 1
            try:
                _goes_through(TASKS[name], json.loads(line))
            except RowError:
                num_lost += 1

    assert num_rows
    assert num_lost == 0 or (name == "aqua_rat" and num_lost < num_rows / 100)


def _goes_through(task: Task, row: Row) -> None:
    seen = instance(task, row)
    assert all(value.strip() for value in seen.fields.values())
    for template in task.templates:
        rendered = render(seen, template)
        assert rendered.input.strip() and rendered.target.strip()
    assert not seen.choices or seen.answer in seen.choices
