"""What cannot end well is refused before step 1, with the figures."""

from pathlib import Path

import pytest
import torch

from flan.card import Contract, Lineage, ModelCard
from flan.data.plan import ContextTooShort
from flan.errors import DiskFull
from flan.model.room import InsufficientMemory
from flan.spec import TuneSpec, parse
from flan.train.preflight import (
    InputsNotLearned,
    check_context,
    check_disk,
    check_memory,
    check_objective,
)
from flan.train.states import Sizes


def _spec(**changes: object) -> TuneSpec:
    return parse(TuneSpec, {"name": "t", "base": "b", "optimizer": {"name": "adamw"}, **changes})


def _sizes(weights: int) -> Sizes:
    return Sizes(weights, trained=weights, moments=2 * weights, factors=0)


def _card(architecture: str, context: int) -> ModelCard:
    contract = Contract.parse(
        {
            "architecture": architecture,
            "tokenizer": "0" * 64,
            "prefix_ids": [],
            "separator_ids": [1],
            "end_ids": [1],
        }
    )
    lineage = Lineage(base="b", tasks_seen=None, clusters_seen=None)
    return ModelCard(name="b", contract=contract, context_length=context, num_parameters=1, lineage=lineage)


def test_input_and_target_must_fit_a_decoder_together() -> None:
    """A decoder reads both in one sequence, an encoder-decoder apart; the error has both numbers."""
    spec = _spec(input_length=1024, target_length=256)
    check_context(spec, _card("decoder", 1280))
    check_context(spec, _card("encoder_decoder", 1024))

    with pytest.raises(ContextTooShort) as refused:
        check_context(spec, _card("decoder", 1279))
    assert refused.value.values == {"needed": 1280, "context_length": 1279}


def test_an_encoder_decoder_cannot_learn_its_inputs() -> None:
    """Asked to, it is refused with the way out; a decoder is not."""
    check_objective(_spec(loss_on="all"), _card("decoder", 1280))
    check_objective(_spec(), _card("encoder_decoder", 1280))

    with pytest.raises(InputsNotLearned, match="predicts no token of its input"):
        check_objective(_spec(loss_on="all"), _card("encoder_decoder", 1280))


def test_a_model_too_large_for_the_machine_is_refused() -> None:
    """Better now than by the kernel's out-of-memory killer at step 1."""
    check_memory(_spec(), _sizes(10**6), 1, torch.device("cpu"))

    with pytest.raises(InsufficientMemory, match="need at least"):
        check_memory(_spec(), _sizes(10**12), 2, torch.device("cpu"))


def test_a_disk_too_small_for_two_checkpoints_is_refused(tmp_path: Path) -> None:
    """One is kept while the next is written; the figures are in the error."""
    check_disk(_spec(), _sizes(10**6), tmp_path)

    with pytest.raises(DiskFull) as refused:
        check_disk(_spec(), _sizes(10**13), tmp_path)
    assert refused.value.values["needed_bytes"] > refused.value.values["free_bytes"]
