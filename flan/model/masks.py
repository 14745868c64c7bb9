"""One forward pass for packs of both architectures, with segments that cannot see each other.

    # B packs, L positions, Li of the encoder, Lt of the decoder, V vocabulary

Position ids alone would leave isolation to each network's own guess at where segments begin, and a
two-dimensional mask would undo it; so every mask here is explicit, boolean, and says which key each
query may read. Segment 0 is padding: it reads other padding and is read by no segment.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

Batch = Mapping[str, Tensor]
"""The arrays of a PackedBatch as tensors, by name."""


def to_tensors(batch: NamedTuple, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The arrays of `batch` on `device`, by field name, integers as long. Fields that are no array are left out."""
    arrays = {name: value for name, value in batch._asdict().items() if isinstance(value, np.ndarray)}
    # Widened there: half as much crosses the bus.
    tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
    return {name: each if each.is_floating_point() else each.long() for name, each in tensors.items()}


def block_causal_mask(segments_BL: Tensor) -> Tensor:
    """(B, 1, L, L): a place reads itself and what comes before it in its own segment.

    A padding place reads padding, so no row of the mask is empty and no softmax is NaN.
    """
    L = segments_BL.shape[1]
    causal_LL = torch.ones(L, L, dtype=torch.bool, device=segments_BL.device).tril()
    return block_mask(segments_BL, segments_BL) & causal_LL


def block_mask(queries_BQ: Tensor, keys_BK: Tensor) -> Tensor:
    """(B, 1, Q, K): a place reads every place of its own segment."""
    return (queries_BQ[:, :, None] == keys_BK[:, None, :])[:, None]


def branch_mask(segments_BL: Tensor) -> Tensor:
    """(B, 1, L, L): segment 1 is a prompt; each later segment continues it, blind to its siblings."""
    reads_prompt = (segments_BL >= 2)[:, None, :, None] & (segments_BL == 1)[:, None, None, :]
    return block_causal_mask(segments_BL) | reads_prompt


class EncoderDecoderMasks(NamedTuple):
    """Who reads whom in a pack of an encoder-decoder."""

    encoder: Tensor  # (B, 1, Li, Li)
    decoder: Tensor  # (B, 1, Lt, Lt)
    cross: Tensor  # (B, 1, Lt, Li)


def encoder_decoder_masks(encoder_segments_BL: Tensor, decoder_segments_BL: Tensor) -> EncoderDecoderMasks:
    """The three masks of packs whose segment n of the decoder answers segment n of the encoder."""
    own = block_mask(decoder_segments_BL, encoder_segments_BL)
    # A full encoder has no padding for the decoder's padding to read: it reads all, and nothing reads it.
    cross = own | (decoder_segments_BL == 0)[:, None, :, None]
    return EncoderDecoderMasks(
        block_mask(encoder_segments_BL, encoder_segments_BL), block_causal_mask(decoder_segments_BL), cross
    )


def forward(network: PreTrainedModel, batch: Batch) -> Tensor:
    """logits_BLV: at each place of `target_ids`, what the network expects there.

    Within a segment they are what it says of that example alone, to rounding. Positions restart in each
    segment: as ids for decoders; an encoder-decoder's are relative, and a segment is contiguous.
    Its encoder is called on its own: under a sharded engine, wrap this function in a module, so that the
    engine sees one call.
    """
    if network.config.is_encoder_decoder:
        return _forward_encoder_decoder(network, batch)
    output = network(
        input_ids=batch["token_ids"],
        attention_mask=block_causal_mask(batch["segment_ids"]),
        position_ids=batch["positions"],
        use_cache=False,
    )
    return output.logits  # type: ignore[no-any-return]


def _forward_encoder_decoder(network: PreTrainedModel, batch: Batch) -> Tensor:
    masks = encoder_decoder_masks(batch["encoder_segment_ids"], batch["decoder_segment_ids"])
    hidden_BLD = network.get_encoder()(
        input_ids=batch["encoder_ids"], attention_mask=masks.encoder
    ).last_hidden_state
    output = network(
        encoder_outputs=BaseModelOutput(last_hidden_state=hidden_BLD),
        attention_mask=masks.cross,
        decoder_input_ids=batch["decoder_ids"],
        decoder_attention_mask=masks.decoder,
        use_cache=False,
    )
    return output.logits  # type: ignore[no-any-return]
