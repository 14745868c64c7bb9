"""Clusters common_sense and open_domain_qa: what people know without reading it."""

from typing import Any

from flan.tasks.synthetic.cued import cued
from flan.tasks.synthetic.draw import PEOPLE, PLACES, Draw

_TOOLS = {  # tool → what it is for
    "a hammer": ("drive nails into a board", "build a bird house"),
    "a needle": ("sew on a button", "mend a torn shirt"),
    "a spade": ("dig a deep hole", "turn over the soil"),
    "a broom": ("sweep the floor", "clear dust from the steps"),
    "an umbrella": ("stay dry in the rain", "walk through a shower"),
    "a telescope": ("look at the stars", "study the moon"),
    "a map": ("find the way through the hills", "plan a route"),
    "a comb": ("tidy messy hair", "part the hair neatly"),
    "a ladle": ("serve the soup", "fill bowls with stew"),
    "a pen": ("write a postcard", "sign a form"),
    "a torch": ("see in a dark cellar", "search the attic at night"),
    "a net": ("catch butterflies", "scoop fish from the pond"),
}
_WISHES = (
    "{person} of {place} wants to {use}.",
    "In {place}, {person} has to {use}.",
    "{person} is in {place} and is about to {use}.",
)

_HABITS = {
    "dangerous": (
        "touches the hot stove", "runs across the motorway", "plays with matches", "drinks from a bleach bottle",
        "skates on thin ice", "pokes a fork into the socket", "juggles sharp knives", "climbs the power mast",
        "drives without brakes", "swims among sharks",
    ),
    "safe": (
        "sips warm tea", "waits for the green light", "knits a woollen sock", "reads a book on the sofa",
        "strolls through the park", "draws with crayons", "naps in an armchair", "listens to the wireless",
        "folds clean towels", "feeds ducks with a friend",
    ),
}  # fmt: skip
_SCENES = (
    "{person} from {place} {cue}.",
    "In {place}, {person} {cue}.",
    "Look: {person} {cue} near {place}.",
    "Every morning {person} {cue} in {place}.",
)

_CLASSES = {
    "bird": ("heron", "sparrow", "penguin", "eagle", "finch", "stork", "parrot", "robin"),
    "fish": ("trout", "salmon", "herring", "carp", "pike", "cod", "tuna", "mackerel"),
    "insect": ("beetle", "wasp", "ant", "moth", "cricket", "mosquito", "dragonfly", "ladybird"),
    "mammal": ("badger", "otter", "rabbit", "whale", "hedgehog", "squirrel", "donkey", "bear"),
}
_SIGHTINGS = (
    "{person} drew a {cue} in {place}.",
    "In {place}, {person} saw a {cue}.",
    "A {cue} was shown to {person} in {place}.",
    "{person} dreamt of a {cue} in {place}.",
)


def tools_for_jobs(draw: Draw) -> dict[str, Any]:
    """A job, and three tools of which one is for it."""
    tool = draw.turn(tuple(_TOOLS))
    wrong = draw.shuffled([other for other in _TOOLS if other != tool])[:2]
    values = {"person": draw.value(PEOPLE), "place": draw.value(PLACES)}
    text = draw.pick(_WISHES).format(use=draw.pick(_TOOLS[tool]), **values)
    return {"text": text, "tools": draw.shuffled([tool, *wrong]), "label": tool, **values}


def safe_habits(draw: Draw) -> dict[str, str]:
    """Something that somebody does, dangerous or safe."""
    return cued(draw, _HABITS, _SCENES, person=PEOPLE, place=PLACES)


def animal_classes(draw: Draw) -> dict[str, str]:
    """An animal in a sentence that says nothing of its class."""
    row = cued(draw, _CLASSES, _SIGHTINGS, person=PEOPLE, place=PLACES)
    return row | {"text": _with_article(row["text"])}


def _with_article(text: str) -> str:
    for animal in ("eagle", "ant", "otter"):
        text = text.replace(f" a {animal}", f" an {animal}").replace(f"A {animal}", f"An {animal}")
    return text
