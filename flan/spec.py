"""What can be asked: the spec of a job, one frozen document per kind.

The same document is the body of `POST /jobs`, the stored row, `spec.json` in the run directory, the
argument of `tune()` and, as YAML, the file given to the command line. The defaults of `tune` are FLAN's
(Wei et al. 2022, section 2.4). Before it runs, a spec is *resolved* (flan/data/resolve.py): names become
digests in `pins`, so that nothing that happens later can change what the job does.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from flan.errors import InvalidDocument, problem
from flan.faults import Wrong, fault, refuse, translate

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""A name a person chose. Never used as a path."""
Reference = Annotated[str, Field(min_length=1, max_length=512)]
"""`name`, `name@3`, `name@alias`; for models also `preset:nano`, a hub id or a directory."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
D = TypeVar("D", bound="Document")


class Document(BaseModel):
    """A frozen value that refuses unknown fields and is known by its digest."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def canonical(self) -> str:
        """JSON with sorted keys and no spaces: equal documents, equal text."""
        return canonical_json(self.model_dump(mode="json"))

    def digest(self) -> str:
        """sha256 of the canonical text, in hex."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """The document in `value` (parsed JSON or YAML). Raises InvalidDocument naming every fault."""
        return parse(cls, value)


class Resources(Document):
    """What a run needs: `ranks` processes, one GPU each where the node has GPUs."""

    ranks: int = Field(default=1, ge=1, le=1024)
    """Processes of a run, all on one node; one GPU each where the node has GPUs, else one thread each."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What they compute on; auto: GPUs where the node has any."""


OptionsPolicy = Literal["flan2021", "flan2022", "none"]
"""How answer choices are shown: in FLAN's one layout, in one drawn for each example, or not at all."""


ChoiceRule = Literal["sum", "per_token", "per_byte", "pmi"]
"""What of the options' log-probabilities is compared: `flan/model/choosing.py`."""


PromptFormat = Literal["instructions", "dataset_name", "no_template"]
"""What a row is asked with: templates, a tag that names its dataset, or nothing (Wei et al. 2022, 4.3)."""


EvaluationFormat = Literal["instructions", "dataset_name", "no_template", "continuation"]
"""The same of an evaluation, or a text that the answer would go on, for a model that was never tuned."""
SuiteName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._/-]{0,127}$")]
"""`flan2021/entailment/few-shot`. Never used as a path."""


class FewShot(Document):
    """Solved rows before each question (Wei et al. 2022, 4.4)."""

    shots: int = Field(ge=1, le=64)
    """How many; fewer where they do not fit. FLAN: 16 at most."""
    max_tokens: int = Field(default=960, ge=1, le=2**20)
    """Solved rows and question together, in tokens; the last solved rows are left out first."""
    balanced: bool = False
    """Every answer once before any comes twice."""
    split: Name = "train"
    """Where they are drawn from; never the row that is asked."""
    before_target: str = Field(default="\n", max_length=256)
    """Text between a solved row's question and its answer."""
    after_target: str = Field(default="\n\n", max_length=256)
    """Text after a solved row's answer."""


class DevRows(Document):
    """Rows on which the best template of each task is chosen (Wei et al. 2022, 2.3); its figure is of other rows."""

    split: Name = "validation"
    """Which rows."""
    limit: int | None = Field(default=200, ge=1)
    """At most this many of them: a seeded sample."""


