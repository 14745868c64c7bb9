"""Which task, row and template each draw of a mixture is: a pure function of (mixture, seed, number).

To resume is to start at a number; nothing is shuffled in memory and nothing depends on what was drawn
before. Draws come in blocks of 65,536. Every block holds each task exactly as often as its rate says, in a
seeded order; a task's k-th draw is row k of its rows in a seeded order that is fresh in every epoch. Whether an
example has solved rows before it, or no OPTIONS block, is drawn for it alone.

Randomness comes from raw Philox words and hashes, whose values never change between library versions.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flan.data.rates import BLOCK, Size, mixing_rates, quotas
from flan.spec import Mixture, TuneSpec
from flan.tasks.exemplars import candidates
from flan.tasks.formats import formatted
from flan.tasks.task import Task

Integers = npt.NDArray[np.int64]
Member = tuple[int, str]
"""A task in a leaf: the number of the leaf, and the task's name. One task may be in several leaves."""


class Draw(NamedTuple):
    """One draw of a mixture."""

    task: str
    row: int
    template: int
    """Which of the task's usable templates, counted from 0."""
    leaf: int = 0
    """Which of the mixture's leaves it is of."""
    has_shots: bool = False
    """Whether solved rows stand before it."""
    has_options: bool = True
    """Whether its OPTIONS block is shown, where the template has one."""


class Mixer:
    """The endless sequence of draws of one mixture.

    `members` are the tasks of each leaf, in order. Not to be shared between threads: the orders in use are
    kept, though no draw depends on them. Raises EmptyMixture.
    """

    def __init__(self, mixture: Mixture, members: Sequence[Mapping[str, Size]], seed: int) -> None:
        self._seed, self._leaves = seed, mixture.leaves
        found = mixing_rates(mixture, members)
        self._rates = {(i, name): leaf[name] for i, leaf in enumerate(found) for name in sorted(leaf)}
        self._members = list(self._rates)
        self._sizes = {(i, name): members[i][name] for i, name in self._members}
        self._quotas = quotas(self._rates)
        self._order = (-1, np.empty(0, np.int64), np.empty(0, np.int64))
        self._epochs: dict[Member, tuple[int, Integers]] = {}
        self._samples: dict[Member, Integers] = {}

    def rates(self) -> dict[Member, float]:
        """Task in a leaf → probability of being drawn; sums to 1."""
        return dict(self._rates)

    def template_rates(self, member: Member) -> list[float]:
        """For each template of a task in a leaf, how often it is drawn of all draws of the task; they sum to 1."""
        size, rate = self._sizes[member], self._leaves[member[0]].inverted_rate
        if rate is None or not size.inverted or len(size.inverted) == size.templates:
            return [1 / size.templates] * size.templates
        inverted = rate / (1 + rate) / len(size.inverted)
        answering = 1 / (1 + rate) / (size.templates - len(size.inverted))
        return [inverted if place in size.inverted else answering for place in range(size.templates)]

    def draw(self, number: int) -> Draw:
        """The draw of that number, from 0."""
        block, place = divmod(number, BLOCK)
        tasks, ranks = self._block_order(block)
        member = self._members[tasks[place]]
        return self.draw_of(member, block * self._quotas[member] + int(ranks[place]))

    def draw_of(self, member: Member, count: int) -> Draw:
        """The draw that is number `count` among those of one task in a leaf, from 0."""
        leaf, key = self._leaves[member[0]], self._key(member)
        epoch, position = divmod(count, self._num_used(member))
        shots = leaf.few_shot.share if leaf.few_shot else 0.0
        return Draw(
            task=member[1],
            row=self._row(member, int(self._epoch_order(member, epoch)[position])),
            template=self._template(member, count),
            leaf=member[0],
            has_shots=_is_drawn(shots, self._seed, "shots", key, count),
            has_options=not _is_drawn(leaf.no_options_share, self._seed, "no options", key, count),
        )

    def candidates(self, draw: Draw, number: int) -> Iterator[int]:
        """Other rows of the task of draw `number`, in an order of its own, none twice."""
        member = (draw.leaf, draw.task)
        order = candidates(self._num_used(member), self._seed, "exemplars", self._key(member), number)
        rows = (self._row(member, place) for place in order)
        return (row for row in rows if row != draw.row)

    def _block_order(self, block: int) -> tuple[Integers, Integers]:
        """For each place of the block: which task, and how many of it stand before in the block."""
        if self._order[0] != block:
            counts = [self._quotas[member] for member in self._members]
            in_turn = np.repeat(np.arange(len(self._members)), counts)
            tasks = in_turn[permutation(BLOCK, self._seed, "block", block)]
            by_task = np.argsort(tasks, kind="stable")
            ranks = np.empty(BLOCK, np.int64)
            ranks[by_task] = np.arange(BLOCK) - np.searchsorted(in_turn, in_turn)
            self._order = (block, tasks, ranks)
        return self._order[1:]

    def _key(self, member: Member) -> str:
        """What tells the random numbers of one task in a leaf from all others."""
        return member[1] if len(self._leaves) == 1 else f"{member[0]}/{member[1]}"

    def _num_used(self, member: Member) -> int:
        return min(self._sizes[member].rows, self._leaves[member[0]].examples_cap)

    def _row(self, member: Member, place: int) -> int:
        """The row at `place` among those that the cap leaves."""
        if self._num_used(member) == self._sizes[member].rows:
            return place
        if member not in self._samples:
            size, count = self._sizes[member].rows, self._num_used(member)
            self._samples[member] = sample(size, count, self._seed, "cap", self._key(member))
        return int(self._samples[member][place])

    def _epoch_order(self, member: Member, epoch: int) -> Integers:
        kept = self._epochs.get(member)
        if kept is None or kept[0] != epoch:
            key = (self._seed, "epoch", self._key(member), epoch)
            kept = (epoch, permutation(self._num_used(member), *key))
            self._epochs[member] = kept
        return kept[1]

    def _template(self, member: Member, count: int) -> int:
        size, rate = self._sizes[member], self._leaves[member[0]].inverted_rate
        key = (self._key(member), count)
        word = _word(self._seed, "template", *key)
        if rate is None or not size.inverted or len(size.inverted) == size.templates:
            return word % size.templates
        is_inverted = _is_drawn(rate / (1 + rate), self._seed, "inverted", *key)
        among = [place for place in range(size.templates) if (place in size.inverted) == is_inverted]
        return among[word % len(among)]


