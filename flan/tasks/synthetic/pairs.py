"""Clusters entailment and paraphrase: what follows from a sentence, and what says the same."""

from flan.tasks.synthetic.draw import PEOPLE, PLACES, THINGS, Draw

_STATES = (  # two ways to say a state, two ways to say its contrary
    (("is asleep", "is sleeping"), ("is awake", "is wide awake")),
    (("is glad", "is cheerful"), ("is sad", "is unhappy")),
    (("is rich", "is wealthy"), ("is poor", "is penniless")),
    (("is ill", "is sick"), ("is healthy", "is in good health")),
    (("is married", "has a spouse"), ("is single", "is not married")),
    (("is tall", "is of great height"), ("is short", "is of small height")),
    (("is young", "is of tender age"), ("is old", "is of great age")),
)
_FOLLOWS = ("yes", "it is not possible to tell", "no")

_COLOURS = ("black", "blue", "green", "red", "white", "yellow")

_DEEDS = (  # two ways to say a deed
    ("bought", "purchased"), ("repaired", "mended"), ("hid", "concealed"), ("found", "discovered"),
    ("sold", "got rid of"), ("broke", "smashed"), ("lifted", "raised"), ("sent", "mailed"),
)  # fmt: skip

_INTENTS = (  # ways to ask for the same
    ("How do I get to {place}?", "What is the way to {place}?", "Which road leads to {place}?"),
    ("Who is the mayor of {place}?", "Who governs {place}?", "Who heads the town hall of {place}?"),
    ("How old is {place}?", "When was {place} founded?", "What is the age of {place}?"),
    ("How big is {place}?", "How many people live in {place}?", "What is the population of {place}?"),
    (
        "Is it raining in {place}?",
        "Is there rain in {place} now?",
        "Are the streets of {place} wet with rain?",
    ),
    (
        "Where can I eat in {place}?",
        "Which inns of {place} serve food?",
        "What restaurants are there in {place}?",
    ),
)


def state_pairs(draw: Draw) -> dict[str, str]:
    """A premise and a hypothesis on one person: a synonym follows, a contrary does not, others stay open."""
    label = draw.turn(_FOLLOWS)
    states = draw.pick(_STATES)
    side = draw.pick((0, 1))
    said = draw.pick(states[side])
    if label == "yes":
        asked = draw.pick_other(states[side], said)
    elif label == "no":
        asked = draw.pick(states[1 - side])
    else:
        asked = draw.pick(draw.pick(draw.pick_other(_STATES, states)))
    values = {"person": draw.value(PEOPLE), "place": draw.value(PLACES)}
    premise = draw.pick(("In {place}, {person} {said}.", "{person} from {place} {said}.")).format(
        said=said, **values
    )
    return {"premise": premise, "hypothesis": f"{values['person']} {asked}.", "label": label, **values}


def rule_pairs(draw: Draw) -> dict[str, str]:
    """A rule about all things of a kind in a town, and a claim about one of them."""
    label = draw.turn(("yes", "no"))
    colour = draw.pick(_COLOURS)
    claimed = colour if label == "yes" else draw.pick_other(_COLOURS, colour)
    values = {"person": draw.value(PEOPLE), "place": draw.value(PLACES), "thing": draw.value(THINGS)}
    premise = draw.pick(
        (
            "Every {thing} in {place} is {colour}. {person} has a {thing} from {place}.",
            "{person} owns a {thing} made in {place}, where each {thing} is {colour}.",
        )
    ).format(colour=colour, **values)
    hypothesis = f"{values['person']} has a {claimed} {values['thing']}."
    return {"premise": premise, "hypothesis": hypothesis, "label": label, **values}


def retold_news(draw: Draw) -> dict[str, str]:
    """Two sentences on one person and thing, whose verbs mean the same or do not."""
    label = draw.turn(("no", "yes"))
    deed = draw.pick(_DEEDS)
    said = draw.pick(deed)
    again = draw.pick_other(deed, said) if label == "yes" else draw.pick(draw.pick_other(_DEEDS, deed))
    values = {"person": draw.value(PEOPLE), "thing": draw.value(THINGS), "place": draw.value(PLACES)}
    first = "In {place}, {person} {deed} a {thing}.".format(deed=said, **values)
    second = "{person} of {place} {deed} a {thing}.".format(deed=again, **values)
    return {"first": first, "second": second, "label": label, **values}


def question_twins(draw: Draw) -> dict[str, str]:
    """Two questions about one town that ask for the same thing, or do not."""
    label = draw.turn(("no", "yes"))
    intent = draw.pick(_INTENTS)
    asked = draw.pick(intent)
    again = draw.pick_other(intent, asked) if label == "yes" else draw.pick(draw.pick_other(_INTENTS, intent))
    place = draw.value(PLACES)
    return {
        "first": asked.format(place=place),
        "second": again.format(place=place),
        "label": label,
        "place": place,
    }
