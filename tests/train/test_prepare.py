"""What a run proves before step 1, on its own network, lengths and examples."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from flan import rundir
from flan.data.examples import Examples
from flan.data.members import TRAIN
from flan.data.plan import ContextTooShort
from flan.data.resolve import open_pinned_rows, pinned_tasks
from flan.data.rows import Places
from flan.errors import DiskFull, FlanError
from flan.model.load import Model
from flan.model.room import InsufficientMemory
from flan.train.base import load_base
from flan.train.preflight import InputsNotLearned
from flan.train.prepare import Run, check
from flan.train.ranks import meet
from flan.train.selftest import SelfTestFailed
from tests.kit.models import TINY_CONTEXT, TINY_VOCABULARY
from tests.kit.runs import TinyRuns


def _as_it_is(_: Model) -> None:
    """Nothing is wrong."""


def _leak(model: Model) -> None:
    """Each place sees all others of its pack."""

    def add_mean(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        return output + output.mean(dim=1, keepdim=True)

    for module in model.network.modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings == TINY_VOCABULARY:
            module.register_forward_hook(add_mean)


def test_a_run_that_can_begin_passes(tmp_path: Path) -> None:
    """The same run as below, with nothing wrong."""
    _check(tmp_path, _as_it_is)


@pytest.mark.parametrize(
    ("error", "break_", "changes"),
    [
        (ContextTooShort, _as_it_is, {"input_length": TINY_CONTEXT}),
        (InputsNotLearned, _as_it_is, {"base": "tiny-t5", "loss_on": "all"}),
        (SelfTestFailed, _leak, {}),
        (SelfTestFailed, _leak, {"base": "tiny-t5"}),
    ],
)
def test_a_run_that_would_teach_other_things_does_not_begin(
    tmp_path: Path, error: type[FlanError], break_: Callable[[Model], None], changes: dict[str, Any]
) -> None:
    """The checks are not only there: a run asks them, and ends before its first step."""
    with pytest.raises(error):
        _check(tmp_path, break_, **changes)


@pytest.mark.parametrize(
    ("error", "look", "found"),
    [
        (InsufficientMemory, "flan.model.room.psutil.virtual_memory", {"total": 200_000}),
        (DiskFull, "flan.train.preflight.shutil.disk_usage", {"free": 200_000}),
    ],
)
def test_a_run_that_cannot_hold_its_states_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[FlanError], look: str, found: dict[str, int]
) -> None:
    """On a machine with two hundred kilobytes of memory, or of disk."""
    monkeypatch.setattr(look, lambda *_: SimpleNamespace(**found))

    with pytest.raises(error):
        _check(tmp_path, _as_it_is)


def _check(folder: Path, break_: Callable[[Model], None], **changes: Any) -> None:
    runs = TinyRuns(folder)
    # Changed after it was resolved: what a job is refused for when it is handed in would stop it before.
    base = changes.pop("base", "tiny")
    spec = runs.resolve(base=base).model_copy(update=changes)
    directory = runs.prepare(spec, "job")
    run = Run(spec, directory, rundir.read_settings(directory), meet("cpu"), None)
    tasks = pinned_tasks(spec, runs.store)
    rows = open_pinned_rows(spec, tasks, TRAIN, Places(runs.data, runs.store))
    model = load_base(spec, runs.store, None)
    break_(model)
    check(run, model, Examples(spec, tasks, rows))
