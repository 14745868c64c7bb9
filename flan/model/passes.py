"""The forward passes of sequences in flight, of unequal lengths, that come and go.

    # U places whose logits are wanted, V vocabulary, P prompt tokens, H heads, M most keys of a bias

Everything is in the cache, so a pass has no shape to keep: sequences join, leave and are read in parts, and nothing is
copied or padded for it. What a sequence gets does not depend on its company, to rounding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from flan.data.tokens import Ids
from flan.errors import FlanError
from flan.model.attention import attend_in_segments
from flan.model.keys import Feed, KeyValues, Noting, Pass, Shape, mask_for
from flan.model.llama import LlamaForward, is_llama
from flan.model.load import Model, UnsupportedModel
from flan.model.regions import Region, Regions


class CacheTooSmall(FlanError):
    """A sequence needs more keys and values than the whole cache has room for."""

    code, blame = "cache_too_small", "user"


class Passes:
    """Runs a network over sequences whose keys and values lie in a cache of `cache_bytes`, and not a byte more.

    Raises UnsupportedModel when the network does not leave attention to transformers' interface.
    """

    def __init__(self, model: Model, cache_bytes: int) -> None:
        self._network = model.network
        self._device = model.network.device
        self._is_encoder_decoder = model.card.contract.architecture == "encoder_decoder"
        if not attend_in_segments(model.network):
            raise UnsupportedModel(
                f"{model.card.name} computes attention in its own way: it cannot be served"
            )
        self._bias_HM: Tensor | None = None
        shape = self._shape(model.card.name)
        bytes_per_place = 2 * shape.layers * shape.heads * shape.width * model.network.dtype.itemsize
        self.regions = Regions(cache_bytes // bytes_per_place)
        if self.regions.num_places == 0:
            raise CacheTooSmall(
                f"{cache_bytes:,} bytes hold no 16 tokens of {model.card.name}, at {bytes_per_place:,} bytes each",
                hint="serve with larger cache_bytes", cache_bytes=cache_bytes,
            )  # fmt: skip
        self._lean = LlamaForward(model.network) if is_llama(model.network) else None
        self._cache = KeyValues(shape, self.regions.num_places, model.network.dtype, self._device)

    def copy(self, source: Region, target: Region, length: int) -> None:
        """Give `target` the first `length` tokens that `source` has read."""
        self._cache.copy(source, target, length)
        target.num_read = length

    def encode(self, region: Region, prompt: Ids) -> None:
        """Read the prompt of an encoder-decoder, alone and whole: every layer's keys and values of it."""
        ids_1P = torch.tensor(prompt, dtype=torch.long, device=self._device)[None]
        hidden_PD = self._network.get_encoder()(input_ids=ids_1P).last_hidden_state[0]
        _, heads, width = self._cache.shape
        places_P = torch.arange(region.start, region.start + len(prompt), device=self._device)
        for number, block in enumerate(self._network.decoder.block):
            attention = block.layer[1].EncDecAttention
            keys_PHD, values_PHD = (
                projection(hidden_PD).view(-1, heads, width) for projection in (attention.k, attention.v)
            )
            self._cache.write(number, places_P, keys_PHD, values_PHD)
        region.num_read = len(prompt)

    def warm_up(self, most: int, most_wanted: int) -> None:
        """Prepare for passes of up to `most` tokens with `most_wanted` logits."""
        if self._lean is not None:
            self._lean.warm_up(most, most_wanted)

    def close(self) -> None:
        """Give the cache's memory back; no pass comes after it."""
        self._cache.close()

    def run(self, feeds: Sequence[Feed]) -> Tensor:
        """The logits that are wanted, (U, V) in fp32, feed after feed."""
        one = Pass(self._cache, feeds, self._bias(feeds))
        if self._lean is not None:
            return self._lean(one).float()
        token_ids_1N = torch.tensor([one.token_ids], device=self._device)
        mask = mask_for(one, self._device)
        if self._is_encoder_decoder:
            return self._decode_encoded(token_ids_1N, mask)[0].float()
        logits_1UV: Tensor = self._network(
            input_ids=token_ids_1N,
            attention_mask=mask,
            position_ids=torch.tensor([one.positions], device=self._device),
            use_cache=False,
            logits_to_keep=torch.tensor(one.wanted, dtype=torch.long, device=self._device),
        ).logits
        return logits_1UV[0].float()

    def _decode_encoded(self, token_ids_1N: Tensor, mask: Tensor) -> Tensor:
        # Of the encoded prompts only the shape is read: their keys and values are in the cache.
        hidden = torch.zeros(1, 1, self._network.config.hidden_size, dtype=self._network.dtype)
        logits_1NV: Tensor = self._network(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden.to(self._device)),
            attention_mask=mask,
            decoder_input_ids=token_ids_1N,
            decoder_attention_mask=mask,
            past_key_values=_elsewhere(self._network.config.num_decoder_layers),
            use_cache=True,
        ).logits
        return logits_1NV

    def _shape(self, name: str) -> Shape:
        """What the network's layers hand to attention: it is asked with one token."""
        noting = Noting()
        mask, start = mask_for(noting, self._device), torch.zeros(1, 1, dtype=torch.long, device=self._device)
        with torch.inference_mode():
            if self._is_encoder_decoder:
                self._decode_encoded(start, mask)
            else:
                self._network(input_ids=start, attention_mask=mask, position_ids=start, use_cache=False)
        # Keys and values of an encoded prompt are none that it computes here.
        seen = noting.seen[::2] if self._is_encoder_decoder else noting.seen
        kinds = set(seen)
        if len(kinds) != 1 or len({width for _, *widths in kinds for width in widths}) != 1:
            raise UnsupportedModel(
                f"{name} has layers with keys and values of {len(kinds)} shapes: it cannot be served"
            )
        ((heads, width, _),) = kinds
        return Shape(len(seen), heads, width)

    def _bias(self, feeds: Sequence[Feed]) -> Tensor | None:
        """T5's: what the last of M tokens adds to its scores, by distance alone, (H, M)."""
        if not self._is_encoder_decoder:
            return None
        num_keys = max(feed.start + 1 for feed in feeds)
        if self._bias_HM is None or self._bias_HM.shape[1] < num_keys:
            length = max(256, 2 * num_keys)
            attention = self._network.decoder.block[0].layer[0].SelfAttention
            bias_1H1M = attention.compute_bias(1, length, device=self._device, past_seen_tokens=length - 1)
            self._bias_HM = bias_1H1M[0, :, 0].float().contiguous()
        return self._bias_HM


class _Elsewhere(CacheLayerMixin):  # type: ignore[misc]  # transformers has no types
    """A layer of a cache that keeps nothing: what a network gives it, it gets back."""

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        # What stands for the keys and values of the encoded prompts, until attention takes those of the cache.
        self.keys = self.values = torch.zeros(1, 1, 1, 1)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to prepare."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_options: object
    ) -> tuple[Tensor, Tensor]:
        """As they are."""
        return key_states, value_states

    def get_seq_length(self) -> int:
        """No past: distances are worked out with attention."""
        return 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Those of a mask for the new tokens alone."""
        return query_length, 0

    def get_max_length(self) -> int:
        """No maximum."""
        return -1


def _elsewhere(num_layers: int) -> EncoderDecoderCache:
    own, encoded = (Cache([_Elsewhere() for _ in range(num_layers)]) for _ in range(2))
    caches = EncoderDecoderCache(own, encoded)
    caches.is_updated = dict.fromkeys(range(num_layers), True)
    return caches
