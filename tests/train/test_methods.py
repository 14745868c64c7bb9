"""What a method does not train stays as it was; what it trains is all that is checkpointed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from flan import rundir
from flan.data.plan import PromptedBase, make_plan
from flan.errors import InvalidDocument
from flan.model.adapters import merge, put_adapter
from flan.model.export import ADAPTER
from flan.model.load import load_model
from flan.model.soft_prompt import PROMPT_FILE
from flan.spec import TuneSpec, parse
from tests.kit.models import TINY_VOCABULARY
from tests.kit.runs import data_of, metrics
from tests.train.matrix import Matrix

# A fixture carries out a whole matrix.
pytestmark = pytest.mark.timeout(900)
STEPS, MIDDLE = 10, "step-00000006-a1"
LORA: dict[str, Any] = {"kind": "lora", "rank": 4, "dropout": 0.1}
PROMPT: dict[str, Any] = {"kind": "soft_prompt", "length": 4}
QUICK: dict[tuple[str, int], dict[str, Any]] = {
    ("lora", 1): {"base": "tiny", "method": LORA},
    ("prompt", 1): {"base": "tiny-t5", "method": PROMPT, "precision": "bf16"},
}
SLOW: dict[tuple[str, int], dict[str, Any]] = {
    (f"{method['kind']}-{base}-zero{stage}", 2): {"base": base, "method": method, "zero_stage": stage}
    for method in (LORA, PROMPT)
    for base in ("tiny", "tiny-t5")
    for stage in range(4)
}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    """One cell of each method, alone."""
    return _carried_out(tmp_path_factory.mktemp("quick"), QUICK)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    """Both methods on both architectures, at every ZeRO stage, over two ranks."""
    return _carried_out(tmp_path_factory.mktemp("full"), SLOW)


@pytest.mark.parametrize("cell", QUICK, ids=str)
def test_a_method_goes_on_from_a_checkpoint_as_if_undisturbed(quick: Matrix, cell: tuple[str, int]) -> None:
    """Every loss after it and every tensor that was trained, to the bit; and the loss falls."""
    _assert_resumed_exactly(quick, cell)


@pytest.mark.slow
@pytest.mark.parametrize("cell", SLOW, ids=str)
def test_every_stage_trains_every_method(full: Matrix, cell: tuple[str, int]) -> None:
    """The same over two ranks; what is not sharded and what is learn the same."""
    _assert_resumed_exactly(full, cell)
    name, num_ranks = cell
    whole = full.directory(f"{name[:-1]}0", num_ranks)
    assert metrics(full.directory(name, num_ranks)) == pytest.approx(metrics(whole), rel=1e-5)


def test_lora_leaves_a_merged_model_and_its_adapter(quick: Matrix) -> None:
    """The base with the adapter put on is the model, to the bit; its card says what it is."""
    directory = quick.directory("lora", 1)
    spec = _spec(directory)
    assert spec.pins is not None
    assert spec.pins.model is not None
    base, model = load_model(quick.runs.store.path(spec.pins.model)), load_model(directory / "model")
    before = {name: weight.clone() for name, weight in base.network.state_dict().items()}
    put_adapter(base.network, base.card.contract.tokenizer, directory / "model" / ADAPTER)
    merge(base.network)

    merged = model.network.state_dict()
    assert all(torch.equal(weight, merged[name]) for name, weight in base.network.state_dict().items())
    changed = {name for name, weight in merged.items() if not torch.equal(weight, before[name])}
    assert {name.split(".")[-2][-4:] for name in changed} == {"proj"}
    assert model.card.contract == base.card.contract
    assert model.card.lineage.steps == STEPS


def test_a_soft_prompt_leaves_its_base_as_it_was(quick: Matrix) -> None:
    """The same weights under another contract, whose ids the stream of training had too."""
    directory = quick.directory("prompt", 1)
    spec = _spec(directory)
    assert spec.pins is not None
    assert spec.pins.model is not None
    base = quick.runs.store.path(spec.pins.model)
    weights, theirs = (load_file(folder / "model.safetensors") for folder in (base, directory / "model"))

    assert all(torch.equal(weight, theirs[name]) for name, weight in weights.items())
    contract = load_model(directory / "model").card.contract
    assert contract.soft_prompt_ids == tuple(range(TINY_VOCABULARY, TINY_VOCABULARY + 4))
    assert load_model(base).card.contract.soft_prompt_ids == ()


def test_a_checkpoint_holds_what_is_trained_alone(quick: Matrix) -> None:
    """Frozen weights are the base's: they are read from it again."""
    for name, trained in (("lora", ("lora_A", "lora_B")), ("prompt", ("prompt",))):
        folder = quick.directory(name, 1).parent / "checkpoints" / MIDDLE / "engine"
        (states,) = folder.glob("*model_states.pt")
        module = torch.load(states, weights_only=False)["module"]
        assert {key.rpartition(".")[2] for key in module} == set(trained)


