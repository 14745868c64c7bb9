"""Clusters linguistic_acceptability, word_disambiguation and translation."""

from typing import Any

from flan.tasks.synthetic.cued import cued
from flan.tasks.synthetic.draw import PEOPLE, PLACES, Draw

_PREDICATES = (  # (as one says it, as a learner might)
    ("caught two mice", "catched two mouses"),
    ("bought a better coat", "buyed a gooder coat"),
    ("taught the children well", "teached the childs well"),
    ("wrote about wild geese", "writed about wild gooses"),
    ("ran home on bare feet", "runned home on bare foots"),
    ("told me the worst", "telled me the worstest"),
    ("brought knives and sang", "bringed knifes and singed"),
    ("has gone to the market", "has went to the market"),
    ("did not see the bus", "did not saw the bus"),
    ("is older than my cousin", "is more older than my cousin"),
    ("can swim very well", "can swims very well"),
    ("was waiting for an answer", "was waiting for a answer"),
    ("must leave before noon", "must to leave before noon"),
    ("made us laugh", "made us to laugh"),
)
_JUDGED = {
    "unacceptable": tuple(wrong for _, wrong in _PREDICATES),
    "acceptable": tuple(right for right, _ in _PREDICATES),
}
_SENTENCES = (
    "{person} of {place} {cue}.",
    "My neighbour {person} from {place} {cue}.",
    "In {place} people say that {person} {cue}.",
    "As we heard in {place}, {person} {cue}.",
)

_SENSES = {  # word → sense → what is said where the word has it
    "bank": {
        "side of a river": ("fished from the muddy bank", "sat on the grassy bank by the water"),
        "house for money": ("borrowed money from the bank", "opened an account at the bank"),
    },
    "bat": {
        "flying animal": ("heard a bat squeak in the cave", "watched a bat flutter at dusk"),
        "stick for a game": ("swung the bat at the ball", "bought a wooden bat for the match"),
    },
    "bark": {
        "skin of a tree": ("peeled bark from the birch", "carved a heart into the oak bark"),
        "cry of a dog": ("was woken by the puppy's bark", "knew the hound by its loud bark"),
    },
    "crane": {
        "tall bird": ("saw a crane wade in the marsh", "found a crane on its nest"),
        "lifting machine": ("drove the crane on the building site", "lifted the steel with a crane"),
    },
    "letter": {
        "written message": ("posted a letter with a stamp", "sealed the letter in an envelope"),
        "sign of the alphabet": ("could not spell the last letter", "learned the letter after B"),
    },
    "nail": {
        "end of a finger": ("trimmed a nail on the left thumb", "painted every nail pink"),
        "metal pin": ("hammered a nail into the plank", "pulled a rusty nail from the fence"),
    },
    "ring": {
        "piece of jewellery": ("wore a golden ring", "lost the ring with the diamond"),
        "sound of a bell": ("answered the ring of the telephone", "heard the ring at the front door"),
    },
    "seal": {
        "sea animal": ("fed herring to the seal", "saw a seal dive off the rocks"),
        "stamp of wax": ("pressed a seal on the document", "broke the seal of the royal scroll"),
    },
    "spring": {
        "season": ("planted bulbs for the spring", "waited for spring after the long winter"),
        "metal coil": ("replaced the spring in the mattress", "wound up the spring of the clockwork"),
    },
    "trunk": {
        "nose of an elephant": ("saw the elephant lift its trunk", "was sprayed by a trunk at the zoo"),
        "large box": ("packed the trunk for the voyage", "locked the heavy trunk"),
    },
}
_USES = tuple(
    (word, sense, use) for word, senses in _SENSES.items() for sense, uses in senses.items() for use in uses
)
_TOLD = ("{person} of {place} {use}.", "In {place} {person} {use}.", "{person} {use}, far from {place}.")

_CODE = (  # adjectives, nouns, verbs: English word → word of the invented language
    {
        "old": "gora", "small": "pim", "red": "rusk", "quiet": "sule", "brave": "vont", "hungry": "yab",
        "wet": "dloo", "young": "nefi", "tall": "hask", "clever": "mirro",
    },
    {
        "dog": "wump", "farmer": "hobar", "king": "zarn", "bird": "tili", "baker": "moulo", "child": "chee",
        "horse": "kavak", "sailor": "oshen", "cat": "prinka", "doctor": "velud",
    },
    {
        "sings": "lalu", "sleeps": "zumm", "runs": "fetta", "waits": "bidda", "falls": "plonk", "smiles": "irri",
        "works": "grund", "swims": "aquo", "dances": "tantar", "eats": "nyam",
    },
)  # fmt: skip


def learner_sentences(draw: Draw) -> dict[str, str]:
    """A sentence with a predicate that is either said so or is a learner's slip."""
    return cued(draw, _JUDGED, _SENTENCES, person=PEOPLE, place=PLACES)


def word_senses(draw: Draw) -> dict[str, Any]:
    """A sentence with a word of two senses, the senses to choose from, and the one it has there."""
    word, sense, use = draw.turn(_USES)
    values = {"person": draw.value(PEOPLE), "place": draw.value(PLACES)}
    text = draw.pick(_TOLD).format(use=use, **values)
    return {"text": text, "word": word, "senses": list(_SENSES[word]), "label": sense, **values}


def code_words(draw: Draw) -> dict[str, str]:
    """A sentence of three words and the same in an invented language, word for word.

    A combination of words belongs to one split: whoever knows the words can translate it, nobody has read it.
    """
    first, second = draw.pick(range(10)), draw.pick(range(10))
    is_kept = draw.split == "validation"
    third = draw.pick([k for k in range(10) if ((first + second + k) % 5 == 0) == is_kept])
    pairs = [list(words.items())[k] for words, k in zip(_CODE, (first, second, third), strict=True)]
    english, code = (" ".join(words) for words in zip(*pairs, strict=True))
    return {"english": f"the {english}", "code": f"u {code}"}
