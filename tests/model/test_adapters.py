"""Low-rank additions: merged they are the same model, alone they fit one base and no other."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel

from flan.model.adapters import (
    Adapter,
    UnknownModule,
    WrongBase,
    add_lora,
    merge,
    put_adapter,
    take_adapter,
    weights_digest,
    write_adapter,
)
from flan.model.export import ADAPTER, export
from flan.model.load import Architecture, Model, load_model
from flan.spec import Lora
from tests.kit.models import TINY_VOCABULARY, tiny_model

LORA = Lora(rank=4, alpha=8.0)
DECODER_MATRICES = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
T5_MATRICES = {"q", "k", "v", "o", "wi_0", "wi_1", "wo"}


@pytest.mark.parametrize("kind", ["decoder", "encoder_decoder", "gpt2"])
def test_a_merged_network_says_what_the_adapted_one_says(kind: str) -> None:
    """Equal to the rounding of 64 bits, far from the base, and as plain as before: the same tensors by name."""
    network = _network(kind).double()
    names, before = network.state_dict().keys(), _logits(network)
    add_lora(network, LORA, seed=3)
    untouched = _logits(network)
    _train(network)
    adapted = _logits(network)
    merge(network)

    assert torch.equal(untouched, before)
    assert (adapted - before).abs().max() > 0.1
    assert torch.allclose(_logits(network), adapted, atol=1e-9, rtol=1e-9)
    assert network.state_dict().keys() == names


@pytest.mark.parametrize(
    ("kind", "matrices"), [("decoder", DECODER_MATRICES), ("encoder_decoder", T5_MATRICES)]
)
def test_attention_and_feed_forward_are_adapted_and_nothing_else_is_trained(
    kind: str, matrices: set[str]
) -> None:
    """Embeddings, norms and head stay out, so an adapter cannot change a vocabulary."""
    network = _network(kind)
    add_lora(network, LORA, seed=0)
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad}

    assert {name.rpartition(".")[2] for name in trained} == {"lora_A", "lora_B"}
    assert {name.split(".")[-2] for name in trained} == matrices


def test_targets_are_named_by_the_end_of_their_names() -> None:
    """One name takes every layer's matrix, a longer one a single matrix; additions depend on the seed alone."""
    network, again, other = (_network("decoder") for _ in range(3))
    chosen = Lora(target_modules=("q_proj", "layers.1.mlp.up_proj"))
    add_lora(network, chosen, seed=5)
    add_lora(again, chosen, seed=5)
    add_lora(other, chosen, seed=6)

    weights = network.state_dict()
    assert [name for name in weights if name.endswith("lora_B")] == [
        "model.layers.0.self_attn.q_proj.lora_B",
        "model.layers.1.self_attn.q_proj.lora_B",
        "model.layers.1.mlp.up_proj.lora_B",
    ]
    name = "model.layers.1.mlp.up_proj.lora_A"
    assert torch.equal(again.state_dict()[name], weights[name])
    assert not torch.equal(other.state_dict()[name], weights[name])


@pytest.mark.parametrize("unknown", ["qproj", "lm_head", "embed_tokens"])
def test_an_unknown_target_is_refused_with_those_there_are(unknown: str) -> None:
    """The head and the embeddings are none."""
    with pytest.raises(UnknownModule, match=f"no matrix '{unknown}'.*q_proj") as refused:
        add_lora(_network("decoder"), Lora(target_modules=("q_proj", unknown)), seed=0)

    assert refused.value.pointer == "/method/target_modules/1"
    assert unknown != "qproj" or "did you mean 'q_proj'?" in (refused.value.hint or "")


def test_an_adapter_put_on_its_base_is_the_merged_model(tmp_path: Path) -> None:
    """To the bit, from the folder beside the exported weights, which transformers alone reads merged."""
    model, adapter = _tuned()
    export(*model, tmp_path / "model", adapter)

    network = tiny_model("decoder").network
    put_adapter(network, model.card.contract.tokenizer, tmp_path / "model" / ADAPTER)
    merge(network)
    read, plain = load_model(tmp_path / "model"), AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, read.network.state_dict()[name]), name
        assert torch.equal(weight, plain.state_dict()[name]), name


def test_an_adapter_on_another_base_is_refused(tmp_path: Path) -> None:
    """Other weights or another tokenizer: named by digest, with what it was trained on."""
    model, adapter = _tuned()
    write_adapter(adapter, tmp_path / "adapter")
    tokenizer = model.card.contract.tokenizer

    with pytest.raises(WrongBase, match=r"trained on weights .*tiny-decoder"):
        put_adapter(tiny_model("decoder", seed=1).network, tokenizer, tmp_path / "adapter")
    with pytest.raises(WrongBase, match="trained on tokenizer"):
        put_adapter(tiny_model("decoder").network, "0" * 64, tmp_path / "adapter")


def test_the_folder_has_the_layout_of_peft(tmp_path: Path) -> None:
    """Names, shapes and settings under which its LoRA is stored."""
    _, adapter = _tuned()
    write_adapter(adapter, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")

    assert (config["peft_type"], config["r"], config["lora_alpha"], config["bias"]) == (
        "LORA",
        4,
        8.0,
        "none",
    )
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    assert tuple(weights[f"{name}.lora_A.weight"].shape) == (4, 32)
    assert tuple(weights[f"{name}.lora_B.weight"].shape) == (32, 4)
    assert len(weights) == 2 * len(config["target_modules"])


def _tuned() -> tuple[Model, Adapter]:
    model = tiny_model("decoder")
    digest = weights_digest(model.network)
    add_lora(model.network, LORA, seed=3)
    _train(model.network)
    adapter = take_adapter(
        model.network, LORA, base=digest, base_name=model.card.name, tokenizer=model.card.contract.tokenizer
    )
    merge(model.network)
    return model, adapter


def _network(kind: str) -> PreTrainedModel:
    if kind == "gpt2":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            config = GPT2Config(vocab_size=TINY_VOCABULARY, n_embd=32, n_layer=2, n_head=2, n_positions=128)
            return GPT2LMHeadModel(config).eval()
    architecture: Architecture = "decoder" if kind == "decoder" else "encoder_decoder"
    return tiny_model(architecture).network


@torch.no_grad()
def _train(network: PreTrainedModel) -> None:
    generator = torch.Generator().manual_seed(1)
    for weight in network.parameters():
        if weight.requires_grad:
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)


@torch.no_grad()
def _logits(network: PreTrainedModel) -> Tensor:
    ids = torch.arange(3, 40)[None]
    more = {"decoder_input_ids": ids[:, :9]} if network.config.is_encoder_decoder else {}
    return network(input_ids=ids, use_cache=False, **more).logits
