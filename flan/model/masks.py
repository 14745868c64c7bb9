"""One forward pass for packs of both architectures, with segments that cannot see each other.

    # B packs, L positions, Li of the encoder, Lt of the decoder, V vocabulary

Position ids alone would leave isolation to each network's own guess at where segments begin, and a
two-dimensional mask would undo it. So a network is told: by the bounds of the segments, where its attention
can work segment by segment (`flan/model/attention.py`); by masks elsewhere, explicit and boolean, which say
which key each query may read. Segment 0 is padding: it is read by no segment.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from flan.data.packing import Ints, PackedBatch, PackedDecoder
from flan.model.attention import takes_bounds
from flan.model.segments import causal_bounds, mutual_bounds

Batch = Mapping[str, Tensor]
"""The arrays of a PackedBatch as tensors, by name."""


def to_tensors(batch: PackedBatch, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The arrays of `batch` on `device`, by field name, integers as long, and the bounds of its segments."""
    # Widened there: half as much crosses the bus.
    tensors = {name: torch.from_numpy(array).to(device) for name, array in batch._asdict().items()}
    whole = {name: each if each.is_floating_point() else each.long() for name, each in tensors.items()}
    return whole | {name: torch.from_numpy(array).to(device) for name, array in _bounds(batch).items()}


def _bounds(batch: PackedBatch) -> dict[str, Ints]:
    if isinstance(batch, PackedDecoder):
        return {"bounds": causal_bounds(batch.segment_ids)}
    encoder_BL, decoder_BL = batch.encoder_segment_ids, batch.decoder_segment_ids
    return {
        "encoder_bounds": mutual_bounds(encoder_BL, encoder_BL),
        "decoder_bounds": causal_bounds(decoder_BL),
        "cross_bounds": mutual_bounds(decoder_BL, encoder_BL),
    }


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
    is_bounded = takes_bounds(network, batch["token_ids"].device)
    output = network(
        input_ids=batch["token_ids"],
        attention_mask=batch["bounds"] if is_bounded else block_causal_mask(batch["segment_ids"]),
        position_ids=batch["positions"],
        use_cache=False,
    )
    return output.logits  # type: ignore[no-any-return]


def _forward_encoder_decoder(network: PreTrainedModel, batch: Batch) -> Tensor:
    if takes_bounds(network, batch["encoder_ids"].device):
        masks = EncoderDecoderMasks(batch["encoder_bounds"], batch["decoder_bounds"], batch["cross_bounds"])
    else:
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
