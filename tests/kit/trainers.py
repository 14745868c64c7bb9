"""What a fault test must know of the program that it kills: how it starts, what to ask of it, what came out."""

import json
import sys
from pathlib import Path
from typing import Any, Protocol

from flan.spec import TuneSpec, parse
from flan.store import Store
from workers.ledger.tables import ModelVersion

FAKE_RANK = Path(__file__).parent / "fake_rank.py"


class Trainer(Protocol):
    """A program that tunes. Fault tests take it as a fixture and know nothing else of it."""

    name: str

    @property
    def environment(self) -> dict[str, str]:
        """What a worker must be told to run it."""

    def spec(self, **fields: Any) -> TuneSpec:
        """A resolved spec of a run short enough for a test; `fields` replace its own."""

    def weights(self, store: Store, model: ModelVersion) -> str:
        """A digest of the weights of a model, equal exactly when all of them are."""


class FakeTrainer:
    """tests/kit/fake_rank.py: a step takes no time, and it can be told what is to go wrong."""

    name = "fake"

    @property
    def environment(self) -> dict[str, str]:
        # -P: the modules beside it must not stand in for those of the standard library.
        return {"FLAN_RANK_COMMAND": f"{sys.executable} -P {FAKE_RANK}"}

    def spec(self, **fields: Any) -> TuneSpec:
        asked = {"kind": "tune", "name": "chain", "base": "preset:nano", "steps": 40, "checkpoint_every": 10}
        return parse(TuneSpec, asked | fields)

    def weights(self, store: Store, model: ModelVersion) -> str:
        return (store.verify_tree(model.digest) / "weights.txt").read_text()


def faults(*wanted: dict[str, Any], control: Path | None = None) -> dict[str, dict[str, str]]:
    """The field of a spec that makes the fake rank go wrong: spec(**faults({"do": "kill9", "at": 7}))."""
    metadata = {"faults": json.dumps(wanted)}
    return {"metadata": metadata | ({"control": str(control)} if control else {})}
