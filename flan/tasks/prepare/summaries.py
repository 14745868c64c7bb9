"""Texts to sum up, and their summaries."""

import re

from flan.tasks.prepare.questions import numbered
from flan.tasks.prepare.rows import Row
from flan.tasks.prepare.texts import trim

MAX_OPINIONS = 10
"""Of a film's reviews or a claim's arguments, as in FLAN."""
_PLACE = r"(?:(?:[A-Z][\w.'’-]*|al|de|del|es|la|of),?\s+){0,6}"
# "LONDON, England (CNN) -- ", "London (CNN)", "(WIRED)", "PARIS, France -- ".
_DATELINE = re.compile(
    rf"^(?:{_PLACE}\([A-Z][\w .&']{{1,30}}\)\s+--+\s"
    rf"|{_PLACE}\(CNN\)"
    r"|\([A-Z]{3,}\)(?=[\"'“‘A-Z])"
    rf"|(?=[A-Z]{{2}}){_PLACE}--+\s)"
)
_LOOSE_STOP = re.compile(r" \.(?=\s|$)")
_BETWEEN_ARTICLES = re.compile(r"\|{3,}")
_BLANK_LINES = re.compile(r"\s*\n\s*")


def cnn_dailymail(row: Row) -> Row:
    """`article` without the place and agency that open it; `highlights`, one a line, with ordinary full stops."""
    article = _DATELINE.sub("", row["article"].strip()).strip()
    return {**row, "article": article, "highlights": _LOOSE_STOP.sub(".", row["highlights"]).strip()}


def multi_news(row: Row) -> Row:
    """`document`, several articles with ||||| between them, under headings "Article 1:" and so on.

    `summary` goes without its opening dash. Refused when every article is empty.
    """
    parts = (_BLANK_LINES.sub("\n", part).strip() for part in _BETWEEN_ARTICLES.split(row["document"]))
    articles = [part for part in parts if part]
    if not articles:
        raise ValueError("no article")
    document = "\n\n".join(f"Article {i}: {article}" for i, article in enumerate(articles, start=1))
    return {**row, "document": document, "summary": row["summary"].strip().removeprefix("–").strip()}


def newsroom(row: Row) -> Row:
    """`title`, `text` and `summary` without outer white space. Refused when one of them is empty."""
    row = trim(row)
    if not (row["title"] and row["text"] and row["summary"]):
        raise ValueError("no title, text or summary")
    return row


def rotten_tomatoes(row: Row) -> Row:
    """`_critics` {key: [...], value: [...]}, sentences of reviews of one film, as `reviews` and `first_review`.

    `reviews` is a numbered list of the first ten.
    """
    reviews = [" ".join(review.split()) for review in row["_critics"]["value"]]
    return {**trim(row), "first_review": reviews[0], "reviews": numbered(reviews[:MAX_OPINIONS])}


def idebate(row: Row) -> Row:
    """`_argument_sentences` {key: [...], value: [...]} as `arguments`, a numbered list of the first ten."""
    return {**trim(row), "arguments": numbered(row["_argument_sentences"]["value"][:MAX_OPINIONS])}
