"""A soft prompt stands before every input, and nothing else of the model knows of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from flan.data.packing import pack_batch
from flan.data.token_view import token_parts
from flan.data.tokens import Tokens, encode_prompt, encode_target
from flan.data.window import Lengths
from flan.model import greedy as batched
from flan.model.export import export
from flan.model.load import Architecture, Model, RenderContractMismatch, load_model
from flan.model.masks import forward, to_tensors
from flan.model.scoring import score_options
from flan.model.soft_prompt import PROMPT_FILE, prompt_of
from flan.serve.engine import Engine
from flan.spec import Sampling, TuneSpec, parse
from flan.train.methods import with_method
from tests.kit.models import TINY_VOCABULARY, tiny_model
from tests.model.naive import greedy, target_logprobs
from tests.serve.lively import lively_model

LENGTH = 5
ARCHITECTURES: list[Architecture] = ["decoder", "encoder_decoder"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_contract_puts_the_prompt_before_every_input(architecture: Architecture) -> None:
    """Ids behind the vocabulary, in front of the text, in no target; the tokenizer is what it was."""
    base, model = tiny_model(architecture), _prompted(architecture)
    ids = tuple(range(TINY_VOCABULARY, TINY_VOCABULARY + LENGTH))
    contract = model.card.contract
    bare = encode_prompt(base.tokenizer, base.card.contract, "red").tolist()

    assert encode_prompt(model.tokenizer, contract, "red").tolist() == [*ids, *bare]
    parts = token_parts(model, _example(model, "red", "blue"), "red", "blue")
    (shown,) = (part for part in parts if part.name == "soft_prompt")
    assert (shown.ids, set(shown.loss_mask)) == (ids, {0})
    assert max(encode_target(model.tokenizer, contract, "red")) < TINY_VOCABULARY
    assert contract == base.card.contract.model_copy(update={"soft_prompt_ids": ids})
    assert contract.digest() != base.card.contract.digest()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_prompt_ids_read_as_embeddings_given_by_hand(architecture: Architecture) -> None:
    """The same logits as the base's own network fed prompt and text as embeddings; one logit a vocabulary entry."""
    base, model = tiny_model(architecture).network, _prompted(architecture)
    ids_1L = torch.arange(3, 20)[None]
    prompt = prompt_of(model.network)
    assert prompt is not None
    embedded = torch.cat([prompt[None], base.get_input_embeddings()(ids_1L)], dim=1)
    own_1L = torch.tensor([[*model.card.contract.soft_prompt_ids, *ids_1L[0].tolist()]])
    more = {"decoder_input_ids": ids_1L[:, :6]} if architecture == "encoder_decoder" else {}

    with torch.inference_mode():
        expected = base(inputs_embeds=embedded, use_cache=False, **more).logits
        found = model.network(input_ids=own_1L, use_cache=False, **more).logits
    assert found.shape[-1] == TINY_VOCABULARY
    assert torch.equal(found, expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_segment_of_a_pack_has_the_prompt(architecture: Architecture) -> None:
    """Logits of an example in a pack are those of the example alone, and the gradient is that of all of them."""
    model = _prompted(architecture)
    examples = [_example(model, text, target) for text, target in (("red", "blue"), ("a dog ran", "no"))]

    packed = _target_logits(model, examples)
    alone = torch.cat([_target_logits(model, [example]) for example in examples])
    assert torch.allclose(packed, alone, atol=1e-5)
    together, apart = (_prompt_gradient(model, groups) for groups in ([examples], [[e] for e in examples]))
    assert torch.allclose(together, apart, rtol=1e-4, atol=1e-6)
    assert together.abs().min() > 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_evaluation_and_serving_read_the_prompt(architecture: Architecture, tmp_path: Path) -> None:
    """Exported and read back, scores and answers of our rooms are those of the slow way."""
    export(*_prompted(architecture, deepcopy(lively_model(architecture))), tmp_path / "model")
    model = load_model(tmp_path / "model")
    prompt = encode_prompt(model.tokenizer, model.card.contract, "Is the film long?")
    options = [encode_target(model.tokenizer, model.card.contract, text) for text in ("yes", "no")]
    expected = [float(target_logprobs(model, prompt, option).sum()) for option in options]

    (scores,) = score_options(model, [prompt], [options], batch_tokens=512)
    assert [score.logprob for score in scores] == pytest.approx(expected, abs=1e-4)
    (written,) = batched.greedy(model, [prompt], max_new_tokens=6, batch_tokens=512)
    assert len(written.token_ids) == 6
    assert written.token_ids == greedy(model, prompt, 6)
    with _engine(model) as engine:
        (served,) = engine.generate(prompt, Sampling(temperature=0, max_new_tokens=6, seed=1)).result(60)
        ranked = engine.score(prompt, options).result(60)
    assert tuple(served.token_ids) == greedy(model, prompt, 6)
    assert [score.logprob for score in ranked] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_exported_directory_is_the_base_with_a_file_beside(
    architecture: Architecture, tmp_path: Path
) -> None:
    """transformers alone reads the base, bit for bit, and its tokenizer; we read the prompt too."""
    model = _prompted(architecture)
    export(*model, tmp_path / "model")
    auto = AutoModelForSeq2SeqLM if architecture == "encoder_decoder" else AutoModelForCausalLM

    plain, base = auto.from_pretrained(tmp_path / "model").state_dict(), tiny_model(architecture).network
    assert plain.keys() == base.state_dict().keys()
    assert all(torch.equal(weight, plain[name]) for name, weight in base.state_dict().items())
    assert len(AutoTokenizer.from_pretrained(tmp_path / "model")) == TINY_VOCABULARY
    read = load_model(tmp_path / "model")
    ours, theirs = prompt_of(model.network), prompt_of(read.network)
    assert ours is not None
    assert theirs is not None
    assert torch.equal(ours, theirs)
    assert read.card == model.card


def test_a_model_without_the_prompt_of_its_card_is_refused(tmp_path: Path) -> None:
    """Its inputs would begin with ids that have no embedding."""
    export(*_prompted("decoder"), tmp_path / "model")
    (tmp_path / "model" / PROMPT_FILE).unlink()

    with pytest.raises(RenderContractMismatch, match="soft_prompt_ids"):
        load_model(tmp_path / "model")


def _prompted(architecture: Architecture, base: Model | None = None) -> Model:
    spec = {"name": "p", "base": "tiny", "seed": 2, "method": {"kind": "soft_prompt", "length": LENGTH}}
    model = with_method(base or tiny_model(architecture), parse(TuneSpec, spec))
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            assert weight.requires_grad == name.endswith("prompt")
            if weight.requires_grad:
                weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(4)))
    return model


