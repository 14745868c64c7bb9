"""Few-shot exemplars: solved rows before the question.

FLAN draws them at random from the task's training rows, asks each through the template of the question, and
keeps as many of the first ones as fit: at most 16, within 960 tokens less those of the question, of 1,024
(Wei et al. 2022, 4.4; released code). There a solved row looks like an earlier turn of its base model's
dialogue; elsewhere lines and blank lines do, so the separators are part of the request.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from flan.spec import FewShot
from flan.tasks.render import Rendered

MAX_TRIES_PER_ROW = 8


def candidates(num_rows: int, *key: str | int, exclude: int | None = None) -> Iterator[int]:
    """Numbers of rows below `num_rows` in a random order decided by `key`, none twice, without `exclude`.

    Made to be cut short: each number costs a hash, whatever the number of rows. May end before all have
    come up.
    """
    seen = {exclude}
    for place in range(MAX_TRIES_PER_ROW * num_rows):
        row = _number(*key, place) % num_rows
        if row not in seen:
            seen.add(row)
            yield row


def balanced_candidates(
    rows_by_answer: Mapping[str, Sequence[int]], *key: str | int, exclude: int | None = None
) -> Iterator[int]:
    """Like `candidates`, with every answer once before any comes twice; the answers' order is drawn too."""
    order = sorted(rows_by_answer, key=lambda answer: _number(*key, "answer", answer))
    streams = {answer: _rows_of(rows_by_answer[answer], *key, answer) for answer in order}
    while streams:
        for answer in list(streams):
            row = next((row for row in streams[answer] if row != exclude), None)
            if row is None:
                del streams[answer]
            else:
                yield row


def _rows_of(rows: Sequence[int], *key: str | int) -> Iterator[int]:
    return (rows[place] for place in candidates(len(rows), *key))


def num_that_fit(exemplar_lengths: Sequence[int], query_length: int, budget: int) -> int:
    """How many of the first exemplars fit beside the query; all lengths in tokens, the budget included."""
    room = budget - query_length
    for count, length in enumerate(exemplar_lengths):
        room -= length
        if room < 0:
            return count
    return len(exemplar_lengths)


def with_exemplars(query: Rendered, exemplars: Sequence[Rendered], form: FewShot) -> Rendered:
    """The query with solved rows before it; its target and answers stay."""
    solved = [f"{one.input}{form.before_target}{one.target}{form.after_target}" for one in exemplars]
    return query._replace(input="".join([*solved, query.input]))


def _number(*key: str | int) -> int:
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest())
