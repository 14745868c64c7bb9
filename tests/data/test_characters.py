"""Text as it comes: never half a character, and in the end all of it."""

import string
from functools import lru_cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from flan.data.characters import Characters, texts_of_ids
from tests.kit.models import SENTENCES, tiny_tokenizer

WRITING = "Grüße, 世界! 🙂👩‍👩‍👧 ñ é — naïve\tцена 5€\n\n  two  blanks "


@lru_cache
def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """A unigram whose decoder drops the blank before a first word, as those of T5 and Llama do."""
    core = Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    alphabet = list(string.ascii_letters + string.punctuation + "▁")
    trainer = trainers.UnigramTrainer(
        vocab_size=300,
        special_tokens=special,
        unk_token="<unk>",
        initial_alphabet=alphabet,
        show_progress=False,
    )
    core.train_from_iterator(SENTENCES * 4, trainer=trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def _pieces(tokenizer: PreTrainedTokenizerFast, tokens: list[int]) -> list[str]:
    characters = Characters(tokenizer)
    return [*(characters.push(token) for token in tokens), characters.rest()]


@pytest.mark.parametrize("tokenizer", [tiny_tokenizer, metaspace_tokenizer])
@given(data=st.data())
def test_pieces_make_up_the_decoded_text(tokenizer, data: st.DataObject) -> None:
    """Whatever the tokens, written piece by piece they are the text that decoding them at once gives."""
    tokens = data.draw(st.lists(st.integers(0, len(tokenizer()) - 1), max_size=40))

    assert "".join(_pieces(tokenizer(), tokens)) == tokenizer().decode(tokens, skip_special_tokens=True)


@example(WRITING)
@given(st.text(max_size=30))
def test_a_character_is_never_shown_in_halves(text: str) -> None:
    """Characters of several bytes, one token each, appear whole or not yet."""
    text = text.replace("\ufffd", "")
    tokens = tiny_tokenizer().backend_tokenizer.encode(text, add_special_tokens=False).ids

    pieces = _pieces(tiny_tokenizer(), tokens)
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces)


def test_a_cut_character_is_shown_as_such_at_the_end() -> None:
    """An answer that ends in the middle of a character says so, instead of hiding a token."""
    tokens = tiny_tokenizer().backend_tokenizer.encode("a🙂", add_special_tokens=False).ids[:-1]

    *shown, rest = _pieces(tiny_tokenizer(), tokens)
    assert "".join(shown) == "a"
    assert rest == "\ufffd"


@pytest.mark.parametrize("tokenizer", [tiny_tokenizer, metaspace_tokenizer])
@given(data=st.data())
def test_each_id_has_its_text(tokenizer, data: st.DataObject) -> None:
    """One text for each id, special ones too, halves of characters as well; together what decoding gives."""
    tokens = data.draw(st.lists(st.integers(0, len(tokenizer()) - 1), max_size=40))

    texts = texts_of_ids(tokenizer(), tokens)
    assert len(texts) == len(tokens)
    assert "".join(texts) == tokenizer().backend_tokenizer.decode(tokens, skip_special_tokens=False)
