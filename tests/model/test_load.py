"""What may be loaded, and what is refused with a reason."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BartConfig, BartForConditionalGeneration, MambaConfig, MambaForCausalLM

from flan.card import CARD_FILE, read_card
from flan.data.bases import UnsafeWeights
from flan.errors import NotFound
from flan.model.export import export
from flan.model.greedy import greedy
from flan.model.load import RenderContractMismatch, UnsupportedModel, context_length, load_model
from flan.model.presets import train_tokenizer
from tests.kit.models import SENTENCES, tiny_model, tiny_network, tiny_tokenizer

DATA = os.environ.get("FLAN_DATA")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny decoder as it is exported. Tests that change it copy it first."""
    directory = tmp_path_factory.mktemp("models") / "tiny"
    export(*tiny_model("decoder"), directory)
    return directory


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def test_a_model_of_ours_brings_its_card(written: Path) -> None:
    """Contract, context and lineage are those it was written with; the weights come in the type asked for."""
    loaded = load_model(written, dtype=torch.bfloat16)

    assert loaded.card == tiny_model("decoder").card
    assert loaded.network.dtype == torch.bfloat16
    assert not loaded.network.training


def test_a_foreign_model_has_an_unknown_lineage(copied: Path) -> None:
    """Without flan.json nothing is claimed about what the model has seen."""
    (copied / CARD_FILE).unlink()

    card = load_model(copied).card

    assert card.lineage.tasks_seen is None
    assert card.name == "copy"
    assert card.contract == tiny_model("decoder").card.contract


def test_another_tokenizer_breaks_the_contract(copied: Path) -> None:
    """Weights beside a tokenizer they were not trained with are refused, not answered from."""
    train_tokenizer(SENTENCES[:2] * 9, vocab_size=384).save_pretrained(copied)

    with pytest.raises(RenderContractMismatch) as error:
        load_model(copied)

    assert "tokenizer" in error.value.message
    assert error.value.values["trained"] != error.value.values["found"]


def test_a_renderer_of_another_version_breaks_the_contract(copied: Path) -> None:
    """A model made by a version that rendered otherwise is refused."""
    card = json.loads((copied / CARD_FILE).read_text())
    card["contract"]["renderer"] = 99
    (copied / CARD_FILE).write_text(json.dumps(card))

    with pytest.raises(RenderContractMismatch, match="differs in renderer"):
        load_model(copied)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_refused_unread(copied: Path, name: str) -> None:
    """A pickle is a program: it is named in the error and never opened."""
    (copied / "model.safetensors").unlink()
    (copied / name).write_bytes(b"not even a pickle")

    with pytest.raises(UnsafeWeights, match=name):
        load_model(copied)


def test_code_beside_the_weights_is_never_run(copied: Path, tmp_path: Path) -> None:
    """A config that points to code of its own is refused, and the code leaves no trace."""
    config = json.loads((copied / "config.json").read_text())
    config |= {
        "model_type": "strange",
        "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"},
    }
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")

    with pytest.raises(UnsupportedModel):
        load_model(copied)

    assert not (tmp_path / "ran").exists()


def test_a_missing_tensor_is_not_made_up(copied: Path) -> None:
    """Weights that the file lacks are an error, not random numbers."""
    weights = load_file(copied / "model.safetensors")
    lost = weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})

    assert lost.numel() > 0
    with pytest.raises(UnsupportedModel, match="up_proj"):
        load_model(copied)


def test_a_folder_without_a_model_is_not_found(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(NotFound, match=tmp_path.name):
        load_model(tmp_path)


def test_a_tokenizer_larger_than_the_embeddings_is_refused(copied: Path) -> None:
    """An id without an embedding would read beyond the table."""
    (copied / CARD_FILE).unlink()
    train_tokenizer(["all of these words are new to it"] * 50, vocab_size=700).save_pretrained(copied)
    weights = load_file(copied / "model.safetensors")
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:100].clone()
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((copied / "config.json").read_text()) | {"vocab_size": 100}
    (copied / "config.json").write_text(json.dumps(config))

    with pytest.raises(UnsupportedModel, match="100 embeddings"):
        load_model(copied)


def test_networks_whose_packs_leak_are_refused(tmp_path: Path) -> None:
    """Absolute positions in an encoder-decoder, or a state that runs through: neither can be packed exactly."""
    size = {"vocab_size": len(tiny_tokenizer()), "d_model": 16}
    bart = BartConfig(
        **size, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2
    )
    mamba = MambaConfig(vocab_size=len(tiny_tokenizer()), hidden_size=16, num_hidden_layers=1)
    for name, network in {
        "bart": BartForConditionalGeneration(bart),
        "mamba": MambaForCausalLM(mamba),
    }.items():
        network.save_pretrained(tmp_path / name)
        tiny_tokenizer().save_pretrained(tmp_path / name)

        with pytest.raises(UnsupportedModel, match=name):
            load_model(tmp_path / name)


def test_context_is_what_the_network_can_place() -> None:
    """The table of positions, a shorter sliding window, or no limit for relative positions."""
    decoder = tiny_network("decoder").config
    decoder.sliding_window = 128

    assert context_length(tiny_network("decoder").config) == 512
    assert context_length(decoder) == 128
    assert context_length(tiny_network("encoder_decoder").config) == 2**20


@pytest.mark.data
@pytest.mark.skipif(DATA is None, reason="FLAN_DATA is not set")
def test_a_trained_llama_from_elsewhere_loads_and_writes() -> None:
    """stories260K continues a story in English."""
    assert DATA is not None
    model = load_model(Path(DATA) / "models" / "stories260K")
    prompt = [1, *model.tokenizer.encode("Once upon a time", add_special_tokens=False)]

    [text] = greedy(model, [torch.tensor(prompt).int().numpy()], max_new_tokens=20, batch_tokens=100)

    assert "there was a little girl" in model.tokenizer.decode(text.token_ids)
    assert model.card.name == "stories260k"
    assert model.card.lineage.clusters_seen is None


@pytest.mark.data
@pytest.mark.skipif(DATA is None, reason="FLAN_DATA is not set")
def test_a_sentencepiece_file_alone_is_a_tokenizer(tmp_path: Path) -> None:
    """Older checkpoints bring no tokenizer.json."""
    assert DATA is not None
    network = tiny_network("decoder")
    network.resize_token_embeddings(32_000)
    network.save_pretrained(tmp_path)
    shutil.copy(Path(DATA) / "models" / "tokenizer-llama" / "tokenizer.model", tmp_path)
    lines = "one line\nand {another}"

    tokenizer = load_model(tmp_path).tokenizer

    assert tokenizer.decode(tokenizer.encode(lines, add_special_tokens=False)) == lines


def test_card_on_disk_is_the_card(written: Path) -> None:
    """flan.json parses to the card by itself, without torch."""
    assert read_card(written) == tiny_model("decoder").card
