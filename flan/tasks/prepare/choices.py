"""Multiple choice: `choices` (a list of texts) and `answer` (the text of the right one).

A stem that the choices finish, such as `context`, stands before them in the templates.
"""

import re
from collections.abc import Sequence
from typing import Any

from flan.tasks.prepare.rows import Row

_HOW_TO_TAG = re.compile(r"\s*\[(?:title|step|substeps|header)\]\s*")
_HIGHLIGHT = "@highlight"
_PLACEHOLDER = "@placeholder"
_POSSESSIVES = ("her", "his", "my", "our", "their")
_LEADING_DETERMINER = re.compile(r"(?:A|An|Her|His|My|Our|The|Their)\b")


def stsb(row: Row) -> Row:
    """`label`, a similarity from 0.0 to 5.0, as the nearest whole number in digits; halves go to the even one.

    `similarity` is the label as it was.
    """
    return {**row, "label": str(round(row["label"])), "similarity": row["label"]}


def lettered_choices(row: Row) -> Row:
    """ARC and OpenBookQA: `choices` {text: [...], label: [...]} and `answerKey`, one of the labels.

    A text that stands twice among the choices is offered once; some published rows have such pairs.
    """
    texts = [" ".join(text.split()) for text in row["choices"]["text"]]
    answer = texts[row["choices"]["label"].index(row["answerKey"])]
    return {**row, "choices": list(dict.fromkeys(texts)), "answer": answer}


def copa(row: Row) -> Row:
    """`choice1`, `choice2` and `label`, which names one of these columns."""
    return {**row, "choices": [row["choice1"], row["choice2"]], "answer": row[row["label"]]}


def piqa(row: Row) -> Row:
    """`sol1`, `sol2` and `label`, 0 or 1, as a number or its name. Trims `goal`."""
    return {**_chosen(row, [row["sol1"], row["sol2"]], row["label"]), "goal": row["goal"].strip()}


def hellaswag(row: Row) -> Row:
    """`ctx`, four `endings` and `label`, the index of the right one in digits; [step] and other marks go."""
    context = _HOW_TO_TAG.sub("\n", row["ctx"].replace("[header] ", "")).strip()
    endings = [_HOW_TO_TAG.sub(" ", ending).strip() for ending in row["endings"]]
    return {**_chosen(row, endings, row["label"]), "ctx": context}


def cosmos_qa(row: Row) -> Row:
    """`answer0` to `answer3` and `label`, the index of the right one."""
    return _chosen(row, [row[f"answer{i}"] for i in range(4)], row["label"])


def winogrande(row: Row) -> Row:
    """`sentence` with one blank `_`, `option1`, `option2`, `answer` 1 or 2 in digits.

    `context` is the sentence up to the blank; each choice is an option and the rest of the sentence.
    """
    context, rest = row["sentence"].split("_", 1)
    choices = [row["option1"] + rest, row["option2"] + rest]
    return {**_chosen(row, choices, int(row["answer"]) - 1), "context": context.strip()}


def candidates(row: Row) -> Row:
    """Definite pronoun resolution: two `candidates` and `label`, 0 or 1, as a number or its name."""
    return _chosen(row, row["candidates"], row["label"])


def wsc273(row: Row) -> Row:
    """`text`, `pronoun` at character `pronoun_loc`, two `options` and `label`, 0 or 1.

    `context` is the text up to the pronoun; each choice is an option in the pronoun's place and the rest of
    the text. Options are published as sentences begin ("The tree"), and without the "'s" of "his" and "her".
    """
    start, pronoun = row["pronoun_loc"], row["pronoun"]
    rest = re.sub(r"\s+(?=[.,])", "", row["text"][start + len(pronoun) :])
    choices = [_in_place_of(pronoun, option) + rest for option in row["options"]]
    return {**_chosen(row, choices, row["label"]), "context": row["text"][:start].strip()}


def story_cloze(row: Row) -> Row:
    """`input_sentence_1` to `input_sentence_4`, two `sentence_quiz` and `answer_right_ending`, 1 or 2.

    `context` is the story without its ending.
    """
    context = " ".join(row[f"input_sentence_{i}"].strip() for i in range(1, 5))
    endings = [row["sentence_quiz1"].strip(), row["sentence_quiz2"].strip()]
    return {**_chosen(row, endings, int(row["answer_right_ending"]) - 1), "context": context}


def record(row: Row) -> Row:
    """ReCoRD: a news `passage`, a `query` with one @placeholder, its `entities`, and the right `answers` of them.

    `passage` ends before the article's highlights, which say too much. `query` is what stands before the
    placeholder, and an ellipsis; each choice is an entity and what stands after it. Of an entity's spellings
    that differ in capitals ("ROME", "Rome") the first is offered. `references` are all right choices, `names`
    the entities of the choices, in order.
    """
    before, after = row["query"].split(_PLACEHOLDER, 1)
    spelling: dict[str, str] = {}
    for entity in row["entities"]:
        spelling.setdefault(entity.casefold(), entity)
    right = list(dict.fromkeys(spelling[answer.casefold()] + after for answer in row["answers"]))
    return {
        **row,
        "passage": row["passage"].split(_HIGHLIGHT, 1)[0].strip(),
        "query": f"{before.strip()} ...".strip(),
        "choices": [entity + after for entity in spelling.values()],
        "names": list(spelling.values()),
        "answer": right[0],
        "references": right,
    }


def _chosen(row: Row, choices: Sequence[str], label: str | int) -> dict[str, Any]:
    index = int(label)
    if index < 0:
        # The hub's mark of a hidden answer; as an index it would mean the last choice.
        raise IndexError(f"label {label} names no choice")
    return {**row, "choices": list(choices), "answer": choices[index]}


def _in_place_of(pronoun: str, noun: str) -> str:
    if pronoun[0].isupper():
        noun = noun[0].upper() + noun[1:]
    elif _LEADING_DETERMINER.match(noun):
        noun = noun[0].lower() + noun[1:]
    return f"{noun}'s" if pronoun.lower() in _POSSESSIVES else noun
