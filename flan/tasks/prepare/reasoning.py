"""Questions with the reasoning that leads to the answer: `question`, `rationale` and `answer`.

A `question` with options holds their block at its end. Options keep their letters, "(B) yeast", because
rationales call them by these.
"""

import re
from collections.abc import Sequence

from flan.tasks.options import write_options
from flan.tasks.prepare.rows import Row

_CALCULATION = re.compile(r"<<[^<>]*>>")
_LETTER = re.compile(r"\(?([A-E])\)\s*")
# "Answer: E", "Correct answer - A", "The answer is (C)."
_VERDICT = re.compile(
    r"[\s,]*\b(?:(?:so|hence|therefore|thus),? )?(?:the )?(?:correct |right )?(?:answer|ans|option)"
    r"(?: is)?\s*[.:=\-–]*\s*\(?[A-E]\)?[\s.!]*$",
    re.IGNORECASE,
)


def cot(row: Row) -> Row:
    """The files of FLAN 2022: `question`, `options` (a list, often empty), `answer` and `rationale`.

    An answer that is only the letter of an option, "(D)", becomes the whole option. One that is the label of
    a whole sentence, "Sentence A", stays as it is.
    """
    return {
        **row,
        "question": _with_options(row["question"], row["options"]),
        "answer": _whole_option(row["answer"].strip(), row["options"]),
        "rationale": row["rationale"].strip(),
    }


def gsm8k(row: Row) -> Row:
    """`answer` such as "8 / 2 = <<8/2=4>>4 pies.\\n#### 4" as `rationale`, without the marks, and `answer`."""
    rationale, answer = row["answer"].rsplit("####", 1)
    return {**row, "rationale": _CALCULATION.sub("", rationale).strip(), "answer": answer.strip()}


def aqua_rat(row: Row) -> Row:
    """`options` such as "A)21" and `correct`, a letter; a `rationale` that ends in "Answer: A" does without.

    Refused when nothing else is in it.
    """
    options = [_LETTER.sub(r"(\1) ", option.strip(), count=1) for option in row["options"]]
    rationale = _VERDICT.sub("", row["rationale"].strip()).strip()
    if not rationale:
        raise ValueError("the rationale gives no reason")
    return {
        **row,
        "question": _with_options(row["question"], options),
        "answer": _whole_option(f"({row['correct']})", options),
        "rationale": rationale,
    }


def strategy_qa(row: Row) -> Row:
    """`facts`, a list of sentences, as `rationale`; `answer`, true or false, as yes or no."""
    facts = (" ".join(fact.split()) for fact in row["facts"])
    rationale = " ".join(fact if fact.endswith((".", "!", "?")) else f"{fact}." for fact in facts)
    if not rationale:
        raise ValueError("no fact")
    return {**row, "rationale": rationale, "answer": "yes" if row["answer"] else "no"}


def _with_options(question: str, options: Sequence[str]) -> str:
    return "\n".join([question.strip(), *([write_options(options)] if options else [])])


def _whole_option(answer: str, options: Sequence[str]) -> str:
    if not options or any(option == answer or option.startswith(f"{answer}:") for option in options):
        return answer
    (whole,) = (option for option in options if option.startswith(f"{answer} "))
    return whole
