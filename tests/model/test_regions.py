"""Regions of the cache: never two on one place, nothing lost, and what is remembered is what was read."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flan.data.tokens import Ids
from flan.model.regions import BLOCK, NOTHING, Region, Regions, prefixes

NUM_PLACES = 20 * BLOCK
TREE = np.arange(200, dtype=np.int32)
steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "read", "give_back", "clear"]),
        st.integers(0, 10),
        st.integers(1, 6 * BLOCK),
        st.integers(0, 2 * BLOCK),
    ),
    max_size=60,
)


def _prompt(fork: int, length: int) -> Ids:
    """Prompts of equal beginnings: they part at token `7 * fork`."""
    prompt = TREE[:length].copy()
    prompt[7 * fork :] += 1_000 * (fork + 1)
    return prompt


class _World:
    """Regions, and what is written at each place: the digest of all tokens up to there, as keys and values depend."""

    def __init__(self) -> None:
        self.regions = Regions(NUM_PLACES)
        self.written: list[object] = [None] * NUM_PLACES
        self.prompts: dict[Region, Ids] = {}

    def take(self, prompt: Ids, num_new: int) -> None:
        beginnings = prefixes(prompt)
        shared = self.regions.shared(beginnings)
        if not shared.is_ready:
            return
        region = self.regions.take(len(prompt) + num_new, beginnings, shared)
        if region is None:
            return
        if shared.source is not None:
            assert shared.source in self.regions._placed
            for place in range(shared.length):
                assert self.written[shared.source.start + place] == _state(prompt, place)
                self.written[region.start + place] = _state(prompt, place)
            region.num_read = shared.length
        self.prompts[region] = prompt

    def read(self, region: Region, num_tokens: int) -> None:
        prompt = self.prompts[region]
        last = min(len(prompt), region.num_read + num_tokens)
        for place in range(region.num_read, last):
            self.written[region.start + place] = _state(prompt, place)
        region.num_read = last

    def check(self) -> None:
        placed = self.regions._placed
        for region, behind in pairwise(placed):
            assert region.end <= behind.start
        assert all(region.start >= 0 and region.end <= NUM_PLACES for region in placed)
        assert {*placed} == {*self.prompts, *self.regions._remembered}
        assert self.regions.num_used == sum(region.size for region in self.prompts)
        assert {*self.regions._of_digest.values()} <= {*placed}
        for region in self.regions._remembered:
            assert all(length <= region.num_read for length, _ in region.prefixes)


def _state(prompt: Ids, place: int) -> tuple[int, ...]:
    return tuple(prompt[: place + 1].tolist())


@settings(max_examples=150)
@given(steps)
def test_regions_neither_overlap_nor_leak(drawn: list[tuple[str, int, int, int]]) -> None:
    """Whatever is taken, read in parts, given back and forgotten: what is copied is what was computed there."""
    world = _World()
    for step, which, length, num_new in drawn:
        running = [*world.prompts]
        if step == "take":
            world.take(_prompt(which, length), num_new)
        elif step == "clear":
            world.regions.clear()
        elif running:
            region = running[which % len(running)]
            if step == "read":
                world.read(region, length)
            else:
                world.regions.give_back(region)
                del world.prompts[region]
        world.check()

    for region in world.prompts:
        world.regions.give_back(region)
    world.regions.clear()
    assert world.regions._placed == [] and world.regions._of_digest == {} and world.regions.num_used == 0


def test_what_was_used_last_is_forgotten_last() -> None:
    """Room is made by forgetting the prompt that nobody has asked for longest."""
    regions = Regions(8 * BLOCK)
    prompts = [_prompt(0, 2 * BLOCK) + 5_000 * i for i in range(4)]
    for prompt in prompts:
        region = regions.take(len(prompt), prefixes(prompt), NOTHING)
        assert region is not None
        region.num_read = len(prompt)
        regions.give_back(region)
    used = regions.shared(prefixes(prompts[0]))
    again = regions.take(2 * BLOCK, prefixes(prompts[0]), used)
    assert again is not None
    again.num_read = 2 * BLOCK
    regions.give_back(again)
    assert regions.take(5 * BLOCK, (), NOTHING) is not None

    assert regions.shared(prefixes(prompts[0])).length == BLOCK
    assert regions.shared(prefixes(prompts[1])) == NOTHING


def test_a_prompt_is_known_by_its_beginnings() -> None:
    """Those that end at a block, and never the whole: its last token is to be read."""
    assert [length for length, _ in prefixes(TREE[:BLOCK])] == []
    assert [length for length, _ in prefixes(TREE[: BLOCK + 1])] == [BLOCK]
    first, second = prefixes(TREE[:100]), prefixes(_prompt(5, 100))
    assert [mine == theirs for mine, theirs in zip(first, second, strict=True)] == [True] * 2 + [False] * 4
