"""Compiled layers learn what others learn."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from flan.data.packing import pack_batch
from flan.data.window import Lengths
from flan.model.masks import to_tensors
from flan.train.compiled import compile_layers, lacks_compiler
from flan.train.objective import Objective
from flan.train.selftest import check_isolation
from tests.kit.models import tiny_model
from tests.train.test_objective import _examples as some_examples

CPU = torch.device("cpu")


@pytest.mark.slow
# A C++ compiler works for it, beside whatever else the machine does.
@pytest.mark.timeout(900)
# PyTorch's compiler warns of its own affairs.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_layers_learn_the_same(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses and gradients within rounding; isolation still holds; one program, whatever a pack holds."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    tolerance = {"fp32": 1e-4, "bf16": 5e-2}[precision]
    models = [tiny_model("decoder"), tiny_model("decoder")]
    compile_layers(models[1].network)
    counters.clear()
    objectives = [Objective(model.network, precision) for model in models]
    before = counters["stats"]["unique_graphs"]
    for num_examples in (3, 1, 2):
        packs = pack_batch([some_examples()[:num_examples]], Lengths(44, 0), models[0].card.contract)
        losses = [objective.train()(to_tensors(packs)) for objective in objectives]
        for loss in losses:
            loss.backward()  # type: ignore[no-untyped-call]
        assert losses[1].item() == pytest.approx(losses[0].item(), rel=tolerance)
    assert counters["stats"]["unique_graphs"] == before + 1

    gradients: list[dict[str, Any]] = [
        {name: weight.grad for name, weight in model.network.named_parameters()} for model in models
    ]
    for name, expected in gradients[0].items():
        assert (gradients[1][name] - expected).norm() <= tolerance * expected.norm(), name
    check_isolation(models[1], precision, CPU)


def test_a_machine_without_a_compiler_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said what is missing, and what to do."""
    monkeypatch.setenv("CXX", "no-such-compiler")

    assert "no-such-compiler" in (lacks_compiler(CPU) or "")
    assert lacks_compiler(torch.device("meta")) is None
