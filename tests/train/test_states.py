"""What a run keeps is counted before it starts."""

from typing import Any

import pytest
import torch
from torch import nn

from flan.spec import Optimizer, TuneSpec, parse
from flan.train.optim import make_optimizer
from flan.train.states import Sizes, bucket_size, checkpoint_bytes, sizes_of, state_bytes
from tests.train.adafactor_rule import Linear, gradients

BILLION = 10**9
ADAMW = Sizes(weights=BILLION, trained=BILLION, moments=2 * BILLION, factors=0)
LARGE = Sizes(weights=11 * BILLION, trained=11 * BILLION, moments=10**6, factors=10**7)
ADAFACTOR = Sizes(weights=BILLION, trained=BILLION, moments=10**6, factors=2 * 10**6)


def _spec(**changes: object) -> TuneSpec:
    return parse(TuneSpec, {"name": "t", "base": "b", **changes})


@pytest.mark.parametrize(
    "settings", [{"name": "adamw"}, {"name": "adafactor"}, {"name": "adafactor", "factored_from": 4}]
)
def test_sizes_are_what_the_optimizer_keeps(settings: dict[str, Any]) -> None:
    """After an update its tensors hold as many numbers as were counted before; frozen weights have none."""
    module, wanted = Linear(), Optimizer.parse(settings)
    module.get_parameter("wide").requires_grad = False
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    optimizer = make_optimizer(trained, wanted)
    for name, gradient in gradients(0).items():
        module.get_parameter(name).grad = torch.from_numpy(gradient)
    optimizer.step()
    kept = [value for state in optimizer.state.values() for value in state.values()]
    sizes = sizes_of(module, wanted)

    assert sizes.moments + sizes.factors == sum(
        value.numel() for value in kept if isinstance(value, torch.Tensor) and value.dim() > 0
    )
    assert sizes.trained == sum(weight.numel() for weight in trained)
    assert sizes.weights == sizes.trained + 129 * 257


def test_a_tied_weight_counts_once() -> None:
    """It is one tensor under two names."""
    embedding, head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
    head.weight = embedding.weight

    assert sizes_of(nn.Sequential(embedding, head), Optimizer()).weights == 40


def test_sharding_divides_what_a_rank_keeps() -> None:
    """AdamW in fp32 keeps 16 bytes a weight; each ZeRO stage shares out more of it over the ranks."""
    kept = [state_bytes(_spec(zero_stage=stage), ADAMW, 8) for stage in range(4)]

    assert kept[0] == 16 * BILLION
    assert kept[1] > kept[2] > kept[3]
    assert kept[3] == 4 * BILLION + 16 * BILLION // 8 + 4 * bucket_size(BILLION)
    assert state_bytes(_spec(zero_stage=3), LARGE, 64) < 4 * LARGE.weights


def test_adafactor_keeps_little_besides_weights_and_gradients() -> None:
    """That is why large models were tuned with it: half of what AdamW needs."""
    assert state_bytes(_spec(), ADAFACTOR, 1) == pytest.approx(8 * BILLION, rel=2e-3)
    assert checkpoint_bytes(_spec(), ADAFACTOR) == pytest.approx(4 * BILLION, rel=3e-3)


def test_a_checkpoint_has_master_weights_beside_the_weights() -> None:
    """At stages 1 and 2; at stage 3 the shards are the weights. Factors are in the file of every rank."""
    sizes = [checkpoint_bytes(_spec(zero_stage=stage), ADAMW) // BILLION for stage in range(4)]
    two = _spec(zero_stage=3, resources={"ranks": 2})

    assert sizes == [12, 16, 16, 12]
    assert checkpoint_bytes(two, ADAFACTOR) - checkpoint_bytes(_spec(zero_stage=3), ADAFACTOR) == 8 * 10**6
