"""From plain text to an instructed model without any download: by the command line, and by HTTP alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flan.model.load import load_model
from tests.kit.platform import Platform

DATA = os.environ.get("FLAN_DATA")
pytestmark = pytest.mark.timeout(900)
SHORT: dict[str, Any] = {
    "tokens_per_step": 1_024,
    "input_length": 96,
    "target_length": 32,
    "optimizer": {"name": "adamw", "learning_rate": 2e-3},
    "precision": "fp32",
    "resources": {"device": "cpu"},
}
BASES = ("preset:nano", "preset:nano-t5")
STORIES = [f"once there was a dog called number {i}. it ran to the river and back again." for i in range(400)]


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("base", BASES)
def test_a_corpus_and_then_instructions_by_the_command_line(tmp_path: Path, base: str) -> None:
    """Real texts and real rows: the loss falls, and the last card knows both."""
    texts = [{"name": "tinystories_sample", "documents": "lines"}, {"name": "wikitext-2.valid"}]
    read = {"name": "reader", "base": base, "objective": "lm", "corpus": {"texts": texts}, "steps": 12}
    _tune(tmp_path, "lm", read)
    told = {"name": "told", "base": str(tmp_path / "lm" / "run" / "model"), "steps": 4}
    _tune(tmp_path, "tune", told | {"mixture": {"tasks": ["sst2", "trec"]}})

    losses = _losses(tmp_path / "lm")
    assert losses[12] < losses[1] - 0.2
    lineage = load_model(tmp_path / "tune" / "run" / "model").card.lineage
    assert lineage.corpora == ("tinystories_sample", "wikitext-2.valid")
    assert (lineage.tasks_seen, lineage.steps) == (("sst2", "trec"), 16)


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
def test_an_uploaded_text_and_then_instructions_by_http(platform: Platform, base: str) -> None:
    """POST /datasets, POST /jobs twice; the second starts from what the first left."""
    rows = "".join(json.dumps({"story": story}) + "\n" for story in STORIES)
    upload = platform.http.post(
        "/datasets", params={"name": "stories", "split": "train", "format": "jsonl"}, content=rows
    )
    assert upload.status_code in (200, 201), upload.text
    text = {"uploaded": "stories", "column": "story"}
    well_read, well_told = (f"{what}-{base.removeprefix('preset:')}" for what in ("read", "told"))
    read = {"kind": "tune", "name": well_read, "base": base, "objective": "lm", "steps": 4}
    first = platform.submit(read | SHORT | {"corpus": {"texts": [text]}})
    assert platform.until_ended(first)["state"] == "succeeded"
    told = {"kind": "tune", "name": well_told, "base": f"{well_read}@1", "steps": 2}
    second = platform.submit(
        told | SHORT | {"mixture": {"collection": "synthetic", "tasks": ["shop_reviews"]}}
    )
    assert platform.until_ended(second)["state"] == "succeeded"

    lineage = platform.get(f"/models/{well_told}@1")["card"]["lineage"]
    assert (lineage["corpora"], lineage["tasks_seen"]) == (["stories"], ["shop_reviews"])
    assert lineage["steps"] == 6


def _tune(folder: Path, name: str, spec: dict[str, Any]) -> None:
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps({"kind": "tune", "log_every": 1} | SHORT | spec))
    command = ["tune", "-f", str(file), "--out", str(folder / name), "--data", str(DATA)]
    done = subprocess.run([sys.executable, "-m", "flan", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _losses(out: Path) -> dict[int, float]:
    lines = (out / "run" / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return {e["data"]["step"]: e["data"]["values"]["train/loss"] for e in events if e["type"] == "metrics"}
