"""What ranks leave on disk, looked at with suspicion: checkpoints, models, results."""

import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

from flan.card import read_card
from flan.errors import FlanError
from flan.evaluate.samples import SAMPLES
from flan.store import MANIFEST, Store, file_sha256
from workers.ledger.models import NewModel

RESULTS_CAP_BYTES = 64 * 2**20


class CheckpointCorrupt(FlanError):
    """The bytes of a checkpoint are not those that were announced."""

    code: ClassVar[str] = "checkpoint_corrupt"
    blame = "infra"


class BadOutput(FlanError):
    """A rank announced a file or folder that is not in its run directory."""

    code: ClassVar[str] = "bad_output"
    blame = "system"


def verify_checkpoint(directory: Path, manifest_sha256: str) -> None:
    """Read every byte of a checkpoint again. Raises CheckpointCorrupt."""
    name = directory.name
    try:
        text = (directory / MANIFEST).read_bytes()
        if hashlib.sha256(text).hexdigest() != manifest_sha256:
            raise CheckpointCorrupt(f"{name}: the manifest is not the one that was announced")
        for file, entry in json.loads(text).items():
            path = _inside(directory, file)
            if path.stat().st_size != entry["size_bytes"] or file_sha256(path) != entry["sha256"]:
                raise CheckpointCorrupt(f"{name}: {file} was changed")
    except (OSError, BadOutput) as error:
        raise CheckpointCorrupt(f"{name}: {error}") from error


def sweep_checkpoints(folder: Path, known: Collection[str]) -> None:
    """Remove what lies in the checkpoints folder and does not count: halves that a kill left, retired ones.

    Only while no rank of the job runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in known:
            remove(path)


def remove(path: Path) -> None:
    """Remove a file or a whole folder; what is gone already is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def collect_model(store: Store, run_directory: Path, announced: dict[str, Any]) -> NewModel:
    """Put a model that a rank wrote (the data of `model.written`) into the store. Raises BadOutput."""
    directory = _inside(run_directory, str(announced["path"]))
    if not directory.is_dir():
        raise BadOutput(f"{announced['path']!r} is not a folder of the run directory")
    return NewModel(announced["name"], announced["role"], store.put_tree(directory), read_card(directory))


def read_results(run_directory: Path, announced: dict[str, Any]) -> dict[str, Any]:
    """The results document of an evaluation (the data of `results.written`). Raises BadOutput."""
    path = _inside(run_directory, str(announced["path"]))
    if not path.is_file() or path.stat().st_size > RESULTS_CAP_BYTES:
        raise BadOutput(f"{announced['path']!r} is no file of at most {RESULTS_CAP_BYTES} bytes")
    results: dict[str, Any] = json.loads(path.read_text())
    return results


def collect_samples(store: Store, run_directory: Path, results: dict[str, Any] | None) -> None:
    """Put the questions and answers that `results` name by digest into the store. Raises BadOutput."""
    if not results or not results.get("samples"):
        return
    directory = _inside(run_directory, SAMPLES)
    if not directory.is_dir() or store.put_tree(directory) != results["samples"]:
        raise BadOutput(f"{SAMPLES!r} is not the folder that the results name: {results['samples']}")


def _inside(directory: Path, name: str) -> Path:
    """The path `name` below `directory`; never one outside, not even through a link."""
    path = (directory / name).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise BadOutput(f"{name!r} leads out of {directory.name}")
    return path
