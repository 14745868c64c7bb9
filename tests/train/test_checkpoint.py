"""A checkpoint is whole and of this run, or it is not used."""

import json
from pathlib import Path

import pytest

from flan.data.batches import StreamState
from flan.rundir import RunSettings
from flan.spec import TuneSpec, canonical_json, parse
from flan.store import MANIFEST, tree_manifest
from flan.train.checkpoint import (
    STATE,
    CheckpointCorrupt,
    CheckpointMismatch,
    CheckpointState,
    names,
    sweep,
    verify,
)
from flan.train.progress import Progress
from flan.train.resume import choose

SPEC = parse(TuneSpec, {"name": "t", "base": "preset:nano"})


def _write(folder: Path, step: int, attempt: int = 1, *, spec: TuneSpec = SPEC, world_size: int = 1) -> Path:
    directory = folder / f"step-{step:08d}-a{attempt}"
    (directory / "engine").mkdir(parents=True)
    (directory / "engine" / "weights.pt").write_bytes(bytes([step]) * 64)
    state = CheckpointState(
        progress=Progress(step=step),
        spec=spec,
        world_size=world_size,
        micro_batch=1,
        accumulation="float32",
        environment={},
        stream=StreamState(),
    )
    (directory / STATE).write_text(state.model_dump_json())
    (directory / MANIFEST).write_text(canonical_json(tree_manifest(directory)))
    return directory


def _choose(folder: Path, resume_from: str | None, warnings: list[str] | None = None) -> Path | None:
    settings = RunSettings(attempt=3, store="", checkpoints=str(folder), resume_from=resume_from)
    told = warnings if warnings is not None else []
    return choose(settings, SPEC, 1, lambda code, _: told.append(code))


def test_newest_is_the_highest_step_then_the_latest_attempt(tmp_path: Path) -> None:
    """A step written again by a later attempt comes before the first; steps sort as numbers."""
    for step, attempt in ((9, 1), (10, 1), (10, 2), (2, 3)):
        _write(tmp_path, step, attempt)
    (tmp_path / "step-00000099-a1.tmp").mkdir()

    assert [name.removeprefix("step-000000") for name in names(tmp_path)] == [
        "10-a2",
        "10-a1",
        "09-a1",
        "02-a3",
    ]


DAMAGES = ("truncated", "changed, same length", "missing shard", "added", "no manifest", "torn manifest")


def _damage(directory: Path, damage: str) -> None:
    weights, manifest = directory / "engine" / "weights.pt", directory / MANIFEST
    content = weights.read_bytes()
    if damage == "truncated":
        weights.write_bytes(content[:-1])
    elif damage == "changed, same length":
        weights.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif damage == "missing shard":
        weights.unlink()
    elif damage == "added":
        (directory / "engine" / "extra.pt").write_bytes(b"")
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text()[:-9])


@pytest.mark.parametrize("damage", DAMAGES)
def test_any_damage_is_found_before_a_byte_is_used(tmp_path: Path, damage: str) -> None:
    """Every file is there with its bytes, and no other; else the latest is the one before, and the run says so."""
    good, broken = _write(tmp_path, 5), _write(tmp_path, 6)
    verify(broken)
    _damage(broken, damage)
    warnings: list[str] = []

    with pytest.raises(CheckpointCorrupt):
        verify(broken)
    assert _choose(tmp_path, "latest", warnings) == good
    assert warnings == ["checkpoint_corrupt"]


def test_a_broken_checkpoint_asked_for_by_name_is_an_error(tmp_path: Path) -> None:
    """Whoever names a checkpoint does not want another."""
    _write(tmp_path, 5)
    broken = _write(tmp_path, 6)
    (broken / STATE).write_text("{}")

    with pytest.raises(CheckpointCorrupt):
        _choose(tmp_path, broken.name)


def test_without_checkpoints_a_run_starts_anew(tmp_path: Path) -> None:
    """No checkpoint, or none wanted: from step 0."""
    assert _choose(tmp_path, "latest") is None
    _write(tmp_path, 5)
    assert _choose(tmp_path, None) is None


def test_a_checkpoint_of_another_spec_is_refused(tmp_path: Path) -> None:
    """It is never passed over: the run would start anew beside it. The error says what differs."""
    optimizer = SPEC.optimizer.model_copy(update={"learning_rate": 0.5})
    _write(tmp_path, 5, spec=SPEC.model_copy(update={"steps": 7, "optimizer": optimizer}))

    with pytest.raises(CheckpointMismatch, match="differs in /optimizer/learning_rate, /steps") as refused:
        _choose(tmp_path, "latest")
    assert refused.value.values == {"differing": ["/optimizer/learning_rate", "/steps"]}


def test_a_field_added_since_has_its_default(tmp_path: Path) -> None:
    """A newer version's spec is the same spec: runs go on after an upgrade."""
    directory = _write(tmp_path, 5)
    state = json.loads((directory / STATE).read_text())
    del state["spec"]["pack_target_length"]
    (directory / STATE).write_text(json.dumps(state))
    (directory / MANIFEST).unlink()
    (directory / MANIFEST).write_text(canonical_json(tree_manifest(directory)))

    assert _choose(tmp_path, "latest") == directory


def test_a_checkpoint_of_another_number_of_ranks_is_refused(tmp_path: Path) -> None:
    """With both numbers and the way out, whether the spec says the number or whoever started the ranks."""
    theirs = SPEC.model_copy(update={"resources": SPEC.resources.model_copy(update={"ranks": 2})})
    for folder, spec in (("same", SPEC), ("theirs", theirs)):
        _write(tmp_path / folder, 5, spec=spec, world_size=2)

        with pytest.raises(CheckpointMismatch, match="written by 2 ranks, this run has 1") as refused:
            _choose(tmp_path / folder, "latest")
        assert refused.value.values == {"checkpoint_ranks": 2, "ranks": 1}
        assert "go on with 2 (resources.ranks)" in str(refused.value.hint)
        assert "a new job whose base is the model it writes" in str(refused.value.hint)


def test_sweeping_removes_only_what_was_left_half_written(tmp_path: Path) -> None:
    """Finished checkpoints stay, and so does whatever a later attempt is writing."""
    _write(tmp_path, 5)
    for name in ("step-00000006-a1.tmp", "step-00000007-a3.tmp", "step-00000008-a4.tmp", "notes.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_text(json.dumps(name))
    sweep(tmp_path, 3)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "notes.tmp",
        "step-00000005-a1",
        "step-00000008-a4.tmp",
    ]
