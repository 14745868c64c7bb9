"""Clusters reading_comprehension and coreference: who is where, who found what, who is meant."""

from flan.tasks.synthetic.cued import cued
from flan.tasks.synthetic.draw import MEN, PEOPLE, PLACES, THINGS, WOMEN, Draw

_ROOMS = {
    "kitchen": (
        "stirs the soup", "slices onions", "takes a loaf out of the oven", "rinses plates in the sink",
        "whisks some eggs", "puts a pan on the stove", "peels potatoes", "spreads butter on toast",
    ),
    "garden": (
        "waters the roses", "pulls up weeds", "rakes the fallen leaves", "mows the lawn",
        "plants tulip bulbs", "trims the hedge", "digs a bed for beans", "picks ripe plums from the tree",
    ),
    "office": (
        "types a report", "files the invoices", "sharpens a pencil at the desk", "staples the contracts",
        "prints the agenda", "calls a client", "sits in a meeting", "signs the letters for the post",
    ),
    "garage": (
        "pumps up the flat tyre", "changes the engine oil", "waxes the car", "oils the motorcycle chain",
        "jacks up the van", "checks the brakes", "swaps a spark plug", "polishes the headlights",
    ),
}  # fmt: skip
_ROOM_PASSAGES = (
    "{person} is home from {place} and {cue}.",
    "Back from {place}, {person} {cue} and whistles.",
    "It is noon in {place}. {person} {cue}.",
    "While the others walk to {place}, {person} {cue}.",
)

_FINDINGS = (
    "{loser} lost a {thing} in {place}. {finder} found it.",
    "In {place} {finder} found the {thing} of {loser}.",
    "The {thing} that {loser} lost was found in {place} by {finder}.",
)

_MEANT = {
    "the first person": (
        "apologised to {b} because {p} had come late", "phoned {b} because {p} needed advice",
        "paid {b} because {p} owed money", "begged {b} for food because {p} was hungry",
        "hid from {b} because {p} felt shy", "lied to {b} because {p} feared trouble",
        "asked {b} the way because {p} was lost", "borrowed a coat from {b} because {p} was cold",
    ),
    "the second person": (
        "thanked {b} because {p} had been kind", "praised {b} because {p} had worked hard",
        "scolded {b} because {p} had broken a cup", "visited {b} because {p} was in hospital",
        "congratulated {b} because {p} had won", "comforted {b} because {p} was weeping",
        "forgave {b} because {p} had said sorry", "envied {b} because {p} had grown rich",
    ),
}  # fmt: skip


def room_clues(draw: Draw) -> dict[str, str]:
    """What somebody does, which is done in one of four rooms."""
    return cued(draw, _ROOMS, _ROOM_PASSAGES, person=PEOPLE, place=PLACES)


def finder_passages(draw: Draw) -> dict[str, str]:
    """Two people and a lost thing; the answer stands in the text."""
    loser = draw.value(PEOPLE)
    finder = draw.pick_other(PEOPLE[draw.split], loser)
    values = {"loser": loser, "finder": finder, "thing": draw.value(THINGS), "place": draw.value(PLACES)}
    return {"text": draw.pick(_FINDINGS).format(**values), **values}


def pronoun_pointers(draw: Draw) -> dict[str, str]:
    """Two people of one sex and a pronoun that the verb gives to one of them."""
    label = draw.turn(tuple(_MEANT))
    pool, pronoun = draw.pick(((WOMEN, "she"), (MEN, "he")))
    first = draw.value(pool)
    second = draw.pick_other(pool[draw.split], first)
    deed = draw.pick(_MEANT[label]).format(b=second, p=pronoun)
    values = {"first": first, "second": second, "place": draw.value(PLACES)}
    text = draw.pick(("In {place}, {first} {deed}.", "{first} from {place} {deed}.")).format(
        deed=deed, **values
    )
    return {"text": text, "pronoun": pronoun, "label": label, **values}
