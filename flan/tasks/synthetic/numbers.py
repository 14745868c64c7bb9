"""Clusters math and structure_to_text: sums, changes of a number, tables put into words."""

from flan.tasks.synthetic.cued import cued
from flan.tasks.synthetic.draw import NUMBERS, PEOPLE, PLACES, Draw

_CHANGES = {
    "more": (
        "bought two extra", "was given a handful", "found several in a drawer", "won some as a prize",
        "received another box", "picked up a spare one",
    ),
    "fewer": (
        "lost a few", "gave some away", "sold a couple", "dropped one down a well", "lent three to a cousin",
        "threw the bad ones out",
    ),
    "the same number": (
        "counted them twice", "put them in a row", "showed them to a friend", "washed them carefully",
        "hid them all under the bed", "painted every one blue",
    ),
}  # fmt: skip
_STOCKS = (
    "{person} had {number} marbles and {cue}.",
    "With {number} marbles in the bag, {person} {cue}.",
    "{person} owned {number} marbles. Today {person} {cue}.",
)

_PAIRS = tuple((a, b) for a in range(1, 13) for b in range(1, 13))
_SUMS: dict[str, tuple[tuple[int, int], ...]] = {
    "train": tuple((a, b) for a, b in _PAIRS if (a + 3 * b) % 5 != 0),
    "validation": tuple((a, b) for a, b in _PAIRS if (a + 3 * b) % 5 == 0),
}
_PURSES = (
    "{person} has {a} coins and earns {b} more.",
    "There are {a} coins in {person}'s purse and {b} in the jar.",
    "{person} saved {a} coins on Monday and {b} on Tuesday.",
)

_SKY = {"rain": "rainy", "sun": "sunny", "cloud": "cloudy", "snow": "snowy"}
_AIR = {"low": "Cold", "middle": "Mild", "high": "Hot"}
_WIND = {"0": "with no wind", "2": "with a light breeze", "5": "with a fresh wind", "9": "with a storm"}


def marble_counts(draw: Draw) -> dict[str, str]:
    """A number of marbles and what happened to them; only what happened matters."""
    return cued(draw, _CHANGES, _STOCKS, person=PEOPLE, number=NUMBERS)


def coin_sums(draw: Draw) -> dict[str, str]:
    """Two small numbers to add. A pair of summands belongs to one split."""
    a, b = draw.pick(_SUMS[draw.split])
    person = draw.value(PEOPLE)
    text = draw.pick(_PURSES).format(person=person, a=a, b=b)
    return {"text": text, "sum": str(a + b), "summands": f"{a}+{b}", "person": person}


def weather_tables(draw: Draw) -> dict[str, str]:
    """A line of a weather table, and the same in words."""
    sky, air, wind = (draw.pick(tuple(words)) for words in (_SKY, _AIR, _WIND))
    town = draw.value(PLACES)
    table = f"town: {town}; sky: {sky}; temperature: {air}; wind: {wind}"
    return {"table": table, "report": f"{_AIR[air]} and {_SKY[sky]} {_WIND[wind]}.", "town": town}
