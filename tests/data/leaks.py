"""Texts that leak and texts that do not, made of words of no meaning."""

import random
from collections.abc import Sequence
from typing import Any

from flan.data.leakage import LeakageReport, TrainingRows, find_leakage
from flan.spec import Leakage

LETTERS = "abcdefghijklmnoprstuvyz"


def made_words(seed: int, count: int) -> list[str]:
    """`count` words of four to nine letters."""
    chance = random.Random(seed)
    return ["".join(chance.choices(LETTERS, k=chance.randint(4, 9))) for _ in range(count)]


def sentence(seed: int, count: int = 20) -> str:
    """A text of `count` words that no other seed makes."""
    return " ".join(made_words(seed, count)).capitalize() + "."


def report(
    train: Sequence[dict[str, Any]], held_out: Sequence[dict[str, Any]], lengths: Leakage | None = None
) -> LeakageReport:
    """What the rows of a task `seen` and those of `asked/test` share."""
    rows = [TrainingRows("seen", train, range(len(train)))]
    return find_leakage(rows, {"asked/test": held_out}, lengths or Leakage())