class HoldOut(Document):
    """What training must not see, and why not. Each rule leaves tasks out; the first that applies is the reason."""

    clusters: tuple[Name, ...] = ()
    """Clusters to leave out of training."""
    tasks: tuple[Name, ...] = ()
    """Single tasks to leave out, by name, whatever their cluster; their family goes too."""
    adjacent: Literal["exclude", "ignore"] = "exclude"
    """Whether the neighbours of a held-out cluster go too: exclude is the paper's rule."""
    lineage: Literal["exclude", "ignore"] = "ignore"
    """Whether tasks made from the same texts as a held-out one go too; the paper's rule does not know them."""
    intra_cluster: int | None = Field(default=None, ge=0, lt=1_000)
    """Leave out one dataset of each cluster that has several: split number n of the released code's ten."""
    first_clusters: int | None = Field(default=None, ge=1)
    """Train on the first n clusters of the paper's ablation alone (figure 6), and on no other."""
    evaluation: tuple[Reference, ...] = Field(default=(), max_length=4096)
    """What the model will be measured on, by selectors: a mixture that overlaps it is refused."""
    overlap: Literal["fail", "same_cluster", "allow"] = "fail"
    """Of that rule: same_cluster lets other tasks of an evaluated cluster be trained on, allow anything."""


class Published(Document):
    """What is known of a task that may not be on this machine: enough to say the share it would have."""

    rows: int | None = Field(default=None, ge=1)
    """Rows of its training split; null = not known."""
    templates: int = Field(default=10, ge=1)
    """How many templates it has."""


class MixedShots(FewShot):
    """Solved rows before some of a mixture's examples, of the same task, through the same template."""

    share: float = Field(gt=0, le=1)
    """Of the examples that are asked so."""
    split: Literal["train"] = "train"
    """They come from the rows that are trained on; never the row that is asked."""
    balanced: Literal[False] = False
    """Only an evaluation can balance them: it reads all rows beforehand."""


