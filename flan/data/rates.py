"""How often each task of a mixture is drawn: mixing rates, and their whole numbers in a block of draws.

seqio's rule. A task's rate in its leaf is min(rows, maximum) ** (1 / temperature), or what the leaf says in
`weights`; in a mixture of parts with weights R, task t of part M has the rate R × rate_M(t) ÷ Σ rate_M. A part
of which nothing is left gives its share to the others.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from flan.errors import FlanError
from flan.spec import Mixture

BLOCK = 65_536
K = TypeVar("K", str, tuple[int, str])


class EmptyMixture(FlanError):
    """Nothing is left to train on."""

    code, blame = "empty_mixture", "user"


class Size(NamedTuple):
    """What of a task its rate depends on, and how it is asked."""

    rows: int
    """Of its training split."""
    templates: int
    """How many are used."""
    inverted: tuple[int, ...] = ()
    """Which of these, counted from 0, ask for what was the input."""


def mixing_rates(mixture: Mixture, members: Sequence[Mapping[str, Size]]) -> list[dict[str, float]]:
    """For each leaf: the probability that the next example is of each of its tasks; all together they sum to 1.

    `members` are the tasks of each leaf, in order. A task whose rate is 0 is not among the results.
    Raises EmptyMixture when nothing is left.
    """
    empty = sorted({name for leaf in members for name, size in leaf.items() if size.rows < 1})
    if empty:
        raise EmptyMixture(f"no rows for {', '.join(empty)}", pointer="/mixture")
    found = list(_shares(mixture, iter(members)))
    if not any(found):
        told = "every task has the rate 0" if any(members) else "no task is left to train on"
        hint = "give one a weight above 0" if any(members) else None
        raise EmptyMixture(told, hint=hint, pointer="/mixture")
    return found


def row_rate(size: Size, leaf: Mixture) -> float:
    """The rate of a task by the rule of its leaf, before the temperature; other than for rows, of each template.

    Sources: Raffel et al. 2020, 3.5.2, with the maximum of Wei et al. 2022, 2.4; Sanh et al. 2022, 4, and its
    released code, where every template is a task of its own. There, rows up to the maximum count in full for
    each template, and beyond it the maximum is divided among them: a dataset of 499,999 rows with ten templates
    weighs ten times one of 500,001. t0_divided has no such step.
    """
    rows = min(size.rows, leaf.examples_cap)
    if leaf.rates in ("rows", "each_template"):
        return min(rows, leaf.rate_maximum)
    part = leaf.rate_maximum // size.templates
    return part if rows > leaf.rate_maximum else rows if leaf.rates == "t0" else min(rows, part)


def quotas(rates: Mapping[K, float]) -> dict[K, int]:
    """How often each key stands in a block: whole numbers that sum to BLOCK, none zero.

    By largest remainder, after one place for every key; a tie goes to the first.
    """
    left = BLOCK - len(rates)
    if left < 0:
        raise EmptyMixture(f"{len(rates)} tasks are more than a block of {BLOCK} draws can hold")
    # A task's due beyond its one place; where one place is already more than its rate, nothing.
    due = {key: max(0.0, rate * BLOCK - 1) for key, rate in rates.items()}
    total = sum(due.values())
    shares = {key: left * part / total if total else 0.0 for key, part in due.items()}
    whole = {key: math.floor(share) for key, share in shares.items()}
    by_remainder = sorted(rates, key=lambda key: (whole[key] - shares[key], key))
    extra = set(by_remainder[: left - sum(whole.values())])
    return {key: 1 + whole[key] + (key in extra) for key in rates}


def _shares(mixture: Mixture, members: Iterator[Mapping[str, Size]]) -> Iterator[dict[str, float]]:
    """For each leaf below `mixture`, shares that sum to 1 over all of them; nothing where nothing is left."""
    if not mixture.parts:
        yield _leaf(mixture, next(members))
        return
    parts = [list(_shares(part, members)) for part in mixture.parts]
    weights = [part.weight if any(leaves) else 0.0 for part, leaves in zip(mixture.parts, parts, strict=True)]
    total = sum(weights)
    for weight, leaves in zip(weights, parts, strict=True):
        for leaf in leaves:
            yield {name: weight / total * share for name, share in leaf.items()} if weight else {}


def _leaf(leaf: Mixture, sizes: Mapping[str, Size]) -> dict[str, float]:
    rates = {name: leaf.weights.get(name, row_rate(size, leaf)) for name, size in sizes.items()}
    # Elsewhere than for rows each template is a task of its own, and the temperature acts on its rate.
    times = {
        name: size.templates if leaf.rates != "rows" and name not in leaf.weights else 1
        for name, size in sizes.items()
    }
    rates = {name: rate for name, rate in rates.items() if rate > 0}
    # In logarithms: 3,000 ** (1 / temperature) overflows for a small temperature.
    largest = max(rates.values(), default=1.0)
    weights = {
        name: times[name] * math.exp(math.log(rate / largest) / leaf.temperature)
        for name, rate in rates.items()
    }
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
