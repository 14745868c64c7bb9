"""Which task, row and template each draw of a mixture is: a pure function of (mixture, seed, number).

To resume is to start at a number; nothing is shuffled in memory and nothing depends on what was drawn
before. Draws come in blocks of 65,536. Every block holds each task exactly as often as its rate says, in a
seeded order; a task's k-th draw is row k of its rows in a seeded order that is fresh in every epoch.

Randomness comes from raw Philox words and sha256, whose values never change between library versions.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flan.errors import FlanError
from flan.spec import Mixture, TuneSpec
from flan.tasks.task import Task

BLOCK = 65_536
Integers = npt.NDArray[np.int64]


class EmptyMixture(FlanError):
    """Nothing is left to train on."""

    code, blame = "empty_mixture", "user"


class Draw(NamedTuple):
    """One draw of a mixture."""

    task: str
    row: int
    template: int
    """Which of the task's usable templates, counted from 0."""


class Mixer:
    """The endless sequence of draws of one mixture.

    `num_rows` and `num_templates` (usable ones) are given per task. Not to be shared between threads: the
    orders in use are kept, though no draw depends on them.
    """

    def __init__(
        self, num_rows: Mapping[str, int], num_templates: Mapping[str, int], mixture: Mixture, seed: int
    ) -> None:
        self._seed = seed
        self._tasks = sorted(num_rows)
        self._num_templates = num_templates
        self._rates = mixing_rates(num_rows, mixture)
        self._quotas = quotas(self._rates)
        self._kept = {task: _kept_rows(n, mixture.examples_cap, seed, task) for task, n in num_rows.items()}
        self._order = (-1, np.empty(0, np.int64), np.empty(0, np.int64))
        self._epochs: dict[str, tuple[int, Integers]] = {}

    def rates(self) -> dict[str, float]:
        """Task → probability of being drawn; sums to 1."""
        return dict(self._rates)

    def draw(self, number: int) -> Draw:
        """The draw of that number, from 0."""
        block, place = divmod(number, BLOCK)
        tasks, ranks = self._block_order(block)
        task = self._tasks[tasks[place]]
        count = block * self._quotas[task] + int(ranks[place])
        epoch, position = divmod(count, len(self._kept[task]))
        row = int(self._kept[task][self._epoch_order(task, epoch)[position]])
        return Draw(task, row, _word(self._seed, "template", task, count) % self._num_templates[task])

    def _block_order(self, block: int) -> tuple[Integers, Integers]:
        """For each place of the block: which task, and how many of it stand before in the block."""
        if self._order[0] != block:
            in_turn = np.repeat(np.arange(len(self._tasks)), [self._quotas[task] for task in self._tasks])
            tasks = in_turn[permutation(BLOCK, self._seed, "block", block)]
            by_task = np.argsort(tasks, kind="stable")
            ranks = np.empty(BLOCK, np.int64)
            ranks[by_task] = np.arange(BLOCK) - np.searchsorted(in_turn, in_turn)
            self._order = (block, tasks, ranks)
        return self._order[1:]

    def _epoch_order(self, task: str, epoch: int) -> Integers:
        kept = self._epochs.get(task)
        if kept is None or kept[0] != epoch:
            kept = (epoch, permutation(len(self._kept[task]), self._seed, "epoch", task, epoch))
            self._epochs[task] = kept
        return kept[1]


def mixing_rates(num_rows: Mapping[str, int], mixture: Mixture) -> dict[str, float]:
    """Probability that the next example comes from each task; sums to 1.

    Proportional to min(rows after the cap, rate_maximum) ** (1 / temperature).
    Raises EmptyMixture when no task has a row.
    Source: Raffel et al. 2020, 3.5.2; maximum from Wei et al. 2022, 2.4.
    """
    empty = sorted(task for task, rows in num_rows.items() if rows < 1)
    if empty or not num_rows:
        raise EmptyMixture(f"no rows for {', '.join(empty)}" if empty else "no task is left to train on")
    counted = {task: min(n, mixture.examples_cap, mixture.rate_maximum) for task, n in num_rows.items()}
    # In logarithms: 3,000 ** (1 / temperature) overflows for a small temperature.
    largest = max(counted.values())
    weights = {task: math.exp(math.log(n / largest) / mixture.temperature) for task, n in counted.items()}
    total = sum(weights.values())
    return {task: weight / total for task, weight in weights.items()}


def quotas(rates: Mapping[str, float]) -> dict[str, int]:
    """How often each task stands in a block: whole numbers that sum to BLOCK, none zero.

    By largest remainder, after one place for every task; a tie goes to the first name.
    """
    left = BLOCK - len(rates)
    if left < 0:
        raise EmptyMixture(f"{len(rates)} tasks are more than a block of {BLOCK} draws can hold")
    # A task's due beyond its one place; where one place is already more than its rate, nothing.
    due = {task: max(0.0, rate * BLOCK - 1) for task, rate in rates.items()}
    total = sum(due.values())
    shares = {task: left * part / total if total else 0.0 for task, part in due.items()}
    whole = {task: math.floor(share) for task, share in shares.items()}
    by_remainder = sorted(rates, key=lambda task: (whole[task] - shares[task], task))
    extra = set(by_remainder[: left - sum(whole.values())])
    return {task: 1 + whole[task] + (task in extra) for task in rates}


def usable_templates(task: Task, mixture: Mixture) -> tuple[int, ...]:
    """Indices of the templates of `task` that a mixture draws from: its first ones, inverted only if asked."""
    wanted = range(len(task.templates)) if mixture.include_inverted else task.answer_templates
    return tuple(wanted)[: mixture.templates_per_task]


def mixer_of(spec: TuneSpec, tasks: Mapping[str, Task], num_rows: Mapping[str, int]) -> Mixer:
    """The mixer of a job that trains on `tasks`."""
    num_templates = {name: len(usable_templates(task, spec.mixture)) for name, task in tasks.items()}
    return Mixer({name: num_rows[name] for name in tasks}, num_templates, spec.mixture, spec.seed)


def permutation(size: int, *key: str | int) -> Integers:
    """The numbers below `size` in an order decided by `key`."""
    words = np.random.Philox(key=int.from_bytes(_sha256(*key)[:16])).random_raw(size)
    return np.argsort(words, kind="stable")


def sample(size: int, count: int, *key: str | int) -> Integers:
    """At most `count` of the numbers below `size`, chosen by `key`, in rising order."""
    return np.sort(permutation(size, *key)[:count]) if count < size else np.arange(size)


def _kept_rows(num_rows: int, cap: int, seed: int, task: str) -> Integers:
    return sample(num_rows, cap, seed, "cap", task)


def _word(*key: str | int) -> int:
    return int.from_bytes(_sha256(*key)[:8])


def _sha256(*key: str | int) -> bytes:
    return hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
