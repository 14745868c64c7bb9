"""The forward passes of sequences in flight, of unequal lengths, that come and go.

    # B rows (sequences), P prompt tokens, Q new tokens, K keys so far, H heads, D width of a head, V vocabulary

Every row ends at the same column and what is missing lies before it, masked; so a step writes one column for
all rows, and relative distances (T5) are those of the columns:

    row 0   · · · a b c d e
    row 1   · · · · · f g h        lengths 5, 3
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from flan.data.tokens import Ids
from flan.model.load import Model

ROOM = 64
"""Columns by which a buffer grows: between two copies lie this many steps."""


class GrowingLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers has no types
    """Keys and values (B, H, K, D) of one layer, in buffers with room: a step copies nothing but its column."""

    is_sliding = False

    def __init__(self, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        super().__init__()
        self.length = 0
        if keys is not None and values is not None:
            self.update(keys, values)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Take dtype, device and shape from the first states."""
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_options: Any
    ) -> tuple[Tensor, Tensor]:
        """Append columns; everything so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self.length = self.length, self.length + key_states.shape[-2]
        if self.length > self.keys.shape[-2]:
            more = self.length + ROOM - self.keys.shape[-2]
            self.keys, self.values = pad(self.keys, (0, 0, 0, more)), pad(self.values, (0, 0, 0, more))
        self.keys[:, :, start : self.length] = key_states
        self.values[:, :, start : self.length] = value_states
        return self.states()

    def states(self) -> tuple[Tensor, Tensor]:
        """Keys and values so far, without the room."""
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def get_seq_length(self) -> int:
        """Columns so far."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that a mask for `query_length` new ones covers, and the first of them."""
        return self.length + query_length, 0

    def get_max_length(self) -> int:
        """No maximum."""
        return -1


class Rows:
    """The attention state of B sequences: what the network remembers of them."""

    def __init__(
        self, cache: Cache, lengths: Sequence[int], cross: Cache | None, prompts: Sequence[int]
    ) -> None:
        self.cache = cache
        self.lengths = list(lengths)
        """Tokens a row has in `cache`."""
        self.cross = cross
        """Encoder-decoder: keys and values of the encoded prompts."""
        self.prompts = list(prompts)
        """Encoder-decoder: tokens of a row's prompt."""

    @classmethod
    def merged(cls, parts: Sequence["Rows"]) -> Self:
        """The rows of all parts, in order."""
        cross = None
        if parts[0].cross is not None:
            cross = Cache([DynamicLayer() for _ in parts[0].cross.layers])
            for i, layer in enumerate(cross.layers):
                layer.update(
                    *_aligned([(p.cross.layers[i].keys, p.cross.layers[i].values) for p in parts if p.cross])
                )
        layers = [
            GrowingLayer(*_aligned([part.cache.layers[i].states() for part in parts]))
            for i in range(len(parts[0].cache.layers))
        ]
        lengths = [length for part in parts for length in part.lengths]
        return cls(Cache(layers), lengths, cross, [length for part in parts for length in part.prompts])

    def kept(self, rows: Sequence[int]) -> "Rows":
        """These rows, in this order; one may be taken several times."""
        lengths = [self.lengths[row] for row in rows]
        prompts = [self.prompts[row] for row in rows] if self.cross is not None else []
        layers = [GrowingLayer(*_selected(layer.states(), rows, max(lengths))) for layer in self.cache.layers]
        cross = None
        if self.cross is not None:
            cross = Cache([DynamicLayer() for _ in self.cross.layers])
            for old, new in zip(self.cross.layers, cross.layers, strict=True):
                new.update(*_selected((old.keys, old.values), rows, max(prompts)))
        return Rows(Cache(layers), lengths, cross, prompts)


