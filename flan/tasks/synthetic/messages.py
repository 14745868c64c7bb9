"""Clusters summarization and conversational_qa: what news is about, what a caller wants."""

from flan.tasks.synthetic.cued import cued
from flan.tasks.synthetic.draw import PEOPLE, PLACES, THINGS, Draw

_NEWS = {
    "business": (
        "bank raises loan rates", "factory profits double", "grocer buys rival firm", "shares slump at the brewery",
        "merchants fear new taxes", "mill owners cut prices", "investors back a dairy",
    ),
    "science": (
        "scientists name a comet", "laboratory grows tiny crystals", "geologists date old rocks",
        "new vaccine passes trials", "robot maps the sea floor", "physicists weigh an atom", "fossil puzzles experts",
    ),
    "sport": (
        "striker scores in the final", "rowers win the regatta", "coach quits after defeat", "team loses on penalties",
        "runner breaks the record", "champion hurts a knee", "tennis cup goes north",
    ),
    "travel": (
        "ferry opens a new route", "hotels full all summer", "tourists crowd the beach", "night train returns",
        "hikers praise the trail", "airport adds flights", "museum tours for visitors",
    ),
}  # fmt: skip
_HEADLINES = (
    "{place}: {cue}, says {person}",
    "{person} reports from {place}: {cue}",
    "News of {place}, by {person}: {cue}",
    "{place} today: {cue} ({person})",
)

_WANTS = {
    "a refund": (
        "give me my money back", "return the full price", "pay back what I spent", "credit my card again",
    ),
    "a repair": (
        "have it mended", "fix the broken part", "send someone to restore it", "get it working again",
    ),
    "a delivery date": (
        "say when it will arrive", "tell me the day it comes", "let me know when the parcel is due",
        "say how long shipping takes",
    ),
    "an invoice": (
        "send me the bill", "mail a receipt for the tax office", "write me an invoice", "put the charges on paper",
    ),
}  # fmt: skip
_CALLS = (
    "{person} here, about the {thing}. Please {cue}.",
    "Hello, my name is {person}. I ordered a {thing}. Could you {cue}?",
    "It is about my {thing}. You must {cue}, or I will complain. {person}",
    "{person} on the line. I have one wish about my {thing}: {cue}.",
)


def headline_topics(draw: Draw) -> dict[str, str]:
    """A headline on one of four pages of a newspaper."""
    return cued(draw, _NEWS, _HEADLINES, place=PLACES, person=PEOPLE)


def customer_wishes(draw: Draw) -> dict[str, str]:
    """What a customer says, wanting one of four things."""
    return cued(draw, _WANTS, _CALLS, person=PEOPLE, thing=THINGS)
