"""What one rank does: read the run directory, carry out the spec, say how it ended.

`python -m flan run DIR` is all that a worker, torchrun or a person starts. Rank and world come from the
environment (RANK, WORLD_SIZE, …); without them this is the only rank.
"""

import faulthandler
import os
import signal
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from flan import rundir
from flan.processes import DIE_WITH_PARENT, die_with_parent
from flan.rundir import EXIT_STOPPED, EventWriter, Outcome
from flan.spec import EvaluateSpec, ServeSpec, Spec

Ending = Literal["done", "stopped"]


def run(directory: Path) -> int:
    """Carry out the spec in `directory`; the exit status: 0 done, 75 stopped as wished, 1 failed."""
    if os.environ.get(DIE_WITH_PARENT):
        die_with_parent()
    rank = int(os.environ.get("RANK", "0"))
    is_first = rank == 0
    _tell_stacks(directory, rank)
    events = EventWriter(directory) if is_first else None
    try:
        ending = _carry_out(rundir.read_spec(directory), directory, events)
    except Exception as error:  # noqa: BLE001 - whatever it was, it is written down and ends the rank
        traceback.print_exc()
        # The first rank to fail knows why; the others only see their peer go away.
        if rundir.read_outcome(directory) is None:
            rundir.write_outcome(directory, rundir.failure(error))
        return 1
    finally:
        if events is not None:
            events.close()
    if is_first:
        rundir.write_outcome(directory, Outcome(status=ending))
    return EXIT_STOPPED if ending == "stopped" else 0


def _tell_stacks(directory: Path, rank: int) -> None:
    """From here on SIGUSR2 asks this process where each of its threads stands. Whatever they are in, it answers."""
    path = rundir.stacks_path(directory, rank)
    path.parent.mkdir(exist_ok=True)
    faulthandler.register(signal.SIGUSR2, file=path.open("ab"), all_threads=True)


def _carry_out(spec: Spec, directory: Path, events: EventWriter | None) -> Ending:
    # Imported here: only a rank pays for torch.
    if isinstance(spec, ServeSpec):
        from flan.serve.lifetime import serve

        assert events is not None, "a served model has one rank"
        return serve(spec, directory, events)
    if isinstance(spec, EvaluateSpec):
        from flan.evaluate.suite import evaluate
        from flan.train.ranks import PREPARE_TIMEOUT, meet, process_group

        ranks = meet(rundir.read_settings(directory).device, spec.resources.threads)
        # Ranks that have their rows behind them wait until rank 0 has worked out figures.
        group = process_group(ranks, PREPARE_TIMEOUT) if spec.zero_stage == 3 else nullcontext()
        with group:
            return evaluate(spec, directory, events, ranks)
    from flan.train.tune import tune

    return tune(spec, directory, events)
