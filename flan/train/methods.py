"""Which weights a run trains: all, low-rank additions, or a prompt; and the model that comes of them.

Under every method the frozen weights are those of the base, read again when the run is over: only what was
trained is optimized, checkpointed and gathered from the ranks.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from flan.model.adapters import Adapter, add_lora, merge, take_adapter, weights_digest
from flan.model.load import Model
from flan.model.soft_prompt import add_prompt
from flan.spec import Lora, SoftPrompt, TuneSpec


class Tuned(NamedTuple):
    """What a run made of its base."""

    model: Model
    """With the base's card, but for the contract of a soft prompt."""
    adapter: Adapter | None
    """The additions on their own, where they were merged into the model."""


def with_method(base: Model, spec: TuneSpec) -> Model:
    """`base`, with nothing but what the spec's method trains requiring a gradient; changes its network.

    A soft prompt is part of the render contract from here on. Raises UnknownModule.
    """
    if isinstance(spec.method, Lora):
        add_lora(base.network, spec.method, spec.seed)
        return base
    if isinstance(spec.method, SoftPrompt):
        ids = add_prompt(base.network, spec.method.length, len(base.tokenizer), spec.seed)
        contract = base.card.contract.model_copy(update={"soft_prompt_ids": ids})
        return base._replace(card=base.card.model_copy(update={"contract": contract}))
    return base


def tuned_model(base: Model, spec: TuneSpec, weights: Mapping[str, Tensor]) -> Tuned:
    """The model that training made of `base`, which is as it was before training; changes its network.

    `weights` are those that were trained, by name. Under full tuning that is every one of them.
    """
    digest = weights_digest(base.network) if isinstance(spec.method, Lora) else ""
    model = with_method(base, spec)
    _fill(model, weights)
    if not isinstance(spec.method, Lora):
        return Tuned(model, None)
    adapter = take_adapter(
        model.network,
        spec.method,
        base=digest,
        base_name=base.card.name,
        tokenizer=base.card.contract.tokenizer,
    )
    merge(model.network)
    return Tuned(model, adapter)


@torch.no_grad()
def _fill(model: Model, weights: Mapping[str, Tensor]) -> None:
    for name, weight in model.network.named_parameters():
        if weight.requires_grad:
            weight.copy_(weights[name])
