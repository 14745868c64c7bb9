"""A tiny model that has something to say, an engine and a server around it, and ways to wait for them.

The kit's tiny models repeat one token for ever: their embeddings are tied and untrained. Here every matrix
is random and large, so that each token depends on all before it.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from unittest.mock import patch

import httpx
import numpy as np
import torch
from transformers import LlamaForCausalLM, PreTrainedModel, T5ForConditionalGeneration

from flan.card import Lineage
from flan.data.tokens import Ids, encode_prompt, make_contract
from flan.model.keys import Feed
from flan.model.load import Architecture, Model, make_card
from flan.model.passes import Passes
from flan.model.presets import llama_config, t5_config
from flan.serve.engine import Engine
from flan.serve.lifetime import Server, face_of
from flan.spec import Sampling, ServeSpec
from tests.kit.models import tiny_tokenizer

CONTEXT = 8_192
TOKEN = "a-token-of-the-test"
PROMPTS = (
    "hi",
    "Is this review positive or negative?",
    "The film was long and dull, and nobody laughed. " * 4,
    "Write a sentence with the words red, blue and green.",
)


@lru_cache
def lively_model(architecture: Architecture = "decoder", context: int = CONTEXT) -> Model:
    """A model whose greedy answers are long and varied; shared, not to be changed."""
    tokenizer = tiny_tokenizer()
    network: PreTrainedModel
    # Whoever asks first may be in inference mode: its tensors would fail all who come later and are not.
    with torch.inference_mode(mode=False), torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        if architecture == "decoder":
            config = llama_config(tokenizer, hidden=32, layers=2, heads=2, context=context)
            config.tie_word_embeddings = False
            network = LlamaForCausalLM(config)
        else:
            config = t5_config(tokenizer, hidden=32, layers=2, heads=2)
            config.tie_word_embeddings = False
            network = T5ForConditionalGeneration(config)
        for name, parameter in network.named_parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=1.0 if "embed" in name or "shared" in name else 0.25)
    contract = make_contract(tokenizer, architecture)
    nothing = Lineage(base="preset:tiny", tasks_seen=(), clusters_seen=())
    called = f"lively-{architecture.replace('_', '-')}"
    return Model(network.eval(), tokenizer, make_card(called, network, contract, nothing))


def with_end(model: Model, end_ids: tuple[int, ...]) -> Model:
    """The same network under a contract in which answers end with other ids."""
    contract = model.card.contract.model_copy(update={"end_ids": end_ids})
    return model._replace(card=model.card.model_copy(update={"contract": contract}))


def endless_model() -> Model:
    """A model that practically never ends an answer: it would have to draw eight ends in a row."""
    return with_end(lively_model(), (end_id(lively_model()),) * 8)


def prompt_ids(model: Model, text: str) -> Ids:
    """A prompt as the model reads it."""
    return encode_prompt(model.tokenizer, model.card.contract, text)


def sampling(**changes: Any) -> Sampling:
    """Sixteen tokens with seed 1, unless said otherwise."""
    return Sampling(**{"max_new_tokens": 16, "seed": 1} | changes)


@contextmanager
def engine_of(model: Model, *, max_batch: int = 8, max_waiting: int = 64, **more: int) -> Iterator[Engine]:
    """A running engine, with a cache of 16 MiB unless said otherwise."""
    limits = {"cache_bytes": 2**24} | more
    engine = Engine(model, max_batch=max_batch, max_waiting=max_waiting, **limits)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


@contextmanager
def server_of(model: Model, **limits: int) -> Iterator[tuple[httpx.Client, Engine]]:
    """A real server on a free port, a client that has its token, and the engine behind it."""
    limits = {"max_batch": 8, "max_waiting": 64} | limits
    spec = ServeSpec(name="lively", model="lively", sampling=Sampling(max_new_tokens=16), **limits)
    face = face_of(model, spec, token=TOKEN)
    server = Server(face, "127.0.0.1", 0)
    try:
        server.start()
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
            yield client, face.engine
    finally:
        server.stop()


@contextmanager
def gate(model: Model) -> Iterator[Callable[[int], None]]:
    """Holds engines on `model` back: they run one pass for each one that the test lets through."""
    passes, run = threading.Semaphore(0), Passes.run

    def held(self: Passes, feeds: Sequence[Feed]) -> torch.Tensor:
        if self._network is model.network:
            passes.acquire()
        return run(self, feeds)

    with patch.object(Passes, "run", held):
        try:
            yield passes.release
        finally:
            passes.release(1_000_000)


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Return as soon as `condition` holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def end_id(model: Model) -> int:
    """The one id that ends an answer."""
    (end,) = model.card.contract.end_ids
    return end


def without_end(model: Model, token_ids: tuple[int, ...]) -> tuple[int, ...]:
    """The tokens of an answer before its end."""
    return token_ids[:-1] if token_ids[-1:] == (end_id(model),) else token_ids


def random_prompt(model: Model, rng: np.random.Generator, length: int) -> Ids:
    """Ids of no meaning."""
    return rng.integers(3, len(model.tokenizer), size=length, dtype=np.int32)