def usable_templates(task: Task, leaf: Mixture) -> tuple[int, ...]:
    """Indices of the templates of `task` that a leaf draws from: its first ones, inverted only if asked."""
    wanted = range(len(task.templates)) if leaf.include_inverted else task.answer_templates
    return tuple(wanted)[: leaf.templates_per_task]


def part_name(mixture: Mixture, leaf: int) -> str | None:
    """What plans and counts call a leaf; None where the mixture has but one."""
    leaves = mixture.leaves
    return (leaves[leaf].name or f"part-{leaf}") if len(leaves) > 1 else None


def size_of(task: Task, num_rows: int, leaf: Mixture) -> Size:
    """What of `task`, asked in the leaf's format, its rate there depends on."""
    used = usable_templates(task, leaf)
    inverted = (place for place, index in enumerate(used) if task.templates[index].role == "inverted")
    return Size(num_rows, len(used), tuple(inverted))


def leaf_tasks(spec: TuneSpec, tasks: Mapping[str, Task]) -> list[dict[str, Task]]:
    """For each leaf of the mixture, its tasks in the format that it asks them in. Raises NoFields."""
    assert spec.pins is not None or len(spec.mixture.leaves) == 1, "who is in which leaf is pinned"
    names = spec.pins.leaves if spec.pins is not None and spec.pins.leaves else (tuple(tasks),)
    leaves = zip(spec.mixture.leaves, names, strict=True)
    return [{name: formatted(tasks[name], leaf.prompt_format) for name in among} for leaf, among in leaves]


def mixer_of(spec: TuneSpec, tasks: Mapping[str, Task], num_rows: Mapping[str, int]) -> Mixer:
    """The mixer of a job that trains on `tasks`."""
    leaves = zip(spec.mixture.leaves, leaf_tasks(spec, tasks), strict=True)
    sizes = [
        {name: size_of(task, num_rows[name], leaf) for name, task in among.items()} for leaf, among in leaves
    ]
    return Mixer(spec.mixture, sizes, spec.seed)


def permutation(size: int, *key: str | int) -> Integers:
    """The numbers below `size` in an order decided by `key`."""
    words = np.random.Philox(key=int.from_bytes(_sha256(*key)[:16])).random_raw(size)
    return np.argsort(words, kind="stable")


def sample(size: int, count: int, *key: str | int) -> Integers:
    """At most `count` of the numbers below `size`, chosen by `key`, in rising order."""
    return np.sort(permutation(size, *key)[:count]) if count < size else np.arange(size)


def _is_drawn(share: float, *key: str | int) -> bool:
    """True for `share` of all keys."""
    return share > 0 and _word(*key) < share * 2**64


def _word(*key: str | int) -> int:
    return int.from_bytes(_sha256(*key)[:8])


def _sha256(*key: str | int) -> bytes:
    return hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