class Reader:
    """Runs a network over prompts and over the rows that are being written."""

    def __init__(self, model: Model) -> None:
        self._network = model.network
        self._contract = model.card.contract
        self._num_layers = (
            model.network.config.num_decoder_layers
            if self._contract.architecture == "encoder_decoder"
            else model.network.config.num_hidden_layers
        )

    def read(self, prompt: Ids) -> tuple[Rows, Tensor]:
        """A prompt as one row, and the logits of its first new token, (1, V).

        Alone, without padding: what a prompt becomes cannot depend on who else came at the same time.
        """
        ids_1P = torch.tensor(prompt, dtype=torch.long, device=self._network.device)[None]
        cache = Cache([GrowingLayer() for _ in range(self._num_layers)])
        if self._contract.architecture == "decoder":
            rows = Rows(cache, [0], None, [])
            return rows, self._decode(rows, ids_1P)
        hidden_1PH = self._network.get_encoder()(input_ids=ids_1P).last_hidden_state
        rows = Rows(cache, [0], Cache([DynamicLayer() for _ in range(self._num_layers)]), [len(prompt)])
        start_11 = torch.tensor([[self._contract.prefix_ids[0]]], device=self._network.device)
        return rows, self._decode_encoded(rows, start_11, hidden_1PH)

    def write(self, rows: Rows, tokens: Sequence[int]) -> Tensor:
        """Each row goes on by its token; the logits of the next ones, (B, V)."""
        tokens_B1 = torch.tensor(tokens, device=self._network.device)[:, None]
        if self._contract.architecture == "decoder":
            return self._decode(rows, tokens_B1)
        assert rows.cross is not None
        # The encoded prompts are in `cross` already: of the hidden states only the shape is read.
        hidden = torch.zeros((), dtype=self._network.dtype, device=self._network.device)
        width = self._network.config.hidden_size
        return self._decode_encoded(rows, tokens_B1, hidden.expand(len(tokens), max(rows.prompts), width))

    def _decode(self, rows: Rows, tokens_BQ: Tensor) -> Tensor:
        device = self._network.device
        num_new = tokens_BQ.shape[1]
        positions_BQ = torch.tensor(rows.lengths, device=device)[:, None] + torch.arange(
            num_new, device=device
        )
        logits_BQV = self._network(
            input_ids=tokens_BQ,
            attention_mask=self._mask(rows, num_new),
            position_ids=positions_BQ,
            past_key_values=rows.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        rows.lengths = [length + num_new for length in rows.lengths]
        return logits_BQV[:, -1].float()  # type: ignore[no-any-return]

    def _decode_encoded(self, rows: Rows, tokens_B1: Tensor, hidden_BPH: Tensor) -> Tensor:
        is_token_BP = _is_token(rows.prompts, self._network.device)
        logits_B1V = self._network(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden_BPH),
            attention_mask=is_token_BP[:, None, None, :],
            decoder_input_ids=tokens_B1,
            decoder_attention_mask=self._mask(rows, 1),
            past_key_values=EncoderDecoderCache(rows.cache, rows.cross),
            use_cache=True,
        ).logits
        rows.lengths = [length + 1 for length in rows.lengths]
        return logits_B1V[:, -1].float()  # type: ignore[no-any-return]

    def _mask(self, rows: Rows, num_new: int) -> Tensor | None:
        """Which keys (B, 1, 1, K) a new token sees; None (causal) for the tokens of a prompt."""
        if rows.lengths == [0] and num_new > 1:
            return None
        is_token_BK = _is_token([length + num_new for length in rows.lengths], self._network.device)
        return is_token_BK[:, None, None, :]


def _is_token(lengths: Sequence[int], device: torch.device) -> Tensor:
    longest = max(lengths)
    first_B1 = torch.tensor([longest - length for length in lengths], device=device)[:, None]
    return torch.arange(longest, device=device) >= first_B1


def _aligned(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    longest = max(keys.shape[-2] for keys, _ in parts)
    keys = torch.cat([pad(keys, (0, 0, longest - keys.shape[-2], 0)) for keys, _ in parts])
    return keys, torch.cat([pad(values, (0, 0, longest - values.shape[-2], 0)) for _, values in parts])


def _selected(states: tuple[Tensor, Tensor], rows: Sequence[int], longest: int) -> tuple[Tensor, Tensor]:
    keys, values = (tensor[list(rows), :, tensor.shape[-2] - longest :] for tensor in states)
    return keys, values
