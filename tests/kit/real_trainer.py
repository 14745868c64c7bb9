"""The real trainer, for the fault tests: DeepSpeed ranks on generated rows, in a run of ten seconds."""

from typing import Any

from flan.spec import TuneSpec, parse
from flan.store import Store, file_sha256
from workers.ledger.tables import ModelVersion

STEPS, CHECKPOINT_EVERY = 60, 8
"""A step takes a tenth of a second: wherever it is struck, there is more to come, and something to go on from."""
TUNE: dict[str, Any] = {
    "kind": "tune",
    "name": "undisturbed",
    "base": "preset:nano",
    "mixture": {
        "collection": "synthetic",
        "tasks": ["shop_reviews", "question_kinds", "word_senses", "rule_pairs"],
        "hold_out": {"clusters": ["entailment"]},
    },
    "steps": STEPS,
    "tokens_per_step": 4 * 160,
    "input_length": 128,
    "target_length": 32,
    "precision": "fp32",
    "optimizer": {"name": "adamw", "learning_rate": 1e-3},
    "checkpoint_every": CHECKPOINT_EVERY,
    "log_every": 1,
    "max_retries": 8,
    "resources": {"ranks": 2, "device": "cpu"},
}


class RealTrainer:
    """What a worker runs when nobody tells it otherwise."""

    name = "real"

    @property
    def environment(self) -> dict[str, str]:
        return {}

    def spec(self, **fields: Any) -> TuneSpec:
        """As people hand it in: the platform resolves it."""
        return parse(TuneSpec, TUNE | fields)

    def weights(self, store: Store, model: ModelVersion) -> str:
        return file_sha256(store.verify_tree(model.digest) / "model.safetensors")
