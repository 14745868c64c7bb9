"""A run directory for an evaluation of a tiny model on tasks of the synthetic collection."""

import json
from pathlib import Path
from typing import Any

import torch
from torch.distributed import HashStore

from flan import rundir
from flan.evaluate.results import Results
from flan.evaluate.samples import SAMPLES, read_samples
from flan.evaluate.suite import RESULTS, evaluate
from flan.local import prepare
from flan.model.export import export
from flan.model.load import Architecture
from flan.rundir import Event, EventWriter
from flan.spec import EvaluateSpec, parse, parse_spec
from flan.train.ranks import Ranks
from tests.kit.models import tiny_model


def prepared(
    folder: Path, architecture: Architecture = "decoder", **fields: Any
) -> tuple[EvaluateSpec, Path]:
    """A resolved spec and its run directory. The model is written once per folder."""
    model = folder / architecture
    if not model.exists():
        export(*tiny_model(architecture), model)
    defaults = {"tasks": ["shop_reviews"], "limit": 6, "input_length": 400, "max_new_tokens": 4}
    spec = parse_spec(
        {"kind": "evaluate", "name": "e", "model": str(model), "collection": "synthetic"} | defaults | fields
    )
    directory = prepare(spec, folder / f"out-{spec.digest()[:12]}", None)
    resolved = rundir.read_spec(directory)
    assert isinstance(resolved, EvaluateSpec)
    return resolved, directory


def carried_out(folder: Path, architecture: Architecture = "decoder", **fields: Any) -> Path:
    """The run directory of an evaluation that was carried out to its end."""
    spec, directory = prepared(folder, architecture, **fields)
    assert run(spec, directory) == "done"
    return directory


def run(spec: EvaluateSpec, directory: Path) -> str:
    """Carry out an evaluation in this process; how it ended."""
    events = EventWriter(directory)
    try:
        return evaluate(spec, directory, events, Ranks(0, 1, torch.device("cpu"), HashStore()))
    finally:
        events.close()


def results_of(directory: Path) -> Results:
    """results.json."""
    return parse(Results, json.loads((directory / RESULTS).read_text()))


def samples_of(directory: Path) -> list[dict[str, Any]]:
    """Every question and answer, in order."""
    return [each.sample for each in read_samples(directory / SAMPLES)]


def events_of(directory: Path) -> list[Event]:
    """Everything the rank has said."""
    return list(rundir.read_events(directory / rundir.EVENTS, after=0))
