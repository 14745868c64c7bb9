"""Cluster sentiment: reviews of things bought, and moods in diaries."""

from flan.tasks.synthetic.cued import cued
from flan.tasks.synthetic.draw import PEOPLE, PLACES, THINGS, Draw

_VERDICTS = {
    "negative": (
        "dreadful",
        "a waste of money",
        "useless",
        "badly made",
        "disappointing",
        "awful",
        "flimsy and ugly",
        "a bad joke",
        "terrible",
        "a poor piece of work",
    ),
    "positive": (
        "wonderful",
        "worth every coin",
        "handy",
        "well made",
        "delightful",
        "excellent",
        "strong and pretty",
        "a great find",
        "superb",
        "a fine piece of work",
    ),
}
_ENDINGS = {
    "negative": (
        "I sent it straight back.",
        "Never again!",
        "Avoid this shop.",
        "I want my money back.",
        "It fell apart within a week.",
    ),
    "positive": (
        "I love it.",
        "I would buy it again!",
        "Thank you, dear shop.",
        "Everyone here admires it.",
        "It still looks like new.",
    ),
}
_REVIEWS = (
    "The {thing} I bought in {place} is {cue}.",
    "My {thing} from {place} turned out {cue}.",
    "This {place} {thing} is {cue}.",
    "Bought a {thing} in {place} and found it {cue}.",
)

_MOODS = {
    "anger": (
        "slammed every door", "shouted at the driver", "was furious with everyone", "boiled with rage",
        "stamped my foot and swore", "felt cross and bitter", "threw my hat at the wall", "was mad at the clerk",
    ),
    "fear": (
        "hid under the bed", "trembled at every sound", "was scared of the dark stairs", "dared not look back",
        "felt cold dread", "was terrified by the storm", "ran from a shadow", "shook with fright",
    ),
    "joy": (
        "could not stop smiling", "danced around the room", "felt as light as a feather", "sang all the way home",
        "was thrilled with the news", "felt happy and grateful", "laughed out loud", "beamed with delight",
    ),
    "sadness": (
        "wept for an hour", "missed my old friend badly", "felt lonely and low", "sighed and ate nothing",
        "was heartbroken at the parting", "sat in tears by the window", "mourned my lost dog", "felt grief all day",
    ),
}  # fmt: skip
_ENTRIES = (
    "Today in {place} I {cue}, and {person} saw it.",
    "Met {person} in {place}. I {cue}.",
    "After tea with {person} in {place} I {cue}.",
    "{place}, evening. {person} left and I {cue}.",
)


def shop_reviews(draw: Draw) -> dict[str, str]:
    """A verdict on a thing, and often a last word that says the same."""
    row = cued(draw, _VERDICTS, _REVIEWS, thing=THINGS, place=PLACES)
    ending = draw.pick(("", *_ENDINGS[row["label"]]))
    return row | {"text": f"{row['text']} {ending}".strip()}


def diary_moods(draw: Draw) -> dict[str, str]:
    """A line of a diary that shows one of four moods without naming it."""
    return cued(draw, _MOODS, _ENTRIES, person=PEOPLE, place=PLACES)
