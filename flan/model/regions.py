"""Who lies where in a key-value cache of a fixed size, and which prompts it remembers.

    places   0 ─────────────────────────────────────────────── num_places
             [ in use ][ remembered ][ free ][ in use      ][ remembered ]

A sequence takes a *region*, as many adjacent places as it can ever need, so it is never moved and never runs out. When
it ends, the places of its prompt are remembered until their room is needed, the least recently used first. Prompts are
known by digests of their beginnings, one at every BLOCK tokens: a later prompt that begins alike copies keys and values
instead of computing them. What is still being read counts as known too: whoever needs it waits for it.

Pure bookkeeping: `flan/model/flight.py` has the tensors.
"""

import hashlib
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from flan.data.tokens import Ids

BLOCK = 16
"""Tokens between two beginnings that are told apart; regions are multiples of it."""


class Prefix(NamedTuple):
    """The beginning of a prompt."""

    length: int
    digest: bytes


def prefixes(prompt: Ids) -> tuple[Prefix, ...]:
    """The beginnings of `prompt` that another may share, shortest first.

    None is the whole: its last token is always read, for the logits that come after it.
    """
    ids, found, digest = np.ascontiguousarray(prompt, np.int32), [], b""
    for end in range(BLOCK, len(ids), BLOCK):
        digest = hashlib.blake2b(digest + ids[end - BLOCK : end].tobytes(), digest_size=16).digest()
        found.append(Prefix(end, digest))
    return tuple(found)


def whole(prompt: Ids) -> tuple[Prefix, ...]:
    """The only beginning of a prompt that is read in both directions: all of it."""
    ids = np.ascontiguousarray(prompt, np.int32)
    return (Prefix(len(ids), hashlib.blake2b(ids.tobytes(), digest_size=16).digest()),)


@dataclass(eq=False)
class Region:
    """Adjacent places of one sequence."""

    start: int
    size: int
    prefixes: tuple[Prefix, ...] = ()
    """Beginnings of its prompt, by which it is known."""
    num_read: int = 0
    """Tokens of its prompt whose keys and values are there, from the first on."""

    @property
    def end(self) -> int:
        """The first place behind it."""
        return self.start + self.size


class Shared(NamedTuple):
    """Where the beginning of a prompt is, or will be."""

    source: Region | None
    length: int
    """Tokens that both have in common; 0 without a source."""

    @property
    def is_ready(self) -> bool:
        """Whether all of it has been read."""
        return self.source is None or self.source.num_read >= self.length


NOTHING = Shared(None, 0)


class Regions:
    """The regions of a cache. One thread only."""

    def __init__(self, num_places: int) -> None:
        self.num_places = num_places // BLOCK * BLOCK
        self.num_used = 0
        """Places of sequences in flight; what is remembered is not counted."""
        self._placed: list[Region] = []
        """All regions, by start."""
        self._remembered: OrderedDict[Region, None] = OrderedDict()
        """Regions of nobody, the least recently used first."""
        self._of_digest: dict[bytes, Region] = {}
        """For each beginning the region that had it last."""

    def shared(self, beginnings: Sequence[Prefix]) -> Shared:
        """The longest of `beginnings` that some region has."""
        for length, digest in reversed(beginnings):
            if (source := self._of_digest.get(digest)) is not None:
                return Shared(source, length)
        return NOTHING

    def take(self, num_places: int, beginnings: Sequence[Prefix], shared: Shared) -> Region | None:
        """A region of at least `num_places`, or None: then wait until a sequence ends.

        What `shared` says stays where it is meanwhile; its owner copies it. Nothing else is touched but what is
        remembered and longest unused.
        """
        size = -(-num_places // BLOCK) * BLOCK
        start = self._room(size, spared=shared.source)
        if start is None:
            return None
        if shared.source is not None and shared.source in self._remembered:
            self._remembered.move_to_end(shared.source)
        region = Region(start, size)
        if beginnings and beginnings[-1].length > shared.length:
            # Known by all of them: what was shared is found here when the older region is gone.
            region.prefixes = tuple(beginnings)
            self._of_digest.update({digest: region for _, digest in beginnings})
        insort(self._placed, region, key=attrgetter("start"))
        self.num_used += size
        return region

    def give_back(self, region: Region) -> None:
        """Its sequence has ended: what was read of its prompt is remembered, the rest is free."""
        self.num_used -= region.size
        read = tuple(prefix for prefix in region.prefixes if prefix.length <= region.num_read)
        self._forget(region, region.prefixes[len(read) :])
        region.prefixes = read
        if not any(self._of_digest.get(digest) is region for _, digest in read):
            self._remove(region)
            return
        region.size = -(-read[-1].length // BLOCK) * BLOCK
        self._remembered[region] = None

    def clear(self) -> None:
        """Forget what is remembered."""
        while self._remembered:
            self._drop(next(iter(self._remembered)))

    def _room(self, size: int, spared: Region | None) -> int | None:
        """Where `size` free places begin; for them what is remembered goes."""
        before = 0
        for region in self._placed:
            if region.start - before >= size:
                return before
            before = region.end
        if self.num_places - before >= size:
            return before
        for region in list(self._remembered):
            if region is not spared:
                self._drop(region)
                first, behind = self._gap(region.start)
                if behind - first >= size:
                    return first
        return None

    def _gap(self, place: int) -> tuple[int, int]:
        """The free places around a free one: the first, and the first that is not free."""
        index = bisect_left(self._placed, place, key=attrgetter("start"))
        first = self._placed[index - 1].end if index else 0
        return first, self._placed[index].start if index < len(self._placed) else self.num_places

    def _drop(self, region: Region) -> None:
        del self._remembered[region]
        self._forget(region, region.prefixes)
        self._remove(region)

    def _forget(self, region: Region, gone: Sequence[Prefix]) -> None:
        for _, digest in gone:
            if self._of_digest.get(digest) is region:
                del self._of_digest[digest]

    def _remove(self, region: Region) -> None:
        del self._placed[bisect_left(self._placed, region.start, key=attrgetter("start"))]
