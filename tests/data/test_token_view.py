"""An example token by token has the ids and the loss of training, without transformers."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flan.data.packing import PackedDecoder, PackedEncoderDecoder, pack_batch
from flan.data.token_view import TOKENIZER_FILE, Speller, read_speller, token_parts
from flan.data.tokens import Tokens, UnusableTokenizer, encode, encode_prompt, encode_target, texts_of
from flan.data.window import Lengths
from flan.model.export import export
from flan.model.load import Architecture, load_model
from flan.tasks.render import Rendered
from tests.kit.models import tiny_model

ARCHITECTURES: tuple[Architecture, ...] = ("decoder", "encoder_decoder")
PROMPT, TARGET = "Is {this} </s> good?\n\nOPTIONS:\n- naïve\n- 🙂", "naïve 🙂"


@pytest.fixture(scope="module", params=ARCHITECTURES)
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of each architecture."""
    folder = tmp_path_factory.mktemp("models") / request.param
    export(*tiny_model(request.param), folder)
    return folder


def speller_of(directory: Path) -> Speller:
    return read_speller(directory, load_model(directory).card)


def test_the_parts_are_the_ids_and_the_loss_that_training_packs(directory: Path) -> None:
    """Read from tokenizer.json alone: equal to the arrays a step is made of, for both architectures."""
    model, speller = load_model(directory), speller_of(directory)
    contract = model.card.contract
    trained = encode(model.tokenizer, contract, Rendered(PROMPT, TARGET, (), TARGET, (TARGET,)))
    ours = Tokens(
        encode_prompt(speller.tokenizer, contract, PROMPT), encode_target(speller.tokenizer, contract, TARGET)
    )
    parts = token_parts(speller, ours, PROMPT, TARGET)
    batch = pack_batch([[trained]], Lengths(256, 256), contract)

    assert all(np.array_equal(one, other) for one, other in zip(ours, trained, strict=True))
    read = [id_ for part in parts if part.side == "encoder" for id_ in part.ids]
    written = [id_ for part in parts if part.side == "decoder" for id_ in part.ids]
    mask = [weight for part in parts if part.side == "decoder" for weight in part.loss_mask]
    # A position has the weight of the id that it is to predict: the next one.
    if isinstance(batch, PackedDecoder):
        assert (read, written) == ([], batch.token_ids[0, : len(written)].tolist())
        assert mask[1:] == batch.loss_weights[0, : len(written) - 1].tolist()
    else:
        assert isinstance(batch, PackedEncoderDecoder)
        assert read == batch.encoder_ids[0, : len(read)].tolist()
        assert written[:-1] == batch.decoder_ids[0, : len(written) - 1].tolist()
        assert written[1:] == batch.target_ids[0, : len(written) - 1].tolist()
        assert mask[1:] == batch.loss_weights[0, : len(written) - 1].tolist()
    assert mask[0] == 0


def test_the_parts_come_in_order_and_spell_the_text(directory: Path) -> None:
    """Input and target read as they were written; what stands for no text is the vocabulary's entry."""
    speller = speller_of(directory)
    contract = speller.card.contract
    tokens = Tokens(
        encode_prompt(speller.tokenizer, contract, PROMPT), encode_target(speller.tokenizer, contract, TARGET)
    )
    parts = {part.name: part for part in token_parts(speller, tokens, PROMPT, TARGET)}
    is_decoder = contract.architecture == "decoder"

    assert list(parts) == [
        "input", "separator", *([] if is_decoder else ["prefix"]), "target", "end",
    ]  # fmt: skip
    assert "".join(parts["input"].texts) == PROMPT
    assert "".join(parts["target"].texts) == TARGET
    assert parts["separator"].texts == parts["end"].tokens == ("</s>",)
    assert {name for name, part in parts.items() if 1 in part.loss_mask} == {"target", "end"}
    for part in parts.values():
        assert len(part.ids) == len(part.tokens) == len(part.texts) == len(part.loss_mask)


@settings(deadline=None)
@given(st.text())
def test_texts_of_ids_are_the_whole_text(text: str) -> None:
    """Nothing is lost or doubled, whatever bytes a character takes."""
    tokenizer = tiny_model().tokenizer

    assert "".join(texts_of(tokenizer, text)) == text


def test_a_tokenizer_that_is_not_the_contracts_is_refused(directory: Path, tmp_path: Path) -> None:
    """Its ids would not be those of training; one that is not there is said, too."""
    card = load_model(directory).card
    state = json.loads((directory / TOKENIZER_FILE).read_text())
    state["model"]["merges"] = state["model"]["merges"][:-1]

    with pytest.raises(UnusableTokenizer, match=r"has no tokenizer\.json"):
        read_speller(tmp_path, card)
    (tmp_path / TOKENIZER_FILE).write_text(json.dumps(state))
    with pytest.raises(UnusableTokenizer, match="not the tokenizer of its render contract"):
        read_speller(tmp_path, card)


def test_neither_torch_nor_transformers_is_loaded() -> None:
    """Previews run where neither is wanted: in the API."""
    code = (
        "import sys, flan.evaluate.preview as p; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    asked = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert asked.stdout.strip() == "[]"