def test_a_model_with_a_soft_prompt_is_no_base(quick: Matrix) -> None:
    """Its prompt would belong to weights that are gone; the plan names the model to tune instead."""
    directory = quick.directory("prompt", 1)
    spec = _spec(directory)
    with pytest.raises(PromptedBase) as refused:
        make_plan(spec, {}, load_model(directory / "model").card)

    assert (refused.value.pointer, refused.value.hint) == (
        "/base",
        "tune tiny-encoder-decoder instead, which has the same weights",
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": {"kind": "soft_prompt", "length": 0}}, "must be at least 1"),
        ({"method": {"kind": "soft_prompt", "length": 63}, "input_length": 64}, "no room for an input"),
        ({"method": {"kind": "lora", "rank": 0}}, "must be at least 1"),
        ({"method": {"kind": "lora", "target_modules": []}}, "needs at least one"),
        ({"method": {"kind": "lora"}, "base": "preset:nano"}, "random"),
        ({"method": {"kind": "soft"}}, "soft"),
        ({"method": {"kind": "lora", "length": 3}}, "length"),
    ],
)
def test_methods_that_cannot_be_are_refused(change: dict[str, Any], said: str) -> None:
    """With the field, its value and the way out, before anything runs."""
    with pytest.raises(InvalidDocument) as refused:
        parse(TuneSpec, {"name": "t", "base": "tiny", **change})

    assert said in str(refused.value), refused.value.problems


def _carried_out(folder: Path, cells: dict[tuple[str, int], dict[str, Any]]) -> Matrix:
    matrix = Matrix(folder)
    optimizer = {"name": "adamw", "learning_rate": 1e-2}
    for (name, num_ranks), changes in cells.items():
        same = {"steps": STEPS, "checkpoint_every": 6, "optimizer": optimizer} | changes
        matrix.add(name, num_ranks, **same)
        matrix.add(name, num_ranks, resume_from=MIDDLE, **same)
    matrix.carry_out()
    return matrix


def _assert_resumed_exactly(matrix: Matrix, cell: tuple[str, int]) -> None:
    undisturbed, resumed = matrix.directory(*cell), matrix.directory(*cell, attempt=2)

    losses = metrics(undisturbed)
    assert losses[STEPS] < losses[1]
    assert data_of(resumed, "run.started")[0]["resumed_from"] == 6
    assert metrics(resumed) == {step: loss for step, loss in losses.items() if step > 6}
    for file in ("model.safetensors", f"{ADAPTER}/adapter_model.safetensors", PROMPT_FILE):
        if (undisturbed / "model" / file).is_file():
            ours, theirs = load_file(undisturbed / "model" / file), load_file(resumed / "model" / file)
            assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def _spec(directory: Path) -> TuneSpec:
    spec = rundir.read_spec(directory)
    assert isinstance(spec, TuneSpec)
    return spec
