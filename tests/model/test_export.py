"""An exported model is whole, plain and equal to what was trained."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from flan.errors import Conflict
from flan.model.export import BadWeights, check_weights, export
from flan.model.load import Architecture, load_model
from tests.kit.models import tiny_model


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transformers_alone_reads_it_back(
    architecture: Architecture, dtype: torch.dtype, tmp_path: Path
) -> None:
    """`from_pretrained`, nothing of ours: equal weights in the stored type, the same tokenizer, no pickle."""
    export(*tiny_model(architecture), tmp_path / "first")
    network, tokenizer, card = load_model(tmp_path / "first", dtype=dtype)
    auto = AutoModelForSeq2SeqLM if architecture == "encoder_decoder" else AutoModelForCausalLM

    export(network, tokenizer, card, tmp_path / "model")

    read = auto.from_pretrained(tmp_path / "model", dtype="auto").state_dict()
    written = network.state_dict()
    assert all(torch.equal(written[name], read[name]) and read[name].dtype == dtype for name in written)
    text = "OPTIONS:\n- yes\n-  no"
    assert AutoTokenizer.from_pretrained(tmp_path / "model").encode(text) == tokenizer.encode(text)
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors"}


def test_a_network_rounded_beyond_its_weights_is_not_written(tmp_path: Path) -> None:
    """A cast of the whole module rounds rotary frequencies, which no file holds: the probe notices."""
    network, tokenizer, card = tiny_model("decoder")

    with pytest.raises(BadWeights, match="probe"):
        export(network.to(torch.bfloat16), tokenizer, card, tmp_path / "model")


def test_a_head_that_is_tied_only_by_its_config_is_not_written(tmp_path: Path) -> None:
    """Two tensors that happen to be equal would become one for whoever trains on from the export."""
    network, tokenizer, card = tiny_model("decoder")
    assert network.config.tie_word_embeddings
    network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.detach().clone())

    with pytest.raises(BadWeights, match="are two tensors here"):
        export(network, tokenizer, card, tmp_path / "model")


def test_another_process_gives_the_same_logits(tmp_path: Path) -> None:
    """A fresh interpreter that loads the export says what this one says, bit for bit."""
    model = tiny_model("decoder")
    export(*model, tmp_path / "model")
    script = (
        "import sys, torch; from pathlib import Path; from flan.model.load import load_model;"
        "network = load_model(Path(sys.argv[1])).network;"
        "logits = network(torch.arange(2, 40)[None], use_cache=False).logits;"
        "print(logits.double().sum().item().hex())"
    )

    other = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "model")], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": "."},
    )  # fmt: skip

    here = model.network(torch.arange(2, 40)[None], use_cache=False).logits
    assert other.stdout.strip() == here.double().sum().item().hex(), other.stderr


def test_a_base_models_sampling_settings_stay_behind(tmp_path: Path) -> None:
    """generation_config.json holds token ids and nothing that would sample."""
    network, tokenizer, card = tiny_model("decoder")
    network.generation_config.update(do_sample=True, temperature=0.3, repetition_penalty=2.0)

    export(network, tokenizer, card, tmp_path / "model")

    settings = json.loads((tmp_path / "model" / "generation_config.json").read_text())
    assert settings.keys() <= {
        "eos_token_id",
        "pad_token_id",
        "bos_token_id",
        "transformers_version",
        "_from_model_config",
    }
    assert settings["eos_token_id"] == card.contract.end_ids[0]


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    """The tensor is named, and nothing appears on disk."""
    network, tokenizer, card = tiny_model("decoder")
    with torch.no_grad():
        network.model.layers[1].mlp.up_proj.weight[3, 4] = float("nan")

    with pytest.raises(BadWeights, match=r"layers\.1\.mlp\.up_proj.* not finite"):
        export(network, tokenizer, card, tmp_path / "model")

    assert list(tmp_path.iterdir()) == []


def test_weights_left_on_other_ranks_are_noticed() -> None:
    """An ungathered shard is empty."""
    network = tiny_model("decoder").network
    network.model.norm.weight.data = torch.empty(0)

    with pytest.raises(BadWeights, match="not gathered"):
        check_weights(network)


def test_a_write_that_does_not_read_back_never_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that another value reached the disk for are refused, and the folder is cleared away."""
    network, tokenizer, card = tiny_model("decoder")
    save = type(network).save_pretrained

    def save_other_weights(self: torch.nn.Module, directory: Path) -> None:
        other = tiny_model("decoder", seed=1).network
        save(other, directory)

    monkeypatch.setattr(type(network), "save_pretrained", save_other_weights)
    with pytest.raises(BadWeights, match="reads back"):
        export(network, tokenizer, card, tmp_path / "model")

    assert list(tmp_path.iterdir()) == []


def test_an_export_never_replaces_a_model(tmp_path: Path) -> None:
    """What was written stays as it was."""
    model = tiny_model("decoder")
    export(*model, tmp_path / "model")

    with pytest.raises(Conflict):
        export(*tiny_model("decoder", seed=1), tmp_path / "model")

    kept = load_model(tmp_path / "model").network.state_dict()
    assert all(torch.equal(weight, kept[name]) for name, weight in model.network.state_dict().items())


def test_a_network_in_training_stays_in_training(tmp_path: Path) -> None:
    """Exporting between two steps leaves the network as it was."""
    network, tokenizer, card = tiny_model("decoder")
    network.train()

    export(network, tokenizer, card, tmp_path / "model")

    assert network.training
