"""Faults of a set of templates: too few, too alike, or all built the same way."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Literal, NamedTuple

from flan.tasks.lint_findings import Finding
from flan.tasks.lint_patterns import VALUE, pieces, skeleton, words
from flan.tasks.task import Task
from flan.tasks.template import OPTIONS_SLOT, Template, slots

NUM_TEMPLATES = 10
MAX_INVERTED = 3
"""FLAN writes ten templates for a dataset, at most three of them turned around (Wei et al. 2022, 2.1)."""
MAX_SIMILARITY = 0.6
RUN_WORDS = 8
MIN_EACH_END = 2
"""In a full set the instruction comes first, and comes last, in at least so many templates."""
MIN_INSTRUCTION_WORDS = 3
Position = Literal["first", "last", "between", "labels"]


class Run(NamedTuple):
    """Words in a row that two templates have in common."""

    a: int
    b: int
    text: str


def set_faults(task: Task) -> Iterator[Finding]:
    """What is wrong with the templates of a task taken together, and with its fields and choices."""
    yield from _count_faults(task)
    yield from _likeness_faults(task.slot_templates)
    yield from _field_faults(task)
    if len(task.slot_templates) >= NUM_TEMPLATES:
        yield from _variety_faults(task)


def similarity(a: str, b: str) -> float:
    """Share of their words, slots left out, that two patterns have in common: 0 to 1 (Dice's coefficient)."""
    return _overlap(_counted_words(a), _counted_words(b))


def shared_runs(patterns: Sequence[str], others: Sequence[str] | None = None) -> list[Run]:
    """Pairs of patterns, of one list or of two, with RUN_WORDS words in a row in common, between slots.

    One run for each pair, the first in `a`; `a` and `b` are indices into the lists.
    """
    first: dict[tuple[str, ...], dict[int, None]] = {}
    for i, pattern in enumerate(patterns if others is None else others):
        for run in _runs(pattern):
            first.setdefault(run, {}).setdefault(i)
    found: dict[tuple[int, int], Run] = {}
    for a, pattern in enumerate(patterns):
        for run in _runs(pattern):
            for b in first.get(run, ()):
                if others is not None or a < b:
                    found.setdefault((a, b), Run(a, b, " ".join(run)))
    return list(found.values())


def position(pattern: str) -> Position:
    """Where the instruction stands: before the lines of the row, behind them, or between; options do not count.

    The instruction is the line with the most words of the template's own, slots within it included; one of
    fewer than three words is only a label. Alone, it is first when it begins with words, else last.
    """
    lines = [line for line in pattern.split("\n") if line.strip() not in ("", f"{{{OPTIONS_SLOT}}}")]
    lengths = [len(words(skeleton(line))) for line in lines]
    if max(lengths, default=0) < MIN_INSTRUCTION_WORDS:
        return "labels"
    main = lengths.index(max(lengths))
    before, after = (any(map(slots, some)) for some in (lines[:main], lines[main + 1 :]))
    if before and after:
        return "between"
    if before != after:
        return "last" if before else "first"
    return "first" if words(pieces(lines[main])[0][0]) else "last"


def asks_a_question(pattern: str) -> bool:
    """Whether the words of the template ask; if not, they request or announce."""
    return "?" in skeleton(pattern)


def options_come_first(pattern: str) -> bool:
    """Whether the options stand before every other slot."""
    return pieces(pattern)[0][1] == OPTIONS_SLOT


def _count_faults(task: Task) -> Iterator[Finding]:
    count = len(task.templates)
    if count < NUM_TEMPLATES:
        message = f"{count} templates; FLAN has {NUM_TEMPLATES} for each dataset"
        yield Finding(None, "few_templates", "warning", message)
    if count > NUM_TEMPLATES:
        message = f"{count} templates; FLAN has {NUM_TEMPLATES} for each dataset"
        yield Finding(None, "many_templates", "warning", message)
    inverted = count - len(task.answer_templates)
    if inverted > MAX_INVERTED:
        message = f"{inverted} inverted templates; FLAN has at most {MAX_INVERTED}, and none is evaluated"
        yield Finding(None, "inverted_over_three", "warning", message)


def _likeness_faults(templates: Sequence[Template]) -> Iterator[Finding]:
    inputs = [template.input for template in templates]
    counted = [_counted_words(pattern) for pattern in inputs]
    same: dict[tuple[str, str], int] = {}
    alike: set[tuple[int, int]] = set()
    for i, template in enumerate(templates):
        first = same.setdefault(_squeezed(template), i)
        share, nearest = max(((_overlap(counted[i], counted[j]), -j) for j in range(i)), default=(0.0, 0))
        if first < i:
            alike.add((first, i))
            yield Finding(i, "duplicate_template", "warning", f"the same as template {first}")
        elif share > MAX_SIMILARITY:
            alike.add((-nearest, i))
            message = (
                f"shares {share:.0%} of its words with template {-nearest}; at most {MAX_SIMILARITY:.0%}"
            )
            yield Finding(i, "similar_template", "warning", message)
    for run in shared_runs(inputs):
        if (run.a, run.b) not in alike:
            message = f"{RUN_WORDS} words in a row are those of template {run.a}: {run.text!r}"
            yield Finding(run.b, "shared_run", "warning", message)


def _field_faults(task: Task) -> Iterator[Finding]:
    shown = frozenset[str]().union(*(slots(t.input) | slots(t.target) for t in task.slot_templates))
    for name in sorted({*task.fields, *task.constants} - shown):
        yield Finding(None, "unused_field", "warning", f"no template shows the field {name!r}")
    for (a, path), (b, other) in combinations(sorted(task.fields.items()), 2):
        if path == other:
            yield Finding(None, "same_column", "warning", f"fields {a!r} and {b!r} are both column {path!r}")


def _variety_faults(task: Task) -> Iterator[Finding]:
    inputs = [template.input for template in task.slot_templates]
    places = Counter(position(pattern) for pattern in inputs)
    if min(places["first"], places["last"]) < MIN_EACH_END:
        message = f"the instruction comes first in {places['first']} templates and last in {places['last']}"
        yield Finding(None, "positions_alike", "warning", f"{message}; vary it, at least {MIN_EACH_END} each")
    asking = sum(asks_a_question(pattern) for pattern in inputs)
    if asking in (0, len(inputs)):
        message = "every template asks a question" if asking else "no template asks a question"
        yield Finding(None, "moods_alike", "warning", f"{message}: mix questions and requests")
    if task.has_choices:
        yield from _options_variety(task)


def _options_variety(task: Task) -> Iterator[Finding]:
    asking = [each.input for each in task.slot_templates if each.role == "answer"]
    showing = [pattern for pattern in asking if OPTIONS_SLOT in slots(pattern)]
    if 2 * len(showing) <= len(asking):
        message = (
            f"{len(showing)} of {len(asking)} templates show the options: a model learns to choose from more"
        )
        yield Finding(None, "options_seldom", "warning", message)
    elif len({options_come_first(pattern) for pattern in showing}) == 1:
        where = "before" if options_come_first(showing[0]) else "behind"
        yield Finding(None, "options_alike", "warning", f"the options always stand {where} the row")


def _runs(pattern: str) -> Iterable[tuple[str, ...]]:
    for literal in skeleton(pattern).split(VALUE):
        said = words(literal)
        yield from (said[i : i + RUN_WORDS] for i in range(len(said) - RUN_WORDS + 1))


@lru_cache(maxsize=2048)
def _counted_words(pattern: str) -> frozenset[tuple[str, int]]:
    """Its words, each with how many of the same came before it: so a set counts what stands twice, twice."""
    seen: Counter[str] = Counter()
    counted = set()
    for word in words(skeleton(pattern)):
        counted.add((word, seen[word]))
        seen[word] += 1
    return frozenset(counted)


def _overlap(a: frozenset[tuple[str, int]], b: frozenset[tuple[str, int]]) -> float:
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 0.0


def _squeezed(template: Template) -> tuple[str, str]:
    return " ".join(template.input.split()), " ".join(template.target.split())
