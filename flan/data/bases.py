"""Where a job's model comes from: a preset, a directory or the hub's local cache → an artifact of the store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from flan.card import CARD_FILE, ModelCard, read_card
from flan.errors import FlanError, NotFound
from flan.store import Store

PRESET_PREFIX = "preset:"


class Preset(NamedTuple):
    """The shape of a network from scratch; flan/model/presets.py builds it."""

    architecture: Literal["decoder", "encoder_decoder"]
    """decoder: a Llama. encoder_decoder: a T5 with `layers` on each side."""
    hidden: int
    layers: int
    heads: int
    vocabulary: int
    """Entries of the tokenizer that is trained for it, where the spec does not say."""


PRESETS: Mapping[str, Preset] = {
    f"{PRESET_PREFIX}{name}": preset
    for name, preset in {
        "nano": Preset("decoder", hidden=192, layers=4, heads=6, vocabulary=4_096),
        "micro": Preset("decoder", hidden=320, layers=6, heads=5, vocabulary=8_192),
        "mini": Preset("decoder", hidden=512, layers=6, heads=8, vocabulary=16_384),
        "small": Preset("decoder", hidden=640, layers=8, heads=10, vocabulary=32_768),
        "base": Preset("decoder", hidden=768, layers=15, heads=12, vocabulary=32_768),
        "medium": Preset("decoder", hidden=1_024, layers=16, heads=16, vocabulary=32_768),
        "large": Preset("decoder", hidden=1_152, layers=23, heads=18, vocabulary=32_768),
        "nano-t5": Preset("encoder_decoder", hidden=192, layers=3, heads=6, vocabulary=4_096),
        "micro-t5": Preset("encoder_decoder", hidden=320, layers=3, heads=5, vocabulary=8_192),
        "mini-t5": Preset("encoder_decoder", hidden=512, layers=3, heads=8, vocabulary=16_384),
        "small-t5": Preset("encoder_decoder", hidden=640, layers=4, heads=10, vocabulary=32_768),
        "base-t5": Preset("encoder_decoder", hidden=768, layers=7, heads=12, vocabulary=32_768),
        "medium-t5": Preset("encoder_decoder", hidden=1_024, layers=7, heads=16, vocabulary=32_768),
        "large-t5": Preset("encoder_decoder", hidden=1_024, layers=12, heads=16, vocabulary=32_768),
    }.items()
}
"""Name → shape, smallest first: a ladder for the ablation over sizes (Wei et al. 2022, 4.2)."""
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
