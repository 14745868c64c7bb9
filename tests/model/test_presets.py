"""Networks from scratch are pure functions of (preset, tokenizer, seed), tokenizers of their texts."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flan.data.bases import PRESETS
from flan.errors import NotFound
from flan.model.load import check_usable, context_length
from flan.model.presets import from_preset, train_tokenizer
from tests.kit.models import SENTENCES, tiny_tokenizer

SMALL = ("preset:nano", "preset:nano-t5")


@pytest.mark.parametrize("preset", SMALL)
def test_same_preset_tokenizer_and_seed_give_the_same_weights(preset: str) -> None:
    """Bit for bit, whatever was drawn before; another seed gives others; the caller's randomness is left alone."""
    state = torch.get_rng_state()
    first = from_preset(preset, tiny_tokenizer(), seed=7)
    untouched = torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    second, other = (
        from_preset(preset, tiny_tokenizer(), seed=7),
        from_preset(preset, tiny_tokenizer(), seed=8),
    )

    assert untouched
    weights, again, others = (network.state_dict() for network in (first, second, other))
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.parametrize("preset", SMALL)
def test_presets_are_usable(preset: str) -> None:
    """Room for FLAN's lengths, and packs can be isolated."""
    network = from_preset(preset, tiny_tokenizer(), seed=0)

    assert context_length(network.config) >= 2_048
    check_usable(network, tiny_tokenizer())


def test_the_ladder_of_presets_is_as_documented() -> None:
    """docs/presets.md has every preset's shape and its parameters with three vocabularies, counted on real networks."""
    lines = (Path(__file__).parents[2] / "docs" / "presets.md").read_text().splitlines()
    documented = {line.split("`")[1]: line for line in lines if line.startswith("| `")}

    assert documented == {name: _documented(name) for name in PRESETS}


def _documented(name: str) -> str:
    shape = PRESETS[name]
    with torch.device("meta"):
        network = from_preset(name, tiny_tokenizer(), seed=0)
    without_vocabulary = network.num_parameters() - len(tiny_tokenizer()) * shape.hidden
    sizes = [
        f"{(without_vocabulary + entries * shape.hidden) / 1e6:.1f}"
        for entries in (shape.vocabulary, 4_096, 32_768)
    ]
    kind, layers = ("Llama", "{0}") if shape.architecture == "decoder" else ("T5", "{0} + {0}")
    cells = [f"`{name}`", kind, f"{shape.hidden:,}", layers.format(shape.layers), str(shape.heads)]
    return f"| {' | '.join([*cells, f'{shape.vocabulary:,}', *sizes])} |"


def test_unknown_preset_names_those_there_are() -> None:
    """The way out is in the hint."""
    with pytest.raises(NotFound) as error:
        from_preset("preset:huge", tiny_tokenizer(), seed=0)

    assert "preset:nano" in (error.value.hint or "")


@given(text=st.text())
def test_every_text_survives_the_tokenizer(text: str) -> None:
    """Line breaks, double spaces, braces, any script: what is encoded decodes to itself."""
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode(text, add_special_tokens=False)

    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_special_tokens_in_a_text_are_text() -> None:
    """A row cannot end a target by spelling out the end token."""
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode("a</s><pad>", add_special_tokens=False)

    assert not {tokenizer.eos_token_id, tokenizer.pad_token_id} & set(ids)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1)


@pytest.mark.slow
def test_same_texts_give_the_same_tokenizer_in_another_process() -> None:
    """Merges do not depend on hash seeds or the number of threads."""
    script = (
        "from flan.model.presets import train_tokenizer; from tests.kit.models import SENTENCES;"
        "print(train_tokenizer(SENTENCES * 4, 384).backend_tokenizer.to_str(), end='')"
    )
    environment = {"RAYON_NUM_THREADS": "3", "PYTHONHASHSEED": "5", "OMP_NUM_THREADS": "1", "PYTHONPATH": "."}
    other = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)

    assert other.stdout == train_tokenizer(SENTENCES * 4, 384).backend_tokenizer.to_str(), other.stderr
