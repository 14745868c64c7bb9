"""The last layer beyond its attention, at chosen places alone.

    # B packs, L positions, N chosen places, D width

What the last layer makes of a place after attention is read by the head, at that place, and by nobody else; and
the head works at few places: those that are supervised (flan/train/objective.py), or where a token of an option is
expected (flan/model/scoring.py). So the projection of attention's output, the feed-forward block and the last norm
are computed for those only, forward and backward: the same for an eighth less arithmetic in a network of six layers.

A layer is called twice, whatever its family: with all places as far as its attention, which hands out what it
found and ends the call; then with the chosen places, where attention gives their part of that. Whether a
network is made so that this is exact is found by asking it. An encoder-decoder's decoder has no place that is not
chosen.
"""

import inspect
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from flan.model.attention import Attended, EndThere, Known, attend_in_segments
from flan.model.masks import Batch, forward
from flan.model.segments import causal_bounds

PROBE = 16
"""Tokens that a network is asked."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
"""By the type of the weights, relative to the largest logit: products of other shapes round otherwise."""

_ENDS_EARLY: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def ends_early(network: PreTrainedModel) -> bool:
    """Whether `network` has something `beyond_attention`; it is asked once."""
    if network not in _ENDS_EARLY:
        is_low = network.dtype == torch.bfloat16
        # Attention within bounds gives fp32, which weights of less take only where they are told to.
        with torch.autocast(network.device.type, dtype=torch.bfloat16, enabled=is_low):
            _ENDS_EARLY[network] = bool(beyond_attention(network))
    return _ENDS_EARLY[network]


@contextmanager
def last_layer_at(network: PreTrainedModel, chosen_BL: Tensor) -> Iterator[Tensor]:
    """Within it `network` ends at the chosen places: its head is given (1, N, D), in order of (pack, place).

    Gives which of the places that the head is given are the chosen ones: all of them. At least one is chosen, and
    the network has something `beyond_attention`. The layer keeps its activations even where others compute theirs
    again: its backward pass comes first, so the most that is kept at a time is no more.
    """
    layer = _last_layer(network)
    assert layer is not None, "a network that can end early has layers"
    whole, signature = layer.forward, inspect.signature(layer.forward)

    def at_chosen(*positional: Any, **named: Any) -> Any:
        given = signature.bind(*positional, **named)
        given.arguments["attention_mask"] = EndThere(given.arguments["attention_mask"])
        try:
            whole(*given.args, **given.kwargs)
        except Attended as reached:
            attended_BL = reached.output
        else:
            raise AssertionError(f"{type(layer).__name__} has not come to an attention of ours")
        given.arguments.update({name: _at(chosen_BL, each) for name, each in given.arguments.items()})
        given.arguments["attention_mask"] = Known(_at(chosen_BL, attended_BL))
        return whole(*given.args, **given.kwargs)

    was_checkpointed, compiled = layer.gradient_checkpointing, layer._compiled_call_impl
    layer.forward, layer.gradient_checkpointing, layer._compiled_call_impl = at_chosen, False, None
    try:
        yield torch.ones(1, int(chosen_BL.sum()), dtype=torch.bool, device=chosen_BL.device)
    finally:
        del layer.forward
        layer.gradient_checkpointing, layer._compiled_call_impl = was_checkpointed, compiled


@torch.no_grad()
def beyond_attention(network: PreTrainedModel) -> set[nn.Module]:
    """What `network` has in its last layer that need not work at places which are not chosen.

    Empty where it may not end early: it says something else at the chosen places then, or is made otherwise; or it
    drops out, for the numbers that are drawn then are others than where the whole layer works (ZeRO stage 3).
    """
    layer = _last_layer(network)
    if network.config.is_encoder_decoder or layer is None or not attend_in_segments(network):
        return set()
    if "attention_mask" not in inspect.signature(layer.forward).parameters:
        return set()
    if any(isinstance(module, nn.Dropout) and module.p > 0 for module in layer.modules()):
        return set()
    batch, calls = _probe(network), Counter[nn.Module]()
    chosen_BL = torch.arange(PROBE, device=batch["positions"].device)[None] % 3 == 1
    was_training = network.training
    network.eval()  # a dropout would use up random numbers
    handles: list[Any] = []
    try:
        expected = forward(network, batch)[chosen_BL]
        count = lambda module, _: calls.update([module])  # noqa: E731
        handles += [each.register_forward_pre_hook(count) for each in layer.modules()]
        with last_layer_at(network, chosen_BL):
            found = forward(network, batch)
    except (TypeError, AttributeError, RuntimeError, AssertionError):
        # It looks into its mask, or takes no part of its places, or has an attention of its own.
        return set()
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    if found.shape != (1, *expected.shape):
        return set()
    tolerance = TOLERANCE[expected.dtype] * expected.abs().max()
    is_same = (found[0] - expected).abs().max() <= tolerance
    # What comes before attention is called twice.
    return {module for module, times in calls.items() if times == 1} if is_same else set()


def _last_layer(network: PreTrainedModel) -> GradientCheckpointingLayer | None:
    layers = [module for module in network.modules() if isinstance(module, GradientCheckpointingLayer)]
    return layers[-1] if layers else None


def _at(chosen_BL: Tensor, given: Any) -> Any:
    """What a layer is given of the chosen places: (B, L, …) → (1, N, …); what has no places stays."""
    if isinstance(given, tuple):
        return tuple(_at(chosen_BL, each) for each in given)
    if isinstance(given, dict):
        return {name: _at(chosen_BL, each) for name, each in given.items()}
    B, L = chosen_BL.shape
    if (
        not isinstance(given, Tensor)
        or given.dim() < 2
        or given.shape[1] != L
        or given.shape[0] not in (1, B)
    ):
        return given
    return given.expand(B, *given.shape[1:])[chosen_BL][None]


def _probe(network: PreTrainedModel) -> Batch:
    """A pack of one segment."""
    device, vocabulary = network.device, network.get_input_embeddings().weight.shape[0]
    ones_BL = torch.ones(1, PROBE, dtype=torch.long, device=device)
    places_BL = torch.arange(PROBE, device=device)[None]
    bounds = torch.from_numpy(causal_bounds(np.ones((1, PROBE), np.int32))).to(device)
    ids_BL = places_BL % vocabulary
    return {"token_ids": ids_BL, "segment_ids": ones_BL, "positions": places_BL, "bounds": bounds}
