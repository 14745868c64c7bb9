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
from flan.spec import Document, Name, PromptFormat, Sha256, parse

CARD_FILE = "flan.json"
RENDERER_VERSION = 1
"""Raised whenever the same row, template and tokenizer would give other token ids than before."""


class Contract(Document):
    """Everything between a rendered example and its token ids; its digest is the render contract.

    Decoder-only: prefix_ids + soft_prompt_ids + input + separator_ids + target + end_ids. Encoder-decoder: the
    encoder reads soft_prompt_ids + input + separator_ids; the decoder starts from prefix_ids and writes target
    + end_ids. Only ids: no text is ever searched for.
    """

    renderer: int = RENDERER_VERSION
    """Version of the code that turns rows into text; another one is another contract."""
    architecture: Literal["decoder", "encoder_decoder"]
    """decoder: input and target are one sequence. encoder_decoder: they are two."""
    tokenizer: Sha256
    """Digest of the tokenizer's own serialisation."""
    prefix_ids: tuple[int, ...]
    """Token ids before the input of a decoder, or before the target of an encoder-decoder."""
    soft_prompt_ids: tuple[int, ...] = ()
    """Ids of a learned prompt before the input: they have embeddings, no text, and are never written."""
    separator_ids: tuple[int, ...] = Field(min_length=1)
    """Token ids that end the input."""
    end_ids: tuple[int, ...] = Field(min_length=1)
    """Token ids that end the target; they are learnt, and scored."""


class ComparedRows(Document):
    """Held-out rows that the rows of a training run were compared with."""

    rows: Sha256
    """Digest of the rows."""
    num_rows: int
    """How many they are."""
    num_shared: int
    """How many share a passage with a row that was trained on."""


class SharedCount(Document):
    """What a training task and held-out rows shared, before any row was left out."""

    train: str
    """The training task."""
    held_out: str
    """Held-out rows, as task/split."""
    train_rows: int
    """Training rows that share a passage with a held-out row."""
    held_out_rows: int
    """Held-out rows that share a passage with a training row."""
    whole_held_out_rows: int
    """Of these, the ones of which a whole text is in a training row, letter by letter."""


class LeakageCheck(Document):
    """How the rows of one training run compared with held-out rows; of a run that held nothing out it is empty."""

    policy: Literal["drop", "allow", "fail"]
    """What was done about training rows that share a passage."""
    words: int
    """Words of the shortest shared passage."""
    short_words: int
    """The same where the held-out text has fewer."""
    held_out: dict[str, ComparedRows] = {}
    """Task/split → its rows."""
    not_compared: dict[str, str] = {}
    """Held-out task → why its rows, or some of them, were not compared."""
    left_out: dict[str, int] = {}
    """Task → its training rows that were left out because they share a passage."""
    shared: tuple[SharedCount, ...] = ()
    """Every pair that shares a passage."""
    report: Sha256 | None = None
    """Digest of the whole report, with passages, in the store of the run."""


class Tuning(Document):
    """What one tuning read, and what it took."""

    spec: Sha256
    """Digest of the resolved spec."""
    rows: dict[str, Sha256]
    """Task → digest of the rows that were trained on, before any was left out."""
    draws: Sha256
    """Digest of the first 10,000 draws of the stream: task, row and template of each."""
    steps: int
    """Optimizer updates."""
    tokens: int
    """Tokens that went through the network, padding aside."""
    target_tokens: int
    """Of these, the supervised ones."""
    ranks: int
    """Processes, one device each."""
    device: str
    """What they computed on."""
    wall_s: float
    """Time the steps took, what was done twice left out."""
    device_s: float
    """The same, of all ranks together."""
    prompt_formats: tuple[PromptFormat, ...] = ()
    """What its rows were asked with; none where that is not on record, or of plain text."""
    templates_per_task: int | None = None
    """The most of a task's templates that were drawn; null where that is not on record, or of plain text."""


class Lineage(Document):
    """What went into the weights. `None` for tasks means: unknown (a model made elsewhere)."""

    base: str
    """What was tuned: `preset:nano` or the name of a model."""
    tasks_seen: tuple[str, ...] | None
    """Tasks it was tuned on; null = not known."""
    clusters_seen: tuple[str, ...] | None
    """Their clusters; null = not known."""
    families_seen: tuple[str, ...] = ()
    """Families whose texts are in the rows it was tuned on here: they outlive a task's name."""
    unplaced: dict[str, str] = {}
    """Task it was tuned on here, and nobody knows what it is akin to → why."""
    corpora: tuple[str, ...] = ()
    """Plain texts it was tuned on here; whether they hold rows of any task is not known from this."""
    spec: Sha256 | None = None
    """Digest of the resolved spec that made it."""
    steps: int = 0
    """Optimizer updates it was tuned for here."""
    target_tokens: int = 0
    """Supervised tokens it was tuned on here."""
    adjacency: dict[str, tuple[str, ...]] = {}
    """Cluster → its neighbours, by the taxonomy in force when it was tuned."""
    tunings: tuple[Tuning, ...] = ()
    """One for each time it was tuned here, the latest last."""
    leakage: tuple[LeakageCheck, ...] = ()
    """One for each time it was tuned here, the latest last."""

    def num_shared(self, source: str, rows: str) -> int | None:
        """At most how many of the held-out rows `source` (task/split, with this digest) share a passage with a row
        that was trained on; None where some of the training rows were never compared with them."""
        if self.tasks_seen is None or (self.tasks_seen and not self.leakage):
            return None
        compared = [check.held_out.get(source) for check in self.leakage]
        if any(each is None or each.rows != rows for each in compared):
            return None
        known = [each for each in compared if each is not None]
        return min(known[0].num_rows, sum(each.num_shared for each in known)) if known else 0


class ModelCard(Document):
    """`flan.json`."""

    format: Literal[1] = 1
    """Of this document."""
    name: Name
    """What the model was called when it was made."""
    contract: Contract
    """How text becomes its token ids."""
    context_length: int
    """Longest sequence (decoder: input and target together), in tokens."""
    num_parameters: int
    """How many weights it has."""
    lineage: Lineage
    """What it has been trained on."""


def read_card(directory: Path) -> ModelCard:
    """The card of the model in `directory`. Raises NotFound where there is none."""
    path = directory / CARD_FILE
    if not path.is_file():
        raise NotFound(f"{directory} has no {CARD_FILE}: it was not made by this platform")
    return parse(ModelCard, json.loads(path.read_text()))
