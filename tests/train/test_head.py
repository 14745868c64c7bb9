"""The head in chunks is the head: same losses, same gradients, never all the logits."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GraniteConfig, GraniteForCausalLM

from flan.model.masks import to_tensors
from flan.train import head as head_module
from flan.train.head import chunked_losses, gives_its_logits, losses_of_logits
from flan.train.objective import Objective
from tests.kit.models import TINY_VOCABULARY, tiny_model
from tests.train.test_objective import _batch as batch_for

N, D, V = 37, 8, 50


def some_head(*, has_bias: bool = False) -> tuple[Tensor, nn.Linear, Tensor, Tensor]:
    """Hidden states, a head, targets, and weights of which some are 0."""
    generator = torch.Generator().manual_seed(3)
    hidden_ND = torch.randn(N, D, generator=generator, requires_grad=True)
    head = nn.Linear(D, V, bias=has_bias)
    with torch.no_grad():
        for each in head.parameters():
            each.copy_(torch.randn(each.shape, generator=generator))
    targets_N = torch.randint(V, (N,), generator=generator)
    return hidden_ND, head, targets_N, (torch.rand(N, generator=generator) > 0.2).float()


@pytest.mark.parametrize("z_loss", [0.0, 0.01])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("chunk", [1, 7, 37, 99])
def test_chunks_equal_the_whole(
    chunk: int, has_bias: bool, z_loss: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses and all gradients, whatever a chunk holds; the sum's gradient scales them."""
    monkeypatch.setitem(head_module.CHUNK_LOGITS, "cpu", chunk * V)
    hidden_ND, head, targets_N, weights_N = some_head(has_bias=has_bias)
    inputs = [hidden_ND, *head.parameters()]
    total, losses_N = chunked_losses(hidden_ND, head, targets_N, weights_N, z_loss)
    found = torch.autograd.grad(total * 0.3, inputs)
    whole, whole_N = losses_of_logits(head(hidden_ND), targets_N, weights_N, z_loss)
    expected = torch.autograd.grad(whole * 0.3, inputs)

    torch.testing.assert_close(total, whole)
    torch.testing.assert_close(losses_N, whole_N)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_chunk_logits_bound_what_exists_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No product of the head is larger than a chunk."""
    monkeypatch.setitem(head_module.CHUNK_LOGITS, "cpu", 7 * V)
    sizes: list[int] = []
    with_gradient = head_module._with_gradient

    def spy(logits_nV: Tensor, *rest: Any) -> Any:
        sizes.append(logits_nV.numel())
        return with_gradient(logits_nV, *rest)

    monkeypatch.setattr(head_module, "_with_gradient", spy)
    chunked_losses(*some_head(), z_loss=0.0)

    assert sizes == [7 * V] * 5 + [2 * V]


def test_a_frozen_head_gets_no_gradient() -> None:
    """LoRA and soft prompts pass through the head, and leave it."""
    hidden_ND, head, targets_N, weights_N = some_head()
    head.requires_grad_(False)
    chunked_losses(hidden_ND, head, targets_N, weights_N, 0.0)[0].backward()

    assert head.weight.grad is None
    assert hidden_ND.grad is not None


def test_products_are_bf16_and_sums_fp32() -> None:
    """Under autocast the head's products round as other products do; what is kept is fp32."""
    hidden_ND, head, targets_N, weights_N = some_head()
    exact = chunked_losses(hidden_ND, head, targets_N, weights_N, 0.0)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, losses_N = chunked_losses(hidden_ND, head, targets_N, weights_N, 0.0)
    total.backward()

    assert {total.dtype, losses_N.dtype, head.weight.grad.dtype} == {torch.float32}  # type: ignore[union-attr]
    assert total.item() != exact.item()
    assert total.item() == pytest.approx(exact.item(), rel=2e-2)


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_losses_of_tokens_add_up(architecture: Any) -> None:
    """After a micro-batch the objective has each target token's loss, and z-loss is beside them."""
    model = tiny_model(architecture)
    batch = to_tensors(batch_for(model))
    plain, penalized = Objective(model.network, "fp32"), Objective(model.network, "fp32", z_loss=0.1)
    loss, more = plain(batch).item(), penalized(batch).item()

    assert plain.token_losses is not None
    assert plain.token_losses.shape == (int(batch["loss_weights"].sum()),)
    assert plain.token_losses.sum().item() == pytest.approx(loss, rel=1e-6)
    assert more > loss
    assert penalized.token_losses is not None
    torch.testing.assert_close(penalized.token_losses, plain.token_losses)


def test_logits_that_are_scaled_afterwards_are_not_bypassed() -> None:
    """A network that divides what its head says is trained on the quotient."""
    config = GraniteConfig(
        vocab_size=TINY_VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, logits_scaling=1e6,
        pad_token_id=0, eos_token_id=1, bos_token_id=None, attn_implementation="sdpa",
    )  # fmt: skip
    model = tiny_model("decoder")
    scaled = GraniteForCausalLM(config).eval()
    objective = Objective(scaled, "fp32")
    objective(to_tensors(batch_for(model))).backward()

    assert gives_its_logits(model.network)
    assert not gives_its_logits(scaled)
    # So small logits that every token is a guess.
    assert objective.token_losses is not None
    guess = torch.tensor(TINY_VOCABULARY).log().expand_as(objective.token_losses)
    torch.testing.assert_close(objective.token_losses, guess, atol=1e-3, rtol=0)
