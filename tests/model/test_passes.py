"""Sequences that come and go in one cache: each one's logits are those it has alone."""

import numpy as np
import pytest
import torch

from flan.data.tokens import Ids
from flan.model.keys import Feed
from flan.model.load import Architecture, Model
from flan.model.passes import CacheTooSmall, Passes
from flan.model.regions import NOTHING, Region
from tests.model import naive
from tests.serve.lively import lively_model, random_prompt

ARCHITECTURES: tuple[Architecture, ...] = ("decoder", "encoder_decoder")
CACHE_BYTES = 2**20


class _Told:
    """A sequence that is told what to write, and notes what the model thinks of it."""

    def __init__(self, passes: Passes, model: Model, prompt: Ids, text: list[int], chunk: int) -> None:
        self.is_encoder_decoder = model.card.contract.architecture == "encoder_decoder"
        self.prompt, self.text, self.found = prompt, text, list[float]()
        region = passes.regions.take(len(prompt) + len(text), (), NOTHING)
        assert region is not None
        self.region: Region = region
        start = list(model.card.contract.prefix_ids) if self.is_encoder_decoder else prompt.tolist()
        self.tokens, self.num_fed, self.chunk = [*start, *text], 0, chunk
        self.num_before = len(start) - 1
        if self.is_encoder_decoder:
            passes.encode(region, prompt)
            self.chunk = 1

    def feed(self) -> Feed:
        last = min(self.num_fed + self.chunk, max(self.num_before + 1, self.num_fed + 1))
        feed = Feed(
            self.region,
            self.tokens[self.num_fed : last],
            self.num_fed,
            int(last > self.num_before),
            encoded=len(self.prompt) if self.is_encoder_decoder else 0,
        )
        self.num_fed = last
        return feed

    def hear(self, logits_V: torch.Tensor) -> None:
        self.found.append(float(logits_V.log_softmax(-1)[self.tokens[self.num_fed]]))

    @property
    def has_ended(self) -> bool:
        return self.num_fed == len(self.tokens) - 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.inference_mode()
def test_logits_do_not_depend_on_the_company(architecture: Architecture) -> None:
    """Prompts read in parts of any size while others are written, joining and leaving at every pass."""
    model, rng = lively_model(architecture), np.random.default_rng(0)
    passes = Passes(model, CACHE_BYTES)
    waiting = [
        _Told(
            passes,
            model,
            random_prompt(model, rng, int(rng.integers(1, 80))),
            rng.integers(3, 380, size=int(rng.integers(2, 30))).tolist(),
            int(rng.integers(1, 40)),
        )
        for _ in range(9)
    ]
    everyone, flight = list(waiting), list[_Told]()
    while waiting or flight:
        flight += waiting[:2]
        del waiting[:2]
        feeds = [told.feed() for told in flight]
        logits_UV = passes.run(feeds)
        heard = [told for told, feed in zip(flight, feeds, strict=True) if feed.num_wanted]
        for told, logits_V in zip(heard, logits_UV, strict=True):
            told.hear(logits_V)
        flight = [told for told in flight if not told.has_ended]

    for told in everyone:
        expected = naive.target_logprobs(model, told.prompt, np.array(told.text, np.int32))
        assert torch.allclose(torch.tensor(told.found), expected, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_branches_are_blind_to_each_other() -> None:
    """Continuations of one prompt, in the pass that reads its end: each as it would be alone."""
    model, rng = lively_model(), np.random.default_rng(1)
    passes = Passes(model, CACHE_BYTES)
    prompt = random_prompt(model, rng, 50)
    options = [random_prompt(model, rng, length) for length in (1, 4, 2, 9)]
    region = passes.regions.take(100, (), NOTHING)
    assert region is not None
    passes.run([Feed(region, prompt[:30], 0, 0)])
    lengths = tuple(len(option) - 1 for option in options)
    branches = np.concatenate([option[:-1] for option in options])
    logits_UV = passes.run([
        Feed(region, prompt[30:], 30, 1),
        Feed(region, branches, 50, len(branches), branches=lengths),
    ])  # fmt: skip

    first, start = logits_UV[0], 1
    for option, length in zip(options, lengths, strict=True):
        logits = torch.cat([first[None], logits_UV[start : start + length]]).log_softmax(-1)
        found = logits[range(len(option)), option.tolist()]
        assert torch.allclose(found, naive.target_logprobs(model, prompt, option), atol=1e-4, rtol=0)
        start += length


@torch.inference_mode()
def test_a_copied_beginning_is_as_good_as_one_that_was_read() -> None:
    """The same logits, whether a prompt's first tokens were copied from another region or computed."""
    model, rng = lively_model(), np.random.default_rng(2)
    passes = Passes(model, CACHE_BYTES)
    prompt = random_prompt(model, rng, 40)
    first, second = (passes.regions.take(48, (), NOTHING) for _ in range(2))
    assert first is not None and second is not None
    passes.run([Feed(first, prompt[:32], 0, 0)])
    read = passes.run([Feed(first, prompt[32:], 32, 1)])
    passes.copy(first, second, 32)

    assert torch.equal(passes.run([Feed(second, prompt[32:], 32, 1)]), read)


def test_a_cache_holds_what_its_bytes_hold() -> None:
    """Keys and values take the bytes they were given, and no more; too few are refused with both numbers."""
    model = lively_model()
    passes = Passes(model, CACHE_BYTES)
    cache = passes._cache

    assert CACHE_BYTES // 2 < cache.keys.nbytes + cache.values.nbytes <= CACHE_BYTES
    with pytest.raises(CacheTooSmall):
        Passes(model, 1_000)
