"""What can be asked of a tuning. The defaults are FLAN's (Wei et al. 2022, section 2.4)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flan.spec.document import Document, Name, Reference
from flan.spec.job import JobSpec, Precision
from flan.spec.methods import FullTuning, Method, SoftPrompt
from flan.spec.mixture import Mixture
from flan.spec.optimizer import Optimizer


class Leakage(Document):
    """Training rows are compared with held-out rows before step 1: raw, field by field, whatever the template."""

    policy: Literal["drop", "allow", "fail"] = "allow"
    """What to do about training rows that share a passage with a held-out row: leave them out, train on them and
    put it on record, or refuse to train. It is on record in any case."""
    against: tuple[Reference, ...] = Field(default=(), max_length=4096)
    """Held-out tasks, by selectors; none: those that the mixture holds out by cluster or name."""
    splits: tuple[Name, ...] = Field(default=("validation", "test"), min_length=1, max_length=16)
    """Which of their rows are compared: those splits that a task has."""
    words: int = Field(default=13, ge=2, le=1_000)
    """Words in a row that make a shared passage."""
    short_words: int = Field(default=8, ge=2, le=1_000)
    """The same in a held-out text that has fewer than `words`."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.short_words > self.words:
            raise ValueError(
                f"short_words {self.short_words} is more than words {self.words}: it is for shorter texts"
            )
        return self


