"""Text as it comes: never half a character, never a stop string, and in the end all of it."""

import string
from functools import lru_cache
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from flan.serve.text import Characters, Stops
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


def _reference(text: str, stops: list[str]) -> tuple[str, bool]:
    """Character by character: before the first stop string that is complete, the longest at one place."""
    for end in range(1, len(text) + 1):
        met = [stop for stop in stops if text[:end].endswith(stop)]
        if met:
            return text[: end - len(max(met, key=len))], True
    return text, False


@given(
    st.text("abc", max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=4),
    st.lists(st.integers(0, 30), max_size=8),
)
def test_stop_strings_end_the_text_wherever_pieces_are_cut(
    text: str, stop_strings: list[str], cuts: list[int]
) -> None:
    """Across borders of pieces, overlapping or nested: the text ends before the one completed first."""
    places = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    stops = Stops(stop_strings)
    shown = ""
    for start, end in pairwise(places):
        if not stops.is_met:
            shown += stops.push(text[start:end])
    if not stops.is_met:
        shown += stops.rest()

    assert (shown, stops.is_met) == _reference(text, stop_strings)


def test_text_that_begins_like_a_stop_string_waits() -> None:
    """What may become a stop string is not shown before it is certain."""
    stops = Stops(["\n\nQ:"])

    assert [stops.push(piece) for piece in ("yes", "\n", "\n", "Q", "uestion", "\n")] == [
        "yes", "", "", "", "\n\nQuestion", "",
    ]  # fmt: skip
    assert stops.rest() == "\n"
