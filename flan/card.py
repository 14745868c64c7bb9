"""What a model is: the document `flan.json` that lies beside its weights.

It travels with every export and says how text becomes token ids (the render contract) and what the model
has been trained on (its lineage), so that serving cannot drift from training and an evaluation can say
whether a task was unseen.
"""

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from flan.errors import NotFound
from flan.spec import Document, Name, Sha256, parse

CARD_FILE = "flan.json"
RENDERER_VERSION = 1
"""Raised whenever the same row, template and tokenizer would give other token ids than before."""


class Contract(Document):
    """Everything between a rendered example and its token ids; its digest is the render contract.

    Decoder-only: prefix_ids + input + separator_ids + target + end_ids. Encoder-decoder: the encoder reads
    input + separator_ids; the decoder starts from prefix_ids and writes target + end_ids. Only ids: no text
    is ever searched for.
    """

    renderer: int = RENDERER_VERSION
    architecture: Literal["decoder", "encoder_decoder"]
    tokenizer: Sha256
    """Digest of the tokenizer's own serialisation."""
    prefix_ids: tuple[int, ...]
    separator_ids: tuple[int, ...] = Field(min_length=1)
    end_ids: tuple[int, ...] = Field(min_length=1)


class Lineage(Document):
    """What went into the weights. `None` for tasks means: unknown (a model made elsewhere)."""

    base: str
    """What was tuned: `preset:nano` or the name of a model."""
    tasks_seen: tuple[str, ...] | None
    clusters_seen: tuple[str, ...] | None
    families_seen: tuple[str, ...] = ()
    """Families of the tasks it was tuned on here: they outlive a task's name."""
    spec: Sha256 | None = None
    """Digest of the resolved spec that made it."""
    steps: int = 0
    target_tokens: int = 0
    adjacency: dict[str, tuple[str, ...]] = {}


class ModelCard(Document):
    """`flan.json`."""

    format: Literal[1] = 1
    name: Name
    contract: Contract
    context_length: int
    """Longest sequence (decoder: input and target together), in tokens."""
    num_parameters: int
    lineage: Lineage


def read_card(directory: Path) -> ModelCard:
    """The card of the model in `directory`. Raises NotFound where there is none."""
    path = directory / CARD_FILE
    if not path.is_file():
        raise NotFound(f"{directory} has no {CARD_FILE}: it was not made by this platform")
    return parse(ModelCard, json.loads(path.read_text()))
