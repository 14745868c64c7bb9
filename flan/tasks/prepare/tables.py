"""Structured data as a line of text."""

import re
from collections.abc import Iterable, Sequence

from flan.tasks.prepare.rows import Row

_MEANING = re.compile(r"([^,\[\]]+?)\[([^\]]*)\]")


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


def _joined_triples(triples: Iterable[Sequence[str]]) -> str:
    return "; ".join(", ".join(part.replace("_", " ").strip() for part in triple) for triple in triples)
