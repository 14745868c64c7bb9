"""The self-made collection: tasks as YAML like any others, rows from pure functions.

`generate(generator, split, i)` is row i of a split: the same wherever and whenever it is called. Rows of
validation share no value (person, place, thing, number, combination of words) with rows of train; what they
share is the rule that gives the answer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from flan.errors import NotFound
from flan.tasks.synthetic import feelings, knowledge, language, messages, numbers, pairs, questions, reading
from flan.tasks.synthetic.draw import Draw

SPLITS = ("train", "validation")


class Generator(NamedTuple):
    """How rows are made, and which of their columns hold values that belong to one split."""

    make: Callable[[Draw], dict[str, Any]]
    values: tuple[str, ...]


GENERATORS: dict[str, Generator] = {
    "animal_classes": Generator(knowledge.animal_classes, ("person", "place")),
    "code_words": Generator(language.code_words, ("english", "code")),
    "coin_sums": Generator(numbers.coin_sums, ("summands", "person")),
    "customer_wishes": Generator(messages.customer_wishes, ("person", "thing")),
    "diary_moods": Generator(feelings.diary_moods, ("person", "place")),
    "finder_passages": Generator(reading.finder_passages, ("loser", "finder", "thing", "place")),
    "headline_topics": Generator(messages.headline_topics, ("place", "person")),
    "learner_sentences": Generator(language.learner_sentences, ("person", "place")),
    "marble_counts": Generator(numbers.marble_counts, ("person", "number")),
    "pronoun_pointers": Generator(reading.pronoun_pointers, ("first", "second", "place")),
    "question_kinds": Generator(questions.question_kinds, ("owner", "thing")),
    "question_topics": Generator(questions.question_topics, ("person", "place")),
    "question_twins": Generator(pairs.question_twins, ("place",)),
    "retold_news": Generator(pairs.retold_news, ("person", "thing", "place")),
    "room_clues": Generator(reading.room_clues, ("person", "place")),
    "rule_pairs": Generator(pairs.rule_pairs, ("person", "place", "thing")),
    "safe_habits": Generator(knowledge.safe_habits, ("person", "place")),
    "shop_reviews": Generator(feelings.shop_reviews, ("thing", "place")),
    "state_pairs": Generator(pairs.state_pairs, ("person", "place")),
    "tools_for_jobs": Generator(knowledge.tools_for_jobs, ("person", "place")),
    "weather_tables": Generator(numbers.weather_tables, ("town",)),
    "word_senses": Generator(language.word_senses, ("person", "place")),
}


def generate(generator: str, split: str, i: int) -> dict[str, Any]:
    """Row `i` of a split: a pure function of its arguments. Raises NotFound for a name there is none of."""
    if generator not in GENERATORS:
        raise NotFound(f"no generator {generator!r}", hint=f"there are {', '.join(GENERATORS)}")
    if split not in SPLITS:
        raise NotFound(f"no split {split!r}", hint=f"there are {' and '.join(SPLITS)}")
    return GENERATORS[generator].make(Draw(generator, split, i))
