"""The dice of a generated row, and the values that a row is about.

A row's rule (the words that carry its label) is the same in every split; its values (people, places,
things) come from pools that share nothing between splits. So a validation row is never a training row,
and what is measured on it is the rule.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")
Pool = Mapping[str, tuple[str, ...]]
"""Split → the values it may use."""


class Draw:
    """Choices for one row: a pure function of (generator, split, i)."""

    def __init__(self, generator: str, split: str, i: int) -> None:
        self.split = split
        self.i = i
        # 512 bits: enough for some sixty choices among 256.
        self._bits = int.from_bytes(blake2b(f"{generator}/{split}/{i}".encode()).digest(), "big")

    def pick(self, choices: Sequence[T]) -> T:
        """One of `choices`, each as likely."""
        self._bits, index = divmod(self._bits, len(choices))
        return choices[index]

    def pick_other(self, choices: Sequence[T], than: T) -> T:
        """One of `choices` that is not `than`."""
        return self.pick([choice for choice in choices if choice != than])

    def turn(self, choices: Sequence[T]) -> T:
        """The choice whose turn it is at row i: labels drawn so are balanced exactly."""
        return choices[self.i % len(choices)]

    def shuffled(self, choices: Sequence[T]) -> list[T]:
        """`choices` in some order."""
        left = list(choices)
        return [left.pop(self.pick(range(len(left)))) for _ in choices]

    def value(self, pool: Pool) -> str:
        """A value of this row's split."""
        return self.pick(pool[self.split])


def _pool(*, train: str, validation: str) -> Pool:
    pool = {"train": tuple(train.split()), "validation": tuple(validation.split())}
    assert not set(pool["train"]) & set(pool["validation"])
    return pool


_TOWN_ENDINGS = ("ford", "ham", "ley", "mere", "stead", "wick")
_TOWN_BEGINNINGS = _pool(
    train="Ald Barn Cran Dun Elm Fen Graf Hol Kel Lang Marl Nor Oak Pen Rad Stan Thorn Wal",
    validation="Ash Brad Crow Hart Lind Mill Rother Whit",
)
PLACES: Pool = {
    split: tuple(beginning + ending for beginning in beginnings for ending in _TOWN_ENDINGS)
    for split, beginnings in _TOWN_BEGINNINGS.items()
}
WOMEN = _pool(
    train="Ada Beth Cora Dora Edith Flora Greta Hilda Ines Judith Kara Lena Mabel Nora Olive Paula Rita Sybil "
    "Tilda Una Vera Wanda Yvonne Zelda",
    validation="Agnes Brenda Clara Freya Gwen Irma Leonie Martha Petra Rosa Thea Willa",
)
MEN = _pool(
    train="Abel Boris Cyril Duncan Edgar Felix Gideon Hugo Ivor Jasper Karl Leo Magnus Ned Otto Percy Rufus "
    "Silas Tobias Ulrich Victor Walter Yorick Zach",
    validation="Alban Bruno Conrad Fergus Gustav Iain Lorenz Milo Piet Roland Theo Wendel",
)
PEOPLE: Pool = {split: WOMEN[split] + MEN[split] for split in WOMEN}
THINGS = _pool(
    train="basket bench blanket bucket carpet chair clock coat desk drum kettle kite ladder lamp mirror mug "
    "pillow radio saddle scarf shelf table trumpet wagon",
    validation="bicycle bowl cushion fiddle hammock jacket sofa stool suitcase tent vase wardrobe",
)
NUMBERS: Pool = {
    "train": tuple(str(n) for n in range(12, 100) if n % 4 != 0),
    "validation": tuple(str(n) for n in range(12, 100) if n % 4 == 0),
}
