"""Keys and values of all sequences in flight in one piece of memory, and attention that reads them there.

    # N tokens of a pass, H heads, G heads of keys and values, D width of a head, T places, K keys of a sequence, Q of
    # its tokens

A pass feeds tokens to any number of sequences, which stand one after the other in a single row: one token to those that
are being written, many to those whose prompt is read, and branches that all continue one prompt, blind to each other.
In each layer keys and values are first written to the sequences' regions (`flan/model/regions.py`), then every sequence
attends to its own region. What stands for a mask in a network's layers leads there: `flan/model/attention.py`.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.weak import WeakTensorKeyDictionary

from flan.data.tokens import Ids
from flan.model.kernel import Rows, attend_rows, is_available
from flan.model.regions import Region


class Feed(NamedTuple):
    """The tokens that a sequence is given in a pass."""

    region: Region
    tokens: Ids | Sequence[int]
    start: int
    """Tokens of the sequence before these."""
    num_wanted: int
    """The logits after so many of the last tokens are wanted; of branches, after none or all."""
    branches: tuple[int, ...] = ()
    """Lengths: the tokens are so many continuations, each of the first `start` tokens alone."""
    encoded: int = 0
    """Encoder-decoder: tokens of the prompt, whose keys and values come first in the region."""


class Shape(NamedTuple):
    """What the layers of a network hand to attention."""

    layers: int
    heads: int
    """Of keys and values."""
    width: int


class KeyValues:
    """The cache: (layers, T, G, D) keys and as many values."""

    def __init__(self, shape: Shape, num_places: int, dtype: torch.dtype, device: torch.device) -> None:
        size = (shape.layers, num_places, shape.heads, shape.width)
        self.shape = shape
        # Not zeros: a place is written before it is read, and what nobody needs takes no memory of a CPU.
        self.keys = torch.empty(size, dtype=dtype, device=device)
        self.values = torch.empty(size, dtype=dtype, device=device)

    def close(self) -> None:
        """Give the memory back, whoever still holds this."""
        self.keys = self.values = self.keys.new_empty(0)

    def copy(self, source: Region, target: Region, length: int) -> None:
        """The first `length` places of one region to the beginning of another."""
        for tensor in (self.keys, self.values):
            tensor[:, target.start : target.start + length] = tensor[:, source.start : source.start + length]

    def write(self, layer: int, places_N: Tensor, keys_NGD: Tensor, values_NGD: Tensor) -> None:
        """Keys and values of tokens to their places."""
        self.keys[layer].index_copy_(0, places_N, keys_NGD.to(self.keys.dtype))
        self.values[layer].index_copy_(0, places_N, values_NGD.to(self.values.dtype))


class _Segment(NamedTuple):
    """The tokens of one feed, and what they read."""

    first: int
    last: int
    place: int
    """The first of its keys."""
    num_keys: int
    mask: Tensor | None
    """(Q, K): which keys each token reads; None: all, or causally from the first on."""


class _Readers(NamedTuple):
    """Who reads how."""

    alone: Rows | None
    others: Sequence[_Segment]


class Attends(Protocol):
    """What a mask may stand for."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Queries (1, H, N, D), keys and values (1, G, N, D) of a layer → (1, N, H, D)."""


_OF_MASK: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def mask_for(attends: Attends, device: torch.device) -> Tensor:
    """What a network takes for a mask, and hands to every layer."""
    mask = torch.zeros(1, 1, 4, 1, dtype=torch.int32, device=device)
    _OF_MASK[mask] = attends
    return mask


def is_pass(mask: Tensor | None) -> bool:
    """Whether what stands for a mask stands for a pass."""
    return mask is not None and mask.dtype == torch.int32 and int(mask.shape[2]) == 4


