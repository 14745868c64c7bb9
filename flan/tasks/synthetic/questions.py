"""Cluster question_classification: what a question asks for, and what it is about."""

from flan.tasks.synthetic.cued import cued
from flan.tasks.synthetic.draw import PEOPLE, PLACES, THINGS, Draw

_KINDS = {
    "person": (
        "Who {verb} {owner}'s {thing}?",
        "Which woman {verb} {owner}'s {thing}?",
        "By whom was {owner}'s {thing} {verb}?",
        "What is the name of the man who {verb} {owner}'s {thing}?",
    ),
    "place": (
        "Where was {owner}'s {thing} {verb}?",
        "In which town was {owner}'s {thing} {verb}?",
        "What street was it where they {verb} {owner}'s {thing}?",
        "At which address was {owner}'s {thing} {verb}?",
    ),
    "time": (
        "When was {owner}'s {thing} {verb}?",
        "In what year was {owner}'s {thing} {verb}?",
        "On which day was {owner}'s {thing} {verb}?",
        "At what hour was {owner}'s {thing} {verb}?",
    ),
    "number": (
        "How many people {verb} {owner}'s {thing}?",
        "How much did it cost when they {verb} {owner}'s {thing}?",
        "How many times was {owner}'s {thing} {verb}?",
        "What was the price when they {verb} {owner}'s {thing}?",
    ),
    "reason": (
        "Why was {owner}'s {thing} {verb}?",
        "For what reason was {owner}'s {thing} {verb}?",
        "What was the purpose when they {verb} {owner}'s {thing}?",
        "How come they {verb} {owner}'s {thing}?",
    ),
}
_VERBS = ("borrowed", "cleaned", "delivered", "measured", "moved", "painted", "repaired", "wrapped")

_TOPICS = {
    "animals": (
        "why cats purr", "how horses sleep", "what hens peck at", "where wolves hunt", "how owls catch mice",
        "what goats graze on", "why dogs bark at foxes", "how bees find their hive",
    ),
    "food": (
        "how to bake bread", "what makes soup thick", "how long rice must boil", "why cheese ripens",
        "what to fry with onions", "how much salt stew needs", "when apples taste best", "how butter is churned",
    ),
    "music": (
        "how to tune a violin", "who composed that song", "why the choir hums", "what chords a guitar plays",
        "how loud a flute sounds", "which tunes drummers like", "what a concert costs", "how to read melodies",
    ),
    "weather": (
        "why thunder rumbles", "when the fog will lift", "how snow forms", "what makes hail fall",
        "when the rain will stop", "why frost bites", "how strong a gale blows", "where clouds come from",
    ),
}  # fmt: skip
_ASKING = (
    "{person} of {place} asks {cue}.",
    "In {place}, {person} wondered {cue}.",
    "{person} wrote from {place} to learn {cue}.",
    "Can anyone in {place} tell {person} {cue}?",
)


def question_kinds(draw: Draw) -> dict[str, str]:
    """A question whose first words say what would answer it."""
    kind = draw.turn(tuple(_KINDS))
    values = {"owner": draw.value(PEOPLE), "thing": draw.value(THINGS)}
    text = draw.pick(_KINDS[kind]).format(verb=draw.pick(_VERBS), **values)
    return {"text": text, "label": kind, **values}


def question_topics(draw: Draw) -> dict[str, str]:
    """What somebody wants to know, in one of four fields."""
    return cued(draw, _TOPICS, _ASKING, person=PEOPLE, place=PLACES)
