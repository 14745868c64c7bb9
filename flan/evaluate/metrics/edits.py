"""How many letters one has to change: for tasks whose output is nearly their input."""

from flan.evaluate.metrics.reply import Reply


def edit_similarity(reply: Reply) -> float:
    """1 - edit distance ÷ length of the longer text, in characters; the best over the references.

    Case and punctuation count, white space around a text does not.
    """
    text = reply.text.strip()
    return max(_similarity(text, reference.strip()) for reference in reply.references)


def edit_distance(a: str, b: str) -> int:
    """Fewest characters to insert, delete or replace to make `b` of `a` (Levenshtein 1966).

    A column of the table is two bit vectors, of steps up and of steps down (Myers 1999; as in Hyyrö 2003): a
    step over a character of `b` is a dozen operations on integers, not a loop over `a`.
    """
    if not a:
        return len(b)
    whole, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    places: dict[str, int] = {}
    for place, character in enumerate(a):
        places[character] = places.get(character, 0) | 1 << place
    up, down, distance = whole, 0, len(a)
    for character in b:
        equal = places.get(character, 0)
        vertical = equal | down
        diagonal = (((equal & up) + up) ^ up) | equal
        rises = down | (whole & ~(diagonal | up))
        falls = up & diagonal
        distance += bool(rises & last) - bool(falls & last)
        rises = rises << 1 | 1
        up = whole & (falls << 1 | ~(vertical | rises))
        down = whole & rises & vertical
    return distance


def _similarity(a: str, b: str) -> float:
    longer = max(len(a), len(b))
    return 1 - edit_distance(a, b) / longer if longer else 1.0
