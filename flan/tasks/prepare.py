"""Named preparations: raw row → row, for datasets whose columns no slot can reach directly.

A task names one under `prepare`. Each is pure, keeps the columns it does not speak of, and is documented
with the columns it expects. A preparation of a multiple-choice dataset sets `choices` (list of texts) and
`answer` (the text of the right one).
"""

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

_BACKSLASHED = re.compile(r'\\(n|r|t|"|\\|u[0-9a-fA-F]{4})')
_BACKSLASHED_MEANING = {"n": "\n", "r": "", "t": "\t", '"': '"', "\\": "\\"}
_NEWS_ENTITY = re.compile(r"&?(#\d+|quot|amp|lt|gt|hellip);")
_NEWS_TAG = re.compile(r"</?(?:a|b|br|em|font|i|p|strong)\b[^>]*>", re.IGNORECASE)
_LOOSE_APOSTROPHE = re.compile(r" ['’](s|t|re|ve|ll|d|m)\b")
_HOW_TO_TAG = re.compile(r"\s*\[(?:title|step|substeps|header)\]\s*")
_LINE_BREAK_TAGS = re.compile(r"\s*(?:<br\s*/?>\s*)+", re.IGNORECASE)
_MEANING = re.compile(r"([^,\[\]]+?)\[([^\]]*)\]")


def trim(row: Row) -> Row:
    """Every text column without outer white space (SST-2 ends in a blank, AESLC in a line end)."""
    return {name: value.strip() if isinstance(value, str) else value for name, value in row.items()}


def web_text(row: Row) -> Row:
    """Every text column as read off a web page: runs of <br /> → one line end, entities (&amp;) → characters."""
    return {name: _read_off(value) if isinstance(value, str) else value for name, value in row.items()}


def backslashed_text(row: Row) -> Row:
    r"""`text` whose line ends and quotation marks were written as \n and \" (Yelp)."""

    def meaning(match: re.Match[str]) -> str:
        code = match.group(1)
        return chr(int(code[1:], 16)) if code[0] == "u" else _BACKSLASHED_MEANING[code]

    return {**row, "text": _BACKSLASHED.sub(meaning, row["text"]).strip()}


def ag_news(row: Row) -> Row:
    r"""`text` of a news wire without its traces: entities that lost their ampersand (" #39;s"), tags, backslashes."""
    text = _NEWS_ENTITY.sub(lambda match: html.unescape(f"&{match.group(1)};"), row["text"])
    text = _NEWS_TAG.sub(" ", text).replace("\\$", "$").replace("\\", " ")
    return {**row, "text": _LOOSE_APOSTROPHE.sub(r"'\1", " ".join(text.split()))}


def ask(row: Row) -> Row:
    """`question`, typed into a search box without capital or question mark, as a written question."""
    question = row["question"].strip().rstrip("?").rstrip()
    return {**row, "question": question[:1].upper() + question[1:] + "?"}


def squad(row: Row) -> Row:
    """`title` with spaces for underscores; `title`, `context` and `question` without outer white space."""
    return trim({**row, "title": row["title"].replace("_", " ")})


def stsb(row: Row) -> Row:
    """`label`, a similarity from 0.0 to 5.0, as the nearest whole number in digits; halves go to the even one."""
    return {**row, "label": str(round(row["label"]))}


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


def common_gen(row: Row) -> Row:
    """`concepts`, a list of words, as one text: "dog, run, field"."""
    return {**row, "concepts": ", ".join(row["concepts"])}


def e2e_nlg(row: Row) -> Row:
    """`meaning_representation` such as "name[Aromi], food[Chinese]" as "name = Aromi, food = Chinese"."""
    meanings = _MEANING.findall(row["meaning_representation"])
    return {**row, "meaning_representation": ", ".join(f"{key.strip()} = {value}" for key, value in meanings)}


def web_nlg(row: Row) -> Row:
    """`input`, a list of "Subject_name | relation | Object_name", as `triples`.

    Commas stand within a triple, semicolons between triples, spaces for underscores.
    """
    triples = (triple.replace('"', "").split(" | ") for triple in row["input"])
    return {**row, "triples": _joined_triples(triples)}


def dart(row: Row) -> Row:
    """`tripleset`, a list of [subject, relation, object], as `triples` like web_nlg's.

    Cells in brackets, such as [TABLECONTEXT], are the format's own marks and are left out.
    """
    triples = ([part for part in triple if not part.startswith("[")] for triple in row["tripleset"])
    return {**row, "triples": _joined_triples(triples)}


PREPARATIONS: dict[str, Callable[[Row], Row]] = {
    preparation.__name__: preparation
    for preparation in (
        trim,
        web_text,
        backslashed_text,
        ag_news,
        ask,
        squad,
        stsb,
        lettered_choices,
        copa,
        piqa,
        hellaswag,
        cosmos_qa,
        winogrande,
        candidates,
        common_gen,
        e2e_nlg,
        web_nlg,
        dart,
    )
}


def _chosen(row: Row, choices: Sequence[str], label: str | int) -> dict[str, Any]:
    index = int(label)
    if index < 0:
        # The hub's mark of a hidden answer; as an index it would mean the last choice.
        raise IndexError(f"label {label} names no choice")
    return {**row, "choices": list(choices), "answer": choices[index]}


def _read_off(text: str) -> str:
    return html.unescape(_LINE_BREAK_TAGS.sub("\n", text)).strip()


def _joined_triples(triples: Iterable[Sequence[str]]) -> str:
    return "; ".join(", ".join(part.replace("_", " ").strip() for part in triple) for triple in triples)
