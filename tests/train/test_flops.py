"""The arithmetic of a step is counted, not guessed."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from flan.data.packing import pack_batch
from flan.data.tokens import Tokens
from flan.data.window import Lengths
from flan.model.load import Architecture
from flan.model.masks import forward, to_tensors
from flan.train.flops import flops_per_token, peak_flops, training_costs, training_flops
from tests.kit.models import tiny_model


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_a_full_pack_of_one_example_costs_what_torch_counts(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products with weights and attention agree with PyTorch's own count of the operations that run.

    One example fills the pack. PyTorch computes the head everywhere and the future's scores too; both are
    reckoned in.
    """
    model = tiny_model(architecture)
    is_decoder = architecture == "decoder"
    contract, (num_input, num_target) = model.card.contract, (40, 24)
    lengths = Lengths(num_input + num_target, 0) if is_decoder else Lengths(num_input, num_target)
    example = Tokens(np.full(num_input, 5, np.int32), np.full(num_target, 7, np.int32))
    packs = pack_batch([[example]], lengths, contract)
    costs = training_costs(model.network)
    # Fused kernels are not among the operations that are counted.
    monkeypatch.setattr("flan.model.masks.takes_bounds", lambda *_: False)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        forward(model.network, to_tensors(packs)).sum().backward()

    L = num_input + num_target if is_decoder else num_target
    unsupervised, future = L - num_target, L * (L - 1) // 2
    wasted = unsupervised * costs.per_target + future * costs.per_pair
    assert training_flops(costs, packs) + wasted == pytest.approx(counter.get_total_flops(), rel=0.02)


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_segments_and_padding_cost_what_they_compute(architecture: Architecture) -> None:
    """Packs cost the sum of their examples, whatever they share a pack with; padding costs nothing."""
    model = tiny_model(architecture)
    costs, contract = training_costs(model.network), model.card.contract
    lengths = Lengths(90, 0) if architecture == "decoder" else Lengths(60, 30)
    examples = [Tokens(np.full(n, 5, np.int32), np.full(n // 2, 7, np.int32)) for n in (6, 12, 20)]
    together = pack_batch([examples, [], examples[:1]], lengths, contract)
    alone = [training_flops(costs, pack_batch([[each]], lengths, contract)) for each in examples]

    assert training_flops(costs, together) == pytest.approx(sum(alone) + alone[0])
    num_tokens = sum(len(each.input_ids) + len(each.target_ids) for each in [*examples, examples[0]])
    assert flops_per_token(costs, together) == pytest.approx(training_flops(costs, together) / num_tokens)
    assert flops_per_token(costs, pack_batch([[]], lengths, contract)) == 0


def test_a_frozen_weight_costs_two_thirds() -> None:
    """Its own gradient is never computed; what passes through it is."""
    model = tiny_model("decoder")
    before = training_costs(model.network)
    model.network.requires_grad_(False)

    assert training_costs(model.network).per_token == pytest.approx(before.per_token * 2 / 3)


def test_the_peak_of_this_device_is_measured_once() -> None:
    """A second look costs nothing and says the same."""
    cpu = torch.device("cpu")
    found = peak_flops(cpu, torch.float32)

    assert found > 1e9
    assert peak_flops(cpu, torch.float32) == found