class CorpusText(Document):
    """A plain text: a file of the folder of datasets, or an uploaded dataset. Never a path."""

    name: Name | None = None
    """`corpus/<name>.txt` or `.jsonl` of the folder of datasets, also packed as `.gz`."""
    uploaded: Reference | None = None
    """An uploaded dataset, `name` or `name@3`; each of its rows is a document."""
    split: Name = "train"
    """Which split of the dataset."""
    column: Annotated[str, Field(min_length=1, max_length=256)] = "text"
    """Where the text is in a row, or in a line of JSON."""
    documents: Literal["whole", "lines", "blank_lines"] = "whole"
    """What parts a `.txt` into documents: nothing; single line breaks (blank lines then part the paragraphs of
    one); blank lines."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.name is None) == (self.uploaded is None):
            raise ValueError("a text is a file or a dataset: give name or uploaded, and not both")
        return self


class Corpus(Document):
    """Plain text for language modelling. Each text counts by its size, and comes once an epoch."""

    texts: tuple[CorpusText, ...] = Field(min_length=1, max_length=1_024)
    """What is read."""
    chars_per_token: float = Field(default=3.0, gt=0, le=64)
    """How long pieces are: this times the tokens of an example. Where a piece has more tokens its end is cut and
    counted; lower it then, as for scripts whose characters are tokens."""


class TuneSpec(JobSpec):
    """Tune `base` on a mixture of instructions. The result is a model called `name`."""

    kind: Literal["tune"] = "tune"
    """A job that tunes."""
    base: Reference
    """What is tuned: a registered model (`name`, `name@3`, `name@alias`), `preset:nano`, a hub id or a
    folder."""
    objective: Literal["instructions", "lm"] = "instructions"
    """What is learnt: the targets of the mixture's instructions, or the next token of the corpus's text
    (encoder-decoders: the rest of a text after its beginning)."""
    mixture: Mixture = Mixture()
    """What it is tuned on."""
    corpus: Corpus | None = None
    """With objective lm: what it is tuned on instead."""
    leakage: Leakage = Leakage()
    """What is done about training rows that share text with held-out rows."""
    steps: int = Field(default=30_000, ge=1, le=10_000_000)
    """Optimizer updates."""
    tokens_per_step: int = Field(default=8_192, ge=8, le=2**28)
    """Token slots of one optimizer update, over all ranks: packs of `pack_length`."""
    input_length: int = Field(default=1_024, ge=4, le=2**20)
    """Longest input, in tokens; a longer one is cut at its long field."""
    target_length: int = Field(default=256, ge=2, le=2**20)
    """Longest target, in tokens; an example with a longer one is left out and counted."""
    pack_length: int | None = Field(default=None, ge=8, le=2**20)
    """Length of a packed sequence; None = input_length + target_length."""
    pack_target_length: Literal["auto"] | Annotated[int, Field(ge=2, le=2**20)] = "auto"
    """Encoder-decoders: how much of a pack is its targets'; 256, as T5, with 1,024 left for inputs. auto: inputs and
    targets share a pack as the mixture has them, measured before step 1, so that both sides fill up; without a
    pack_length the packs are then up to an eighth longer."""
    micro_batch: Literal["auto"] | Annotated[int, Field(ge=1, le=4096)] = 1
    """Packs a rank sends through the network at a time; auto: as many as fit, found before step 1. No effect on
    the result but rounding."""
    optimizer: Optimizer = Optimizer()
    """How the weights are moved."""
    method: Method = FullTuning()
    """Which weights are trained: all, low-rank additions, or a prompt."""
    precision: Precision = "bf16"
    """Of the computation; weights and optimizer state are fp32 throughout."""
    gradient_checkpointing: bool = False
    """Whether layers are computed again for the gradient instead of kept: less memory, a third more time, the
    same gradient."""
    compile: bool = False
    """Whether layers are compiled for the machine: on CPUs a tenth faster in bf16, less in fp32, after a minute at
    the start. Without a C++ compiler a run warns and goes on without. Not with zero_stage 3."""
    loss_on: Literal["targets", "all"] = "targets"
    """What is learned: targets; all = inputs too, by a decoder-only model."""
    z_loss: float = Field(default=0.0, ge=0, le=1)
    """Added to each learned token's loss: so much of the squared logarithm of the softmax's denominator. PaLM
    and T5X: 1e-4; 0 = off."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """What DeepSpeed shards over ranks: 0 nothing, 1 optimizer state, 2 also gradients, 3 also weights."""
    checkpoint_every: int = Field(default=1_000, ge=1)
    """Steps between two checkpoints."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of the newest are kept; the one of the lowest smoothed loss and the pinned ones besides."""
    pinned_steps: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(), max_length=256)
    """Steps with a checkpoint that is kept for good."""
    log_every: int = Field(default=10, ge=1)
    """Steps between two entries of the metrics."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Decides which examples come in which order, and a preset's first weights."""
    vocabulary_size: int | None = Field(default=None, ge=512, le=262_144)
    """Most entries of the tokenizer that is trained for a preset; None = the preset's own number."""

    @property
    def packed_length(self) -> int:
        """L of a packed sequence, in tokens."""
        return self.pack_length or self.input_length + self.target_length

    @property
    def packs_per_step(self) -> int:
        """How many packs make a step: tokens_per_step in packs, rounded, at least one."""
        return max(1, round(self.tokens_per_step / self.packed_length))

    def has_checkpoint(self, step: int) -> bool:
        """Whether a checkpoint of `step` is wanted: every so often, the pinned ones, and the last."""
        return step % self.checkpoint_every == 0 or step in self.pinned_steps or step == self.steps

    @property
    def settled_micro_batch(self) -> int:
        """micro_batch, where it is not auto any more: a run settles it before step 1."""
        assert self.micro_batch != "auto", "the run has not settled it"
        return self.micro_batch

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.packed_length < self.input_length + self.target_length:
            raise ValueError(
                f"pack_length {self.pack_length} is less than input_length {self.input_length} + "
                f"target_length {self.target_length}: an example must fit into a pack"
            )
        if self.pack_target_length != "auto" and not (
            self.target_length <= self.pack_target_length <= self.packed_length - self.input_length
        ):
            raise ValueError(
                f"pack_target_length {self.pack_target_length} of a pack of {self.packed_length} is less than "
                f"target_length {self.target_length}, or leaves less than input_length {self.input_length}: an "
                "example must fit into a pack"
            )
        if (self.objective == "lm") != (self.corpus is not None):
            raise ValueError(
                "objective lm reads a corpus, and objective instructions none: give both, as in "
                "objective: lm, corpus: {texts: [{name: stories}]}, or neither"
            )
        if self.objective == "lm" and self.pins is None and self.mixture != Mixture():
            raise ValueError("objective lm reads its corpus alone: leave mixture out")
        if self.compile and self.zero_stage == 3:
            raise ValueError(
                "compile with zero_stage 3: its weights come and go inside a layer, which a compiled one cannot "
                "see; use zero_stage 2 or leave compile out"
            )
        if self.method.kind != "full" and self.base.startswith("preset:"):
            raise ValueError(
                f"method {self.method.kind} leaves the weights as they are, and those of {self.base} are random: "
                "tune a model in full first, and give it as base"
            )
        if isinstance(self.method, SoftPrompt) and self.method.length >= self.input_length - 1:
            raise ValueError(
                f"a soft prompt of length {self.method.length} leaves an input_length of {self.input_length} no "
                "room for an input: raise input_length or shorten the prompt"
            )
        if self.vocabulary_size is not None and not self.base.startswith("preset:"):
            raise ValueError(
                f"vocabulary_size {self.vocabulary_size} is for presets, whose tokenizer is trained here; "
                f"{self.base} brings its own: leave vocabulary_size out"
            )
        return self
