"""Questions, about a text or not, whose answers are free text."""

import hashlib
import re

from flan.tasks.prepare.rows import Row

UNANSWERABLE = "unanswerable"
"""The answer when the text does not tell, as in FLAN's SQuAD 2.0."""
_QUAC_UNANSWERABLE = "CANNOTANSWER"
_BYTES = re.compile(r"""b(['"])(.*)\1""", re.DOTALL)


def ask(row: Row) -> Row:
    """`question`, typed into a search box without capital or question mark, as a written question."""
    return {**row, "question": _written(row["question"])}


def squad(row: Row) -> Row:
    """`title` with spaces for underscores; `title`, `context` and `question` without outer white space."""
    texts = {name: row[name].strip() for name in ("title", "context", "question")}
    return {**row, **texts, "title": texts["title"].replace("_", " ")}


def squad_v2(row: Row) -> Row:
    """As squad; `references` are the texts of `answers`, or "unanswerable" when there are none."""
    references = row["answers"]["text"] or [UNANSWERABLE]
    return {**squad(row), "answer": references[0], "references": references}


def drop(row: Row) -> Row:
    """DROP: `answers_spans` {spans: [...], types: [...]} as `answer` and `references`.

    The hub lists the parts of an answer ("Elam", "Kasay") and other people's wordings of it ("Elam", "Jason
    Elam") alike. Spans of the text are taken for parts when none stands in another, and joined by commas;
    otherwise the first is the answer and the others are as good.
    """
    spans = list(dict.fromkeys(span.strip() for span in row["answers_spans"]["spans"]))
    are_spans = set(row["answers_spans"]["types"]) == {"span"}
    overlap = any(a in b for a in spans for b in spans if a != b)
    references = [", ".join(spans)] if are_spans and not overlap else spans
    return {**row, "answer": references[0], "references": references}


def quac(row: Row) -> Row:
    """QuAC: one of a dialogue's `questions`, chosen by its `dialogue_id`, as `question`; its `answer`.

    The hub has a row for each dialogue; here a row is one question, without what was said before it, as in
    FLAN. `references` are the answers of other readers. The mark CANNOTANSWER leaves the end of `context`,
    and as an answer reads "unanswerable".
    """
    digest = hashlib.sha256(row["dialogue_id"].encode()).digest()
    turn = int.from_bytes(digest[:8], "big") % len(row["questions"])
    texts = [row["orig_answers"]["texts"][turn], *row["answers"]["texts"][turn]]
    references = [UNANSWERABLE if text == _QUAC_UNANSWERABLE else text.strip() for text in texts]
    return {
        **row,
        "context": row["context"].removesuffix(_QUAC_UNANSWERABLE).strip(),
        "question": _written(row["questions"][turn]),
        "answer": references[0],
        "references": references,
    }


def coqa(row: Row) -> Row:
    """CoQA: `questions` and the texts of `answers`, of a whole conversation, as numbered lines."""
    answers = row["answers"]["input_text"]
    if len(row["questions"]) != len(answers):
        raise ValueError(f"{len(row['questions'])} questions, {len(answers)} answers")
    return {
        **row,
        "story": row["story"].strip(),
        "numbered_questions": numbered(row["questions"]),
        "numbered_answers": numbered(answers),
    }


def math_dataset(row: Row) -> Row:
    r"""`question` and `answer`, which the hub holds as Python writes bytes (b'Solve x + 1 = 3.\n'), as text."""
    return {**row, "question": _decoded(row["question"]), "answer": _decoded(row["answer"])}


def numbered(texts: list[str]) -> str:
    """`texts` as the lines of a numbered list, each on one line."""
    return "\n".join(f"{i}. {' '.join(text.split())}" for i, text in enumerate(texts, start=1))


def _written(question: str) -> str:
    question = question.strip().rstrip("?").rstrip()
    return question[:1].upper() + question[1:] + "?"


def _decoded(text: str) -> str:
    match = _BYTES.fullmatch(text)
    return (match.group(2).replace("\\n", "\n") if match else text).strip()
