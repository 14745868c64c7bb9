"""A model that the ranks cannot hold is refused before it is there."""

import pytest

from flan.model.room import InsufficientMemory, check_weights


def test_weights_beyond_the_memory_are_refused_with_the_way_out() -> None:
    """With both figures; what more ranks could hold together is told apart from what they have each."""
    check_weights(10**6, "fp32", 0, 2, "cpu")

    with pytest.raises(InsufficientMemory, match="ZeRO stage 0 over 2 ranks") as whole:
        check_weights(10**13, "bf16", 0, 2, "cpu")
    with pytest.raises(InsufficientMemory, match="ZeRO stage 3 over 2 ranks") as shared:
        check_weights(10**13, "bf16", 3, 2, "cpu")

    assert whole.value.values["needed_bytes"] == 2 * 10**13
    assert shared.value.values["needed_bytes"] == 10**13 > shared.value.values["present_bytes"]
    assert "zero_stage: 3" in str(whole.value.hint)
    assert "zero_stage: 3" not in str(shared.value.hint)


def test_ranks_hold_together_what_one_cannot() -> None:
    """A model of one and a half times the memory of a rank fits two that share it."""
    with pytest.raises(InsufficientMemory) as refused:
        check_weights(10**13, "bf16", 0, 4, "cpu")
    weights = int(refused.value.values["present_bytes"] * 1.5) // 2

    check_weights(weights, "bf16", 3, 4, "cpu")
    with pytest.raises(InsufficientMemory):
        check_weights(weights, "bf16", 0, 4, "cpu")
