"""A piece of text → token ids for language modelling, in the layout that packing knows.

Decoder-only: the loss is on every token that has one before it. Encoder-decoder: the encoder reads the
beginning of the piece and the decoder continues it, parted at a place drawn for the piece alone (prefix language
modelling: Raffel et al. 2020, 3.2.1; as in the adaptation of Lester et al. 2021, 3.1). The end token stands
where a document ends, and nowhere else.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from flan.card import Contract
from flan.data.corpus import Piece
from flan.data.tokens import AnyTokenizer, Cut, Fitted, InputTooLong, Tokens, opening_ids, text_ids
from flan.tasks.render import Rendered


def longest_piece(is_decoder: bool, input_length: int, target_length: int) -> int:
    """Tokens that a piece may have. An encoder-decoder's is short enough to be parted almost anywhere."""
    return input_length + target_length if is_decoder else max(input_length, target_length)


def continue_all(
    pieces: Sequence[Piece],
    keys: Sequence[tuple[int, int]],
    tokenizer: AnyTokenizer,
    contract: Contract,
    *,
    input_length: int,
    target_length: int,
) -> list[Fitted | InputTooLong]:
    """Each piece as ids; one that is too long is cut. `keys` decide where encoder-decoders part a piece."""
    encoded = text_ids(tokenizer, [piece.text for piece in pieces])
    lengths = (input_length, target_length)
    if contract.architecture == "decoder":
        return [_read_on(*each, contract, sum(lengths)) for each in zip(pieces, encoded, strict=True)]
    return [_parted(*each, contract, *lengths) for each in zip(pieces, encoded, keys, strict=True)]


def _read_on(piece: Piece, ids: list[int], contract: Contract, length: int) -> Fitted | InputTooLong:
    opening, end = opening_ids(contract), contract.end_ids if piece.ends else ()
    whole = [*opening, *ids, *end]
    # Nothing comes before the first token: without an opening no loss can be on it.
    num_read = len(opening) or 1
    if len(whole) <= num_read:
        return _too_short(piece)
    return _fitted(piece, whole[:num_read], whole[num_read:length], was_cut=len(whole) > length)


def _parted(
    piece: Piece,
    ids: list[int],
    key: tuple[int, int],
    contract: Contract,
    input_length: int,
    target_length: int,
) -> Fitted | InputTooLong:
    opening, end = opening_ids(contract), contract.end_ids
    most_read = input_length - len(opening) - len(contract.separator_ids)
    most_written = target_length - len(end)
    kept = ids[: max(most_read, most_written)]
    was_cut = len(kept) < len(ids)
    first, last = max(1, len(kept) - most_written), min(len(kept) - 1, most_read)
    if first > last:
        return _too_short(piece)
    place = first + _word(key) % (last - first + 1)
    target = [*kept[place:], *(end if piece.ends and not was_cut else ())]
    return _fitted(piece, [*opening, *kept[:place], *contract.separator_ids], target, was_cut=was_cut)


def _fitted(piece: Piece, input_ids: Sequence[int], target_ids: Sequence[int], *, was_cut: bool) -> Fitted:
    tokens = Tokens(np.array(input_ids, np.int32), np.array(target_ids, np.int32))
    cut = Cut("text", len(piece.text)) if was_cut else None
    return Fitted(Rendered("", piece.text, (), "", ()), tokens, cut)


def _too_short(piece: Piece) -> InputTooLong:
    return InputTooLong(
        f"a piece of {len(piece.text)} characters has no token to predict within these lengths"
    )


def _word(key: tuple[int, int]) -> int:
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, ("part", *key))).encode()).digest()[:8])
