"""Where a job's model comes from: a preset, a directory or the hub's local cache → an artifact of the store."""

from pathlib import Path

from flan.card import CARD_FILE, ModelCard, read_card
from flan.errors import FlanError, NotFound
from flan.store import Store

PRESET_PREFIX = "preset:"
PRESETS = ("preset:nano", "preset:nano-t5")
"""The names flan/model/presets.py builds networks for: known here, where torch is not."""
# Weights as safetensors, configuration and tokenizer: nothing that could run code comes along.
MODEL_FILES = ("*.safetensors", "*.json", "*.model", "merges.txt", "vocab.txt", "*.jinja")


class UnsafeWeights(FlanError):
    """A model directory has no safetensors: pickled weights are never read."""

    code, blame = "unsafe_weights", "user"


class NotOnThisMachine(NotFound):
    """A model is neither a directory nor in the hub cache of this machine."""


def import_base(reference: str, store: Store) -> tuple[str | None, ModelCard | None]:
    """Digest and card of what `reference` names; (None, None) for a preset, no card for foreign weights.

    A directory, or a hub id whose files are in this machine's hub cache. Raises NotOnThisMachine, with the way
    out for who sits at this machine; NotFound, UnsafeWeights.
    """
    if reference.startswith(PRESET_PREFIX):
        if reference not in PRESETS:
            raise NotFound(f"no preset {reference!r}", hint=f"there are {', '.join(PRESETS)}")
        return None, None
    directory = model_directory(reference)
    if not (directory / "config.json").is_file():
        raise NotFound(f"{reference!r} has no config.json: it is not a model directory")
    if not any(directory.glob("*.safetensors")):
        raise UnsafeWeights(
            f"{reference!r} has no *.safetensors", hint="convert it: save_pretrained(safe_serialization=True)"
        )
    card = read_card(directory) if (directory / CARD_FILE).is_file() else None
    return store.put_tree(directory, only=MODEL_FILES, follow_links=True), card


def model_directory(reference: str) -> Path:
    """Where a model lies on this machine: a directory, or a hub id in the hub's cache.

    Raises NotOnThisMachine.
    """
    directory = Path(reference)
    return directory if directory.is_dir() else _cached(reference)


def _cached(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError) as error:
        # What the hub could not call a model is a path, and fetching it would find nothing.
        fetch = "" if isinstance(error, HFValidationError) else f", or fetch it first: hf download {hub_id}"
        raise NotOnThisMachine(
            f"no model {hub_id!r}: neither a directory nor in the hub cache of this machine",
            hint=f"give a directory, preset:nano{fetch}",
        ) from error
