"""An example token by token, for people: what a model reads and is to write, and what of it the loss counts.

It takes a model's tokenizer and card, neither its weights nor the libraries that run them. The ids are those
of flan/data/tokens.py; here they are only cut into parts and spelt.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from flan.card import ModelCard
from flan.data.tokens import (
    AnyTokenizer,
    Reader,
    Tokens,
    UnusableTokenizer,
    spell,
    texts_of,
    tokenizer_digest,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
PartName = Literal["prefix", "soft_prompt", "input", "separator", "target", "end"]
Side = Literal["encoder", "decoder"]


class Speller(NamedTuple):
    """What of a model turns text into ids, without the model."""

    tokenizer: "Tokenizer"
    card: ModelCard


class TokenPart(NamedTuple):
    """Ids that belong together."""

    name: PartName
    side: Side
    """Who reads or writes them; a decoder-only model has one side."""
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    """Each id as the vocabulary spells it."""
    texts: tuple[str, ...]
    """What of the text each id stands for; what stands for none is spelt as in the vocabulary."""
    loss_mask: tuple[int, ...]
    """1 where the loss counts the id: where the model is to write it."""


def read_speller(directory: Path, card: ModelCard) -> Speller:
    """The tokenizer of the model in `directory`.

    Raises UnusableTokenizer where it is not there, or not the one that the card's render contract names: its
    ids would then be others than those of training.
    """
    from tokenizers import Tokenizer

    path = directory / TOKENIZER_FILE
    if not path.is_file():
        raise UnusableTokenizer(f"{card.name} has no {TOKENIZER_FILE}", hint="tokens are shown from it alone")
    tokenizer = Tokenizer.from_str(path.read_text())
    if tokenizer_digest(tokenizer) != card.contract.tokenizer:
        raise UnusableTokenizer(
            f"{TOKENIZER_FILE} of {card.name} is not the tokenizer of its render contract",
            hint="restore the tokenizer files the model was exported with",
        )
    return Speller(tokenizer, card)


def token_parts(model: Reader, tokens: Tokens, prompt: str, target: str) -> tuple[TokenPart, ...]:
    """The parts of an example in the order in which they are read and written, without the empty ones.

    `tokens` are the ids of `prompt` and `target` under the model's contract.
    """
    return tuple(part for part in _parts(model, tokens, prompt, target) if part.ids)


def _parts(model: Reader, tokens: Tokens, prompt: str, target: str) -> Iterator[TokenPart]:
    contract = model.card.contract
    is_decoder = contract.architecture == "decoder"
    input_ids, target_ids = tokens.input_ids.tolist(), tokens.target_ids.tolist()
    first = len(contract.prefix_ids) if is_decoder else 0
    start = first + len(contract.soft_prompt_ids)
    stop, end = len(input_ids) - len(contract.separator_ids), len(target_ids) - len(contract.end_ids)
    read: Side = "decoder" if is_decoder else "encoder"
    if is_decoder:
        yield _special(model.tokenizer, "prefix", "decoder", input_ids[:first], 0)
    yield _special(model.tokenizer, "soft_prompt", read, input_ids[first:start], 0)
    yield _spelt(model.tokenizer, "input", read, input_ids[start:stop], prompt, 0)
    yield _special(model.tokenizer, "separator", read, input_ids[stop:], 0)
    if not is_decoder:
        yield _special(model.tokenizer, "prefix", "decoder", contract.prefix_ids, 0)
    yield _spelt(model.tokenizer, "target", "decoder", target_ids[:end], target, 1)
    yield _special(model.tokenizer, "end", "decoder", target_ids[end:], 1)


def _special(
    tokenizer: AnyTokenizer, name: PartName, side: Side, ids: Sequence[int], weight: int
) -> TokenPart:
    tokens = spell(tokenizer, ids)
    return TokenPart(name, side, tuple(ids), tokens, tokens, (weight,) * len(ids))


def _spelt(
    tokenizer: AnyTokenizer, name: PartName, side: Side, ids: Sequence[int], text: str, weight: int
) -> TokenPart:
    texts = texts_of(tokenizer, text)
    return TokenPart(name, side, tuple(ids), spell(tokenizer, ids), texts, (weight,) * len(ids))