class Mixture(Document):
    """Which tasks are mixed, and in what proportion: tasks by one rule, or parts by their weights.

    A mixture is one of three. With `parts` it is made of other mixtures: part p is drawn from with probability
    weight(p) / sum of weights, and within it by its own rule. With `preset` it is the mixture of that name.
    Else it is a *leaf*: `tasks`, drawn by their rates. What is said of rates and prompts is said at the leaves;
    `hold_out` and `missing` hold for everything below.
    """

    collection: Literal["flan", "synthetic"] = "flan"
    """Where `*`, names and clusters are looked up: flan, or synthetic, whose rows are made here."""
    tasks: tuple[Reference, ...] = Field(default=("*",), min_length=1, max_length=4096)
    """Selectors, in turn: `*`, `preset:flan2021`, `cluster:sentiment`, a task, or an uploaded template set
    `name@2`; one that begins with - takes away."""
    preset: Name | None = None
    """Instead of tasks, a mixture that comes with the platform: flan2021, flan2021-code, t0, super-ni, flan2022."""
    parts: tuple["Mixture", ...] = Field(default=(), max_length=256)
    """Instead of tasks, the mixtures of which it is made."""
    weight: float = Field(default=1.0, ge=0)
    """Its weight among the parts of the mixture around it."""
    name: Name | None = None
    """What plans and counts call it; null = its place."""
    hold_out: HoldOut = HoldOut()
    """What training must not see, even where `tasks` selects it."""
    rates: Literal["rows", "each_template", "t0", "t0_divided"] = "rows"
    """rows: a task weighs min(rows, rate_maximum). each_template: each of its templates does. t0: each template
    weighs the rows, or rate_maximum ÷ templates where there are more rows than rate_maximum; t0_divided: never
    more than rate_maximum ÷ templates."""
    weights: dict[Name, Annotated[float, Field(ge=0)]] = Field(default={}, max_length=4096)
    """Task → its rate, instead of what the rule says; 0 leaves it out."""
    examples_cap: int = Field(default=30_000, ge=1)
    """At most this many training rows of a task are used: a seeded sample."""
    rate_maximum: int = Field(default=3_000, ge=1)
    """A task counts for at most this many rows when rates are computed."""
    temperature: float = Field(default=1.0, gt=0)
    """Rates to the power 1/temperature: above 1, small tasks gain."""
    templates_per_task: int = Field(default=10, ge=1)
    """At most this many templates of a task are used, its first ones."""
    include_inverted: bool = True
    """Whether templates that ask for what was the input are used too."""
    inverted_rate: float | None = Field(default=None, gt=0)
    """How often inverted templates come for each time that the others do; null = each template equally often."""
    options: OptionsPolicy = "flan2021"
    """How answer choices are shown: one layout, one drawn for each example, or not at all."""
    no_options_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the examples whose OPTIONS block is left out."""
    few_shot: MixedShots | None = None
    """Solved rows before a share of the examples; null = before none."""
    prompt_format: PromptFormat = "instructions"
    """What a row is asked with; dataset_name and no_template are the paper's ablations."""
    missing: Literal["fail", "drop"] = "fail"
    """What to do about a task that is not on this machine: refuse, or go on without and say its share."""
    published: dict[Name, Published] = Field(default={}, max_length=4096)
    """Tasks that may not be here, and what is known of them; one of `tasks` that is unknown and not named here
    is an error, `missing` or not."""
    num_published: int | None = Field(default=None, ge=1)
    """How many tasks the publication mixes, where they cannot all be named; what is not found is missing."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        refuse("Mixture", self._faults())
        return self

    def _faults(self) -> Iterator[Wrong]:
        if self.preset and self.parts:
            said = "a mixture is a preset or has parts, not both"
            yield Wrong(("parts",), "contradiction", said, "make the preset one of the parts")
        if self.parts and not any(part.weight for part in self.parts):
            said = "every part has weight 0: nothing could be drawn"
            yield Wrong(("parts",), "zero_weights", said, "give a part a weight above 0")
        if not self.is_leaf:
            what = "preset" if self.preset else "parts"
            for name in sorted(_LEAF_FIELDS):
                if getattr(self, name) != type(self).model_fields[name].get_default():
                    said = f"says how tasks are drawn, and there are {what} instead of tasks"
                    yield Wrong((name,), "contradiction", said, _WAY_OUT[what])
        if self.options == "none" and self.no_options_share:
            said = "options: none leaves out every block already"
            yield Wrong(("no_options_share",), "contradiction", said, "leave one of the two out")
        if self.inverted_rate is not None and not self.include_inverted:
            said = "there are no inverted templates where include_inverted is false"
            yield Wrong(("inverted_rate",), "contradiction", said, "leave one of the two out")

    @property
    def is_leaf(self) -> bool:
        """Whether it mixes tasks, rather than other mixtures."""
        return self.preset is None and not self.parts

    @property
    def leaves(self) -> tuple["Mixture", ...]:
        """The mixtures of tasks in it, in order. Presets must have been replaced by what they stand for."""
        assert self.preset is None, f"preset {self.preset} is not expanded"
        return tuple(leaf for part in self.parts for leaf in part.leaves) if self.parts else (self,)


_LEAF_FIELDS = frozenset(Mixture.model_fields) - {
    "name", "weight", "preset", "parts", "collection", "hold_out", "missing"
}  # fmt: skip
_WAY_OUT = {"parts": "say it in the parts", "preset": "name its tasks instead: tasks: [preset:NAME]"}


def _no_fp16(value: Any) -> Any:
    if value in ("fp16", "float16", "half"):
        raise fault(
            "no_fp16",
            f"{value} is not offered: its numbers end at 65,504, which T5's activations exceed, and its small "
            "gradients vanish unless the loss is scaled",
            "use 'bf16', as fast and with the range of fp32; or 'fp32'",
        )
    return value


Precision = Annotated[Literal["bf16", "fp32"], BeforeValidator(_no_fp16)]


class Optimizer(Document):
    """FLAN: Adafactor at a constant 3e-5, with the settings of T5X."""

    name: Literal["adafactor", "adamw"] = "adafactor"
    """adafactor: what FLAN was tuned with. adamw: needs two more numbers for each weight."""
    learning_rate: float = Field(default=3e-5, gt=0, le=10)
    """The highest rate, reached after warm-up."""
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt"] = "constant"
    """After warm-up: constant, or down to zero at the last step; inverse_sqrt: T5's, with 1/√step."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the rate rises from zero; with inverse_sqrt, over which it has its highest value."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """How strongly all weights are drawn to zero: each step by this share of the rate; 0 = off."""
    gradient_clip: float = Field(default=0.0, ge=0)
    """Largest global norm of a step's gradient; 0 = off."""
    scale_parameter: bool = True
    """Adafactor only: updates relative to the size of the weights, as T5X does."""
    scale_epsilon: float = Field(default=1e-3, gt=0)
    """Adafactor only: weights smaller than this (root mean square) count as of this size. T5X: epsilon2."""
    update_clip: float = Field(default=1.0, ge=0)
    """Adafactor only: largest root mean square of a weight's update, before the rate; 0 = off."""
    decay_exponent: float = Field(default=0.8, gt=0, le=1)
    """Adafactor only: at step t the moments keep 1 − t^−decay_exponent of what they were."""
    square_epsilon: float = Field(default=1e-30, gt=0, le=1)
    """Adafactor only: added to squared gradients. T5X: epsilon1."""
    factored_from: int = Field(default=128, ge=1)
    """Adafactor only: a matrix with fewer rows or columns keeps a moment for each weight, not for each row
    and column. T5X: min_dim_size_to_factor."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """AdamW only: how much of the mean of gradients is kept at each step."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """AdamW only: how much of the mean of squared gradients is kept at each step."""
    epsilon: float = Field(default=1e-8, gt=0, le=1)
    """AdamW only: added to the root of the mean of squares."""

    @model_validator(mode="after")
    def _settings_are_its_own(self) -> Self:
        # Left at its default a setting of the other optimizer says nothing.
        fields = type(self).model_fields
        other = ADAMW_ONLY if self.name == "adafactor" else ADAFACTOR_ONLY
        refuse(
            "Optimizer",
            [
                Wrong(
                    (field,),
                    "not_of_this_optimizer",
                    f"{self.name} has no {field}",
                    "leave it out, or take the other optimizer",
                )
                for field in other
                if getattr(self, field) != fields[field].default
            ],
        )
        return self


ADAFACTOR_ONLY = (
    "scale_parameter",
    "scale_epsilon",
    "update_clip",
    "decay_exponent",
    "square_epsilon",
    "factored_from",
)
ADAMW_ONLY = ("beta1", "beta2", "epsilon")


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


class FullTuning(Document):
    """Every weight is trained."""

    kind: Literal["full"] = "full"
    """All weights."""


ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,127}$")]


class Lora(Document):
    """A low-rank addition to matrices that stay as they are (Hu et al. 2021): W + (alpha / rank) · B · A."""

    kind: Literal["lora"] = "lora"
    """Low-rank additions alone."""
    rank: int = Field(default=8, ge=1, le=4_096)
    """Rows of A and columns of B."""
    alpha: float = Field(default=16.0, gt=0, le=65_536)
    """How much the addition counts: it is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of what an addition reads that is set to zero in training."""
    target_modules: tuple[ModuleName, ...] | None = Field(default=None, min_length=1, max_length=256)
    """Modules that get one, by the end of their names: q_proj, mlp.up_proj. None = every matrix of attention and
    feed-forward; never embeddings or the head."""


class SoftPrompt(Document):
    """Learned embeddings before every input of a model whose weights stay as they are (Lester et al. 2021)."""

    kind: Literal["soft_prompt"] = "soft_prompt"
    """A learned prompt alone."""
    length: int = Field(default=10, ge=1, le=1_024)
    """Tokens of the prompt; they count as part of input_length. FLAN: 10 (Wei et al. 2022, 4.5)."""


Method = Annotated[FullTuning | Lora | SoftPrompt, Field(discriminator="kind")]
"""Which weights are trained."""


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


class TaskPin(Document):
    """A task fixed to bytes: its document, and the digest of the rows of each split that is used."""

    document: Sha256
    """Digest of the task's document."""
    rows: dict[str, Sha256]
    """Split → digest of what decides its rows."""
    num_rows: dict[str, int]
    """Split → number of its rows."""


