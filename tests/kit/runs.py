"""Tune runs small enough for a test: two tasks, a network of two layers, a resolved spec, a run directory."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import T5ForConditionalGeneration

from flan import rundir
from flan.data.resolve import resolve
from flan.data.rows import Places
from flan.model.export import export
from flan.model.load import Model
from flan.rundir import RunSettings
from flan.spec import TuneSpec, parse
from flan.store import Store
from tests.kit.models import tiny_model
from tests.kit.tasks import KitLibrary, make_rows, make_task, write_hub

TINY: dict[str, Any] = {
    "kind": "tune",
    "name": "tiny",
    "base": "tiny",
    "steps": 8,
    "tokens_per_step": 7 * 96,
    "input_length": 64,
    "target_length": 32,
    "optimizer": {"name": "adamw", "learning_rate": 1e-3, "gradient_clip": 1.0},
    "precision": "fp32",
    "checkpoint_every": 3,
    "log_every": 1,
    "resources": {"device": "cpu"},
}
"""Seven packs a step: they divide among no number of ranks or micro-batches that a test uses."""


class TinyRuns:
    """Runs that share a store, data and base models under one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.data = folder / "data"
        self.store = Store(folder / "store")
        mood = make_rows(60)
        topic = [
            {"text": row["text"] + "river road", "label": row["label"]} for row in make_rows(40, words=9)
        ]
        tasks = [make_task("mood"), make_task("topic", cluster="topics")]
        for task, rows in zip(tasks, (mood, topic), strict=True):
            write_hub(self.data, task.name, {"train": rows, "validation": rows[:4]})
        self._library = KitLibrary(tasks, models=self._models())

    def resolve(self, **changes: Any) -> TuneSpec:
        """A resolved spec: TINY with some fields changed."""
        spec = parse(TuneSpec, TINY | changes)
        resolved = resolve(spec, self._library, Places(self.data, self.store)).spec
        assert isinstance(resolved, TuneSpec)
        return resolved

    def prepare(
        self, spec: TuneSpec, name: str, attempt: int = 1, resume_from: str | None = None, **fields: Any
    ) -> Path:
        """The run directory of an attempt at job `name`; attempts of a job share its checkpoints.

        `fields` are further settings of the run.
        """
        directory = self._folder / name / f"attempt-{attempt}"
        settings = RunSettings(
            attempt=attempt,
            store=str(self.store.root),
            data=str(self.data),
            checkpoints=str(self._folder / name / "checkpoints"),
            resume_from=resume_from,
            ranks=spec.resources.ranks,
            **fields,
        )
        rundir.prepare(directory, spec, settings)
        return directory

    def _models(self) -> dict[str, Any]:
        models = {
            "tiny": tiny_model("decoder"),
            "tiny-t5": tiny_model("encoder_decoder"),
            "tiny-t5-dropout": _with_dropout(tiny_model("encoder_decoder")),
        }
        return {name: (self._stored(name, model), model.card) for name, model in models.items()}

    def _stored(self, name: str, model: Model) -> str:
        directory = self._folder / "models" / name
        export(model.network, model.tokenizer, model.card, directory)
        return self.store.put_tree(directory)


def _with_dropout(model: Model) -> Model:
    config = model.network.config
    config.dropout_rate = 0.1
    with torch.random.fork_rng(devices=[]):
        network = T5ForConditionalGeneration(config)
    network.load_state_dict(model.network.state_dict())
    return model._replace(network=network.eval())


def metrics(directory: Path, name: str = "train/loss") -> dict[int, float]:
    """Step → value, as far as the run has told, where it has told of `name`."""
    told = (e.data for e in rundir.read_events(directory / rundir.EVENTS, after=0) if e.type == "metrics")
    return {data["step"]: data["values"][name] for data in told if name in data["values"]}


def data_of(directory: Path, type_: str) -> list[dict[str, Any]]:
    """What the events of one type say, in order."""
    return [e.data for e in rundir.read_events(directory / rundir.EVENTS, after=0) if e.type == type_]


def outcome(directory: Path) -> dict[str, Any]:
    """outcome.json as it stands."""
    return dict(json.loads((directory / rundir.OUTCOME).read_text()))
