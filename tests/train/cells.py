"""The program of a rank that works through many small runs in one process group.

    python -m tests.train.cells LIST      LIST is the JSON of a list of Cells

A "tune" cell is a whole run in its run directory. A "gradient" cell sums the gradient of the first step and
leaves it there as `gradient.safetensors`. An "updates" cell has known gradients and leaves the weights they make
as `weights.safetensors`. Any may have a fault: something that breaks at one rank.
"""

import json
import math
import resource
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from flan import rundir
from flan.data.examples import Examples
from flan.data.resolve import open_pinned_rows, pinned_tasks
from flan.data.rows import Places
from flan.data.stream import Stream
from flan.errors import FlanError
from flan.model.masks import Batch
from flan.processes import die_with_parent
from flan.rundir import EventWriter
from flan.spec import Document, TuneSpec, parse
from flan.stopping import WishReader
from flan.store import Store
from flan.train.base import load_base
from flan.train.objective import Objective
from flan.train.optim import set_learning_rate
from flan.train.prepare import Run
from flan.train.ranks import Ranks, meet, process_group
from flan.train.saver import Writing
from flan.train.step import Sources, Told, accumulate, local_batches
from flan.train.tune import carry_out
from flan.train.zero import make_engine, trained_weights
from tests.train.adafactor_rule import UPDATES, Linear, gradients, rates


class Fault(Document):
    """What goes wrong at the last rank, when it has passed `calls` micro-batches through the network.

    loss_nan: the losses of the second task.
    disk_full: while its second checkpoint is written, however many steps that takes.
    slow_disk: at every rank, what is saved between `calls` and `until` micro-batches is written after them.
    """

    kind: Literal["loss_nan", "gradient_inf", "disk_full", "slow_disk", "out_of_memory"]
    calls: int
    until: int = 0


class Cell(Document):
    """One run of the matrix."""

    directory: str
    kind: Literal["tune", "gradient", "updates"] = "tune"
    fault: Fault | None = None


def main(cells: Path) -> None:
    """Be one rank of every cell, in order."""
    die_with_parent()
    ranks = meet("cpu")
    with process_group(ranks):
        for document in json.loads(cells.read_text()):
            _work(parse(Cell, document), ranks)


def _work(cell: Cell, ranks: Ranks) -> None:
    directory = Path(cell.directory)
    spec = rundir.read_spec(directory)
    assert isinstance(spec, TuneSpec)
    events = EventWriter(directory) if ranks.is_first else None
    run = Run(spec, directory, rundir.read_settings(directory), ranks, events)
    is_last = ranks.rank == ranks.world_size - 1
    fault = Breakage(cell.fault) if cell.fault and (is_last or cell.fault.kind == "slow_disk") else None
    try:
        if cell.kind == "gradient":
            _gradient(run)
        elif cell.kind == "updates":
            _updates(run)
        else:
            carry_out(run, WishReader(directory, reads_file=ranks.is_first), nullcontext())
    except FlanError as error:
        (directory / f"error-{ranks.rank}.json").write_text(rundir.failure(error).model_dump_json())
    finally:
        if fault is not None:
            fault.mend()
            (directory / f"touched-{ranks.rank}.json").write_text(json.dumps(fault.touched_weights()))


def _gradient(run: Run) -> None:
    # Imported here, after meet() has chosen the accelerator.
    from deepspeed.utils import safe_get_full_grad

    tasks = pinned_tasks(run.spec, run.store)
    rows = open_pinned_rows(run.spec, tasks, "train", Places(Path(run.settings.data or ""), run.store))
    base = load_base(run.spec, Store(Path(run.settings.store)), None)
    engine = make_engine(
        Objective(base.network, run.spec.precision, zero_stage=run.spec.zero_stage),
        run.spec,
        run.ranks.world_size,
    )
    with Stream.open(run.spec, tasks, rows, base.tokenizer, base.card.contract) as stream:
        step = stream.next_step()
    sources = Sources(Examples(run.spec, tasks, rows), tasks)
    mine = local_batches(step, sources, run.ranks, run.spec.settled_micro_batch)
    told = Told("run", Writing(0, 0, 0))
    result = accumulate(engine, run.ranks, mine, step.target_tokens, len(tasks), told)
    gradients = {
        name: _whole(weight, engine, safe_get_full_grad).clone()
        for name, weight in engine.module.named_parameters()
    }
    if run.events is not None:
        save_file(gradients, run.directory / "gradient.safetensors")
        run.events.append(
            "metrics",
            step=1,
            values={"train/loss": result.loss, "train/gradient_norm": result.gradient_norm},
        )


def _updates(run: Run) -> None:
    engine = make_engine(Linear(), run.spec, run.ranks.world_size)
    for step, rate in enumerate(rates(UPDATES)):
        set_learning_rate(engine.optimizer, rate)
        loss = engine({name: torch.from_numpy(gradient) for name, gradient in gradients(step).items()})
        engine.backward(loss, scale_wrt_gas=False)
        engine.step()
    weights = trained_weights(engine)
    if weights is not None:
        save_file(
            {name: weight.clone() for name, weight in weights.items()}, run.directory / "weights.safetensors"
        )


def _whole(weight: nn.Parameter, engine: Any, gather: Any) -> Tensor:
    gradient = weight.grad if engine.zero_optimization_stage() == 0 else gather(weight)
    assert isinstance(gradient, Tensor)
    return gradient


class Breakage:
    """A fault at work: strikes inside a forward pass, and remembers the weights as they were then."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._calls = 0
        self._counted: nn.Module | None = None
        self._module: nn.Module | None = None
        self._before: dict[str, Tensor] = {}
        self._checkpoints: set[Path] = set()
        self._disk_is_free = threading.Event()
        self._disk_is_free.set()
        self._save = torch.save
        torch.save = self._save_badly
        self._handle = register_module_forward_hook(self._strike)

    def mend(self) -> None:
        """From here on nothing breaks."""
        self._handle.remove()
        torch.save = self._save
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def touched_weights(self) -> list[str]:
        """The weights that have changed since it struck."""
        assert self._module is not None, "it never struck"
        now = self._module.state_dict()
        return [name for name, weight in self._before.items() if not torch.equal(weight, now[name])]

    def _strike(self, module: nn.Module, batches: tuple[Batch], loss: Tensor) -> Tensor | None:
        if not isinstance(module, Objective):
            return None
        if module is not self._counted:  # those before were tests of the network, not steps
            self._counted, self._calls = module, 0
        self._calls += 1
        if self._calls < self._fault.calls:
            return None
        if self._fault.kind == "slow_disk":
            self._strike_disk()
        if self._fault.kind == "out_of_memory":
            torch.empty(2**60)
        if self._module is None:
            self._module = module
            self._before = {name: weight.clone() for name, weight in module.state_dict().items()}
        if self._fault.kind == "loss_nan":
            (batch,) = batches
            is_second_N = batch["task_ids"][batch["loss_weights"] > 0] == 1
            module.token_losses = torch.where(is_second_N, math.nan, module.token_losses)
            return loss * math.nan
        if self._fault.kind == "gradient_inf":
            loss.register_hook(lambda gradient: gradient * math.inf)
        return None

    def _strike_disk(self) -> None:
        if self._calls < self._fault.until:
            self._disk_is_free.clear()
        else:
            self._disk_is_free.set()

    def _save_badly(self, part: Any, path: Path) -> None:
        self._disk_is_free.wait()
        self._checkpoints.update(parent for parent in path.parents if parent.suffix == ".tmp")
        if self._fault.kind == "disk_full" and len(self._checkpoints) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, resource.RLIM_INFINITY))
        self._save(part, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