class Pins(Document):
    """What the names of a spec meant when the job was accepted. Written by resolve(), never by hand."""

    tasks: dict[str, TaskPin]
    """Every task the run reads, by name."""
    train: tuple[str, ...] = ()
    """Of these, the ones that are trained on."""
    leaves: tuple[tuple[str, ...], ...] = ()
    """For each leaf of the mixture, in order, which of those it draws from."""
    missing: dict[str, float | None] = {}
    """Task that is not on this machine → the share it would have had; null where its size is not known."""
    excluded: dict[str, str] = {}
    """Task → why it is left out of training ("held out: entailment", "adjacent to entailment", ...)."""
    clusters: dict[str, str] = {}
    """Task → cluster, for every task in `tasks` and `excluded`."""
    families: dict[str, str] = {}
    """Task → family, for the same tasks; one without a family is its own."""
    texts_of: dict[str, tuple[str, ...]] = {}
    """Task → further families whose texts are in its rows, where there are any."""
    unplaced: dict[str, str] = {}
    """Task → why it is not known what it is akin to, where it is not: nothing is proven unseen after it."""
    adjacency: dict[str, tuple[str, ...]] = {}
    """Cluster → its neighbours, by the taxonomy in force."""
    held_out: dict[str, TaskPin] = {}
    """Tasks whose rows training rows are compared with, by name."""
    not_compared: dict[str, str] = {}
    """Task that is held out too → why its rows, or some of them, are not compared."""
    model: Sha256 | None = None
    """The base, evaluated or served model: a directory of the store. None for a preset."""


