"""What ranks leave on disk is believed only after it was read."""

import hashlib
import json
from pathlib import Path

import pytest

from flan.evaluate.samples import SAMPLES, SamplesWriter, read_samples
from flan.spec import canonical_json
from flan.store import MANIFEST, Store, tree_digest, tree_manifest
from tests.workers.test_models import model
from workers.outputs import (
    BadOutput,
    CheckpointCorrupt,
    collect_model,
    collect_samples,
    read_results,
    sweep_checkpoints,
    verify_checkpoint,
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of two files, as a rank writes it."""
    directory = tmp_path / "step-00000001-a1"
    (directory / "shards").mkdir(parents=True)
    (directory / "shards" / "0.bin").write_bytes(b"weights")
    (directory / "state.json").write_text("{}")
    (directory / MANIFEST).write_text(canonical_json(tree_manifest(directory)))
    return directory


def digest(checkpoint: Path) -> str:
    """sha256 of the manifest."""
    return hashlib.sha256((checkpoint / MANIFEST).read_bytes()).hexdigest()


def test_whole_checkpoint_is_sound(checkpoint: Path) -> None:
    """Nothing is wrong with it."""
    verify_checkpoint(checkpoint, digest(checkpoint))


@pytest.mark.parametrize("fault", ["same length", "shorter", "missing", "no manifest", "manifest", "outside"])
def test_any_change_is_found(checkpoint: Path, fault: str) -> None:
    """A byte changed, cut off, taken away; a manifest exchanged; a name that leads elsewhere."""
    told = digest(checkpoint)
    shard = checkpoint / "shards" / "0.bin"
    match fault:
        case "same length":
            shard.write_bytes(b"weighty")
        case "shorter":
            shard.write_bytes(b"weight")
        case "missing":
            shard.unlink()
        case "no manifest":
            (checkpoint / MANIFEST).unlink()
        case "manifest":
            (checkpoint / MANIFEST).write_text("{}")
        case "outside":
            secret = checkpoint.parent / "secret"
            secret.write_text("x")
            entry = {"sha256": hashlib.sha256(b"x").hexdigest(), "size_bytes": 1}
            (checkpoint / MANIFEST).write_text(json.dumps({"../secret": entry}))
            told = digest(checkpoint)

    with pytest.raises(CheckpointCorrupt, match="step-00000001-a1"):
        verify_checkpoint(checkpoint, told)


def test_sweep_leaves_what_counts(tmp_path: Path) -> None:
    """Halves, strangers and links go; the folder of a link stays."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = tmp_path / "checkpoints"
    for name in ("step-00000001-a1", ".step-00000002-a1.tmp", "step-00000003-a1"):
        (folder / name).mkdir(parents=True)
    (folder / "link").symlink_to(elsewhere)

    sweep_checkpoints(folder, {"step-00000001-a1"})

    assert [path.name for path in folder.iterdir()] == ["step-00000001-a1"]
    assert elsewhere.is_dir()


def test_model_is_taken_into_the_store(tmp_path: Path) -> None:
    """Weights and card, by digest."""
    directory = tmp_path / "run" / "model"
    directory.mkdir(parents=True)
    (directory / "flan.json").write_text(model().card.model_dump_json())
    store = Store(tmp_path / "store")

    made = collect_model(store, tmp_path / "run", {"name": "m", "role": "tuned", "path": "model"})

    assert made.card == model().card
    assert store.verify_tree(made.digest).is_dir()


@pytest.mark.parametrize("path", ["../outside", "/etc", "link", "missing"])
def test_nothing_outside_the_run_directory_is_taken(tmp_path: Path, path: str) -> None:
    """Neither by name nor through a link."""
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "outside").mkdir()
    (run / "link").symlink_to(tmp_path / "outside")

    with pytest.raises(BadOutput):
        collect_model(Store(tmp_path / "store"), run, {"name": "m", "role": "tuned", "path": path})
    with pytest.raises(BadOutput):
        read_results(run, {"path": path})


def test_samples_are_taken_into_the_store_by_the_digest_that_the_results_name(tmp_path: Path) -> None:
    """Others than those, or none at all, are no samples; results of before there were any name none."""
    run, store = tmp_path / "run", Store(tmp_path / "store")
    run.mkdir()
    with SamplesWriter(run / SAMPLES) as samples:
        samples.write([{"task": "t", "split": "test", "row": 0}])
    digest = tree_digest(run / SAMPLES)

    collect_samples(store, run, {"samples": digest})
    collect_samples(store, run, {"tasks": []})
    assert [each.sample["row"] for each in read_samples(store.verify_tree(digest))] == [0]
    with pytest.raises(BadOutput):
        collect_samples(store, run, {"samples": "0" * 64})
    with pytest.raises(BadOutput):
        collect_samples(store, tmp_path / "store", {"samples": digest})