def _example(model: Model, text: str, target: str) -> Tokens:
    contract = model.card.contract
    return Tokens(
        encode_prompt(model.tokenizer, contract, text), encode_target(model.tokenizer, contract, target)
    )


def _target_logits(model: Model, examples: list[Tokens]) -> Tensor:
    contract = model.card.contract
    num_input, num_target = (sum(len(example[i]) for example in examples) for i in (0, 1))
    is_decoder = contract.architecture == "decoder"
    lengths = Lengths(num_input + num_target + 2, 0) if is_decoder else Lengths(num_input + 2, num_target + 1)
    batch = to_tensors(pack_batch([examples], lengths, contract))
    assert int((batch["target_ids"] * (batch["loss_weights"] > 0)).max()) < TINY_VOCABULARY
    return forward(model.network, batch)[batch["loss_weights"] > 0]


def _prompt_gradient(model: Model, groups: list[list[Tokens]]) -> Tensor:
    (prompt,) = (weight for weight in model.network.parameters() if weight.requires_grad)
    prompt.grad = None
    for examples in groups:
        ids = torch.from_numpy(np.concatenate([example.target_ids for example in examples])).long()
        _target_logits(model, examples).log_softmax(-1).gather(-1, ids[:, None]).sum().backward()
    assert prompt.grad is not None
    return prompt.grad


@contextmanager
def _engine(model: Model) -> Iterator[Engine]:
    engine = Engine(model, max_batch=2, max_waiting=2)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