class JobSpec(Document):
    """What every kind of job has."""

    name: Name
    """What the job is called. A tuned model is registered under it, a served one answers to it."""
    resources: Resources = Resources()
    """What the run needs of a node."""
    max_retries: int = Field(default=3, ge=0, le=100)
    """How many times a fault of the machine (not of the request) starts a new attempt."""
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] = Field(
        default={}, max_length=16
    )
    """Words of yours, kept and shown with the job; they change nothing."""
    pins: Pins | None = None
    """What the names meant when the job was accepted. Leave it out: it is written by the platform."""


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
    """Whether layers are compiled for the machine: on CPUs about a tenth faster in bf16, after a minute more at
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


class EvaluateSpec(JobSpec):
    """Measure one model on tasks: every template, never an inverted one."""

    kind: Literal["evaluate"] = "evaluate"
    """A job that evaluates."""
    model: Reference
    """What is measured: a registered model (`name`, `name@3`, `name@alias`), a hub id or a folder."""
    collection: Literal["flan", "synthetic"] = "flan"
    """Where `*`, names and clusters are looked up."""
    suite: SuiteName | None = None
    """A named evaluation: flan2021/all, flan2021/entailment/few-shot, t0/held-out, super-ni/test … What it says
    holds where this spec has its default, and is written into it when the job is accepted."""
    tasks: tuple[Reference, ...] = Field(default=(), max_length=4096)
    """Selectors, as in a mixture; may be left out where a suite has some."""
    split: Name = "validation"
    """Which rows are asked."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many rows of a task: a seeded sample, the same for every template and model."""
    templates_per_task: int = Field(default=10, ge=1)
    """At most this many templates of a task are used, its first ones; never an inverted one."""
    scoring: Literal["auto", "rank", "generate"] = "auto"
    """auto: tasks with answer choices by rank classification, others by greedy generation."""
    choose_by: ChoiceRule = "sum"
    """Which option is chosen: by its log-probability, as FLAN does; by that over its tokens or its bytes; or by how
    much the prompt raises it (pmi). Records keep what all of them need."""
    options: OptionsPolicy = "flan2021"
    """How answer choices are shown; none: only the text before them says what is asked."""
    prompt_format: EvaluationFormat = "instructions"
    """What a row is asked with; dataset_name and no_template are the paper's ablations, continuation is how it asks
    models that were never tuned."""
    few_shot: FewShot | None = None
    """None: zero-shot."""
    dev: DevRows | None = None
    """Rows on which each task's best template is chosen, beside those of `split`; None: none is chosen. A task
    without such rows has no best template."""
    require: Literal["anything", "proven"] = "anything"
    """proven: refuse where the model may have seen anything akin to one of the tasks."""
    max_new_tokens: int = Field(default=256, ge=1, le=8192)
    """Longest answer that is generated."""
    batch_tokens: int = Field(default=4_096, ge=8)
    """Token slots of one forward pass. No effect on the result but rounding."""
    precision: Precision = "fp32"
    """Of weights and computation; softmax and sums are fp32 always."""
    input_length: int = Field(default=1_024, ge=4, le=2**20)
    """Longest input, in tokens; a longer one is cut at its long field."""
    missing: Literal["fail", "drop"] = "fail"
    """What to do about a task whose rows are not on this machine."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Decides which rows and solved rows are drawn."""

    @model_validator(mode="after")
    def _dev_is_apart(self) -> Self:
        if not self.tasks and self.suite is None:
            raise ValueError("nothing to evaluate: name tasks, or a suite such as flan2021/all")
        if self.dev is not None and self.dev.split == self.split:
            raise ValueError(
                f"dev.split is {self.split!r} as split is: a template that is chosen on the rows it is reported on "
                "is flattered; name two splits, as in split: test, dev: {split: validation}"
            )
        return self

    @property
    def splits(self) -> tuple[str, ...]:
        """Every split that a task must have."""
        return tuple(dict.fromkeys((self.split, *((self.few_shot.split,) if self.few_shot else ()))))


