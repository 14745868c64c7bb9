"""Tiny real models, built in a second: a two-layer Llama and a T5 of two by two layers.

Both share one byte-level BPE trained on a few sentences. Their weights are random but equal in every
process: a test may compare two builds of one bit for bit.
"""

from functools import lru_cache

import torch
from transformers import (
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5ForConditionalGeneration,
)

from flan.card import Lineage
from flan.model.load import Architecture, Model, contract_of, make_card
from flan.model.presets import llama_config, t5_config, train_tokenizer

TINY_VOCABULARY = 384
TINY_CONTEXT = 512
SENTENCES = (
    "Is this review positive or negative?\n\nOPTIONS:\n- positive\n- negative",
    "Does the premise entail the hypothesis?\n\nOPTIONS:\n- yes\n- no\n- it is not possible to tell",
    "What is the answer to this question? The river is longer than the road.",
    "Write a sentence with the words red, blue and green.",
    "The film was long and dull, and nobody laughed.",
    "A happy dog ran through the green park and found a big red ball.",
)


@lru_cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 384 entries; <pad> 0, </s> 1."""
    return train_tokenizer(SENTENCES * 4, vocab_size=TINY_VOCABULARY)


def tiny_network(architecture: Architecture, seed: int = 0) -> PreTrainedModel:
    """An untrained network in fp32, a new one at each call (a test may train it)."""
    tokenizer = tiny_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if architecture == "decoder":
            config = llama_config(tokenizer, hidden=32, layers=2, heads=2, context=TINY_CONTEXT)
            return LlamaForCausalLM(config).eval()
        return T5ForConditionalGeneration(t5_config(tokenizer, hidden=32, layers=2, heads=2)).eval()


def tiny_model(architecture: Architecture = "decoder", seed: int = 0) -> Model:
    """A tiny model with its tokenizer and card; it has seen no task."""
    network, tokenizer = tiny_network(architecture, seed), tiny_tokenizer()
    nothing = Lineage(base="preset:tiny", tasks_seen=(), clusters_seen=())
    contract = contract_of(network.config, tokenizer)
    return Model(
        network, tokenizer, make_card(f"tiny-{architecture.replace('_', '-')}", network, contract, nothing)
    )
