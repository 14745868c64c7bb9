"""Texts as they should be read: without the traces of their format, and spoilt on purpose to be mended."""

import html
import re

from flan.tasks.prepare.rows import Row

_BACKSLASHED = re.compile(r'\\(n|r|t|"|\\|u[0-9a-fA-F]{4})')
_BACKSLASHED_MEANING = {"n": "\n", "r": "", "t": "\t", '"': '"', "\\": "\\"}
_NEWS_ENTITY = re.compile(r"&?(#\d+|quot|amp|lt|gt|hellip);")
_NEWS_TAG = re.compile(r"</?(?:a|b|br|em|font|i|p|strong)\b[^>]*>", re.IGNORECASE)
_LOOSE_APOSTROPHE = re.compile(r" ['’](s|t|re|ve|ll|d|m)\b")
_LINE_BREAK_TAGS = re.compile(r"\s*(?:<br\s*/?>\s*)+", re.IGNORECASE)
_SIGN = re.compile(r"[^\w\s]")


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


def true_case(row: Row) -> Row:
    """ParaCrawl's English side as `cased`, and without capitals as `lower`. Refused when it has none."""
    cased = _english(row)
    return {**row, "cased": cased, "lower": _changed(cased, cased.lower())}


def fix_punct(row: Row) -> Row:
    """ParaCrawl's English side as `punctuated`, and with letters, digits and spaces only as `bare`.

    Refused when there is no sign to put back, or nothing else.
    """
    punctuated = _english(row)
    return {**row, "punctuated": punctuated, "bare": _changed(punctuated, _SIGN.sub("", punctuated))}


def word_segment(row: Row) -> Row:
    """ParaCrawl's English side as `spaced`, and without spaces as `joined`. Refused when it is one word."""
    spaced = _english(row)
    return {**row, "spaced": spaced, "joined": _changed(spaced, "".join(spaced.split()))}


def _read_off(text: str) -> str:
    return html.unescape(_LINE_BREAK_TAGS.sub("\n", text)).strip()


def _english(row: Row) -> str:
    return " ".join(row["translation"]["en"].split())


def _changed(text: str, spoilt: str) -> str:
    spoilt = " ".join(spoilt.split())
    if spoilt in ("", text):
        raise ValueError(f"nothing is left to mend in {text[:60]!r}")
    return spoilt