class Sampling(Document):
    """How an answer is drawn. The defaults are those of the samples shown in the paper."""

    temperature: float = Field(default=0.9, ge=0, le=100)
    """0 = always the most probable token."""
    top_k: int = Field(default=40, ge=0)
    """Only the k most probable tokens are drawn from; 0 = off."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Only the most probable tokens that together reach this probability are drawn from; 1 = off."""
    max_new_tokens: int = Field(default=256, ge=1, le=8192)
    """The answer is cut after this many tokens."""
    stop: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(default=(), max_length=4)
    """The answer ends before the first of these; it is not part of the text."""
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Same request, same seed, same answer; null = drawn, and reported in the answer."""


class ServeSpec(JobSpec):
    """Serve one model until the job is cancelled. Requests reach it by `name`."""

    kind: Literal["serve"] = "serve"
    """A job that serves."""
    model: Reference
    """What is served: a registered model (`name`, `name@3`, `name@alias`), a hub id or a folder."""
    precision: Precision = "fp32"
    """Of weights and computation."""
    max_batch: int = Field(default=32, ge=1, le=4096)
    """Sequences in flight at once; more wait."""
    max_waiting: int = Field(default=256, ge=0)
    """Requests that may wait; one more is refused with 429."""
    sampling: Sampling = Sampling()
    """Defaults of requests that do not say."""


Spec = TuneSpec | EvaluateSpec | ServeSpec
_SPEC: TypeAdapter[Spec] = TypeAdapter(Annotated[Spec, Field(discriminator="kind")])
KINDS = ("tune", "evaluate", "serve")


def parse_spec(value: Any) -> Spec:
    """The job spec in `value` (parsed JSON or YAML). Raises InvalidDocument naming every fault."""
    return cast(Spec, _validated(_SPEC, value, "job spec"))


def parse(document: type[D], value: Any) -> D:
    """`value` as a `document`. Raises InvalidDocument naming every fault."""
    return cast(D, _validated(TypeAdapter(document), value, document.__name__))


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces. Raises ValueError on NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _validated(adapter: TypeAdapter[Any], value: Any, what: str) -> Any:
    # Through JSON, so that strict mode takes a list for a tuple but never "3" for 3 or true for 1.0.
    try:
        text = canonical_json(value)
    except (TypeError, ValueError) as error:
        raise InvalidDocument(f"{what}: not JSON: {error}", [problem("", "not_json", str(error))]) from error
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        problems = translate(error.errors(include_url=False), adapter.json_schema())
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        message = f"{what}: {first['pointer'] or 'the document'}: {first['message']}{more}"
        raise InvalidDocument(message, problems) from error