def attend_in_pass(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention of a layer, as the pass behind `mask` does it."""
    attends: Attends = _OF_MASK[mask]
    return attends.attend(query, key, value, scale)


class Noting:
    """Attends to nothing, but notes what shape a network's keys and values have."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, int]] = []

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:  # noqa: ARG002
        """Zeros."""
        self.seen.append((key.shape[1], key.shape[3], value.shape[3]))
        return torch.zeros_like(query).transpose(1, 2)


class Pass:
    """One forward pass: where its tokens' keys go, and what each token reads."""

    def __init__(self, cache: KeyValues, feeds: Sequence[Feed], bias_HM: Tensor | None = None) -> None:
        """The last columns of `bias_HM` are added to the scores of tokens that stand alone: one for each key."""
        self._cache, self._bias_HM = cache, bias_HM
        self._device = cache.keys.device
        self.token_ids: list[int] = []
        self.positions: list[int] = []
        self.wanted: list[int] = []
        places: list[int] = []
        own: list[_Segment] = []
        encoded: list[_Segment] = []
        for feed in feeds:
            first, num_new = len(self.token_ids), len(feed.tokens)
            self.token_ids.extend(int(token) for token in feed.tokens)
            self.positions.extend(_positions(feed))
            self.wanted.extend(range(first + num_new - feed.num_wanted, first + num_new))
            place = feed.region.start + feed.encoded
            places.extend(range(place + feed.start, place + feed.start + num_new))
            own.append(_Segment(first, first + num_new, place, feed.start + num_new, self._mask(feed)))
            if feed.encoded:
                encoded.append(_Segment(first, first + num_new, feed.region.start, feed.encoded, None))
        self._places_N = torch.tensor(places, device=self._device)
        self._own, self._encoded = self._shared_out(own), self._shared_out(encoded) if encoded else None
        self._wanted = [(segment, feed.num_wanted) for segment, feed in zip(own, feeds, strict=True)]
        self._calls = 0

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """The next layer's attention; of an encoder-decoder in turns over what is written and what was encoded."""
        layer, is_encoded = divmod(self._calls, 2) if self._encoded else (self._calls, 0)
        self._calls += 1
        if is_encoded and self._encoded:
            return self._attend(layer, self._encoded, query, scale, None)
        self._cache.write(layer, self._places_N, key[0].transpose(0, 1), value[0].transpose(0, 1))
        return self._attend(layer, self._own, query, scale, self._bias_HM)

    def attend_wanted(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """As `attend`, of a layer after which only the wanted logits matter: queries (1, H, U, D) → (1, U, H, D)."""
        assert self._encoded is None
        self._cache.write(self._calls, self._places_N, key[0].transpose(0, 1), value[0].transpose(0, 1))
        last: list[_Segment] = []
        for segment, number in self._wanted:
            if number:
                last.append(_last_of(segment, number, last[-1].last if last else 0))
        return self._attend(self._calls, self._shared_out(last), query, scale, None)

    def _shared_out(self, segments: Sequence[_Segment]) -> _Readers:
        """Tokens that stand alone go together to the kernel, where it works; the others one segment at a time."""
        alone = [each for each in segments if each.last - each.first == 1]
        if not alone or not is_available(self._cache.keys.dtype, self._device):
            return _Readers(None, segments)
        rows = Rows(*zip(*((each.first, each.place, each.num_keys) for each in alone), strict=True))
        return _Readers(rows, [each for each in segments if each.last - each.first > 1])

    def _attend(
        self, layer: int, readers: _Readers, query: Tensor, scale: float, bias_HM: Tensor | None
    ) -> Tensor:
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        _, heads, width = keys.shape
        # A CPU's attention is the faster one in fp32, whatever the weights are.
        dtype = torch.float32 if keys.device.type == "cpu" else keys.dtype
        query_1HND = query.to(dtype)
        output_NHD = query_1HND.new_empty(query.shape[2], query.shape[1], width)
        if readers.alone is not None:
            queries_NHD = query_1HND[0].transpose(0, 1).contiguous()
            attend_rows(queries_NHD, keys, values, readers.alone, scale, output_NHD, bias_HM)
        for first, last, place, num_keys, mask in readers.others:
            own_keys, own_values = (
                tensor[place : place + num_keys].transpose(0, 1)[None].to(dtype) for tensor in (keys, values)
            )
            if bias_HM is not None:
                mask = bias_HM[None, :, None, bias_HM.shape[1] - num_keys :].to(dtype)
            output_NHD[first:last] = scaled_dot_product_attention(
                query_1HND[:, :, first:last],
                own_keys,
                own_values,
                attn_mask=mask,
                is_causal=mask is None and num_keys == last - first,
                scale=scale,
                enable_gqa=query.shape[1] != heads,
            )[0].transpose(0, 1)
        return output_NHD[None].to(query.dtype)

    def _mask(self, feed: Feed) -> Tensor | None:
        num_new, num_keys = len(feed.tokens), feed.start + len(feed.tokens)
        if feed.branches:
            reads_QK = torch.zeros(num_new, num_keys, dtype=torch.bool)
            reads_QK[:, : feed.start] = True
            first = 0
            for length in feed.branches:
                own = slice(feed.start + first, feed.start + first + length)
                reads_QK[first : first + length, own] = torch.ones(length, length, dtype=torch.bool).tril()
                first += length
            return reads_QK.to(self._device)
        if num_new == 1 or feed.start == 0:
            return None
        return torch.ones(num_new, num_keys, dtype=torch.bool, device=self._device).tril(feed.start)


def _last_of(segment: _Segment, number: int, first: int) -> _Segment:
    """The last `number` tokens of a segment, where they stand from `first` on."""
    num_tokens, mask = segment.last - segment.first, segment.mask
    if number == 1:
        mask = None
    elif number < num_tokens:
        causal = torch.ones(number, segment.num_keys, dtype=torch.bool).tril(segment.num_keys - number)
        mask = causal if mask is None else mask[-number:]
    return segment._replace(first=first, last=first + number, mask=mask)


def _positions(feed: Feed) -> list[int]:
    if not feed.branches:
        return list(range(feed.start, feed.start + len(feed.tokens)))
    return [feed.start + place for length in feed.branches for place in range(length)]
