"""What can be asked: the spec of a job, one frozen document per kind.

The same document is the body of `POST /jobs`, the stored row, `spec.json` in the run directory, the
argument of `tune()` and, as YAML, the file given to the command line. The defaults of `tune` are FLAN's
(Wei et al. 2022, section 2.4). Before it runs, a spec is *resolved* (flan/data/resolve.py): names become
digests in `pins`, so that nothing that happens later can change what the job does.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from flan.errors import InvalidDocument, problem
from flan.faults import translate

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
    device: Literal["auto", "cpu", "cuda"] = "auto"


OptionsPolicy = Literal["flan2021", "flan2022", "none"]
"""How answer choices are shown: in FLAN's one layout, in one drawn for each example, or not at all."""


PromptFormat = Literal["instructions", "dataset_name", "no_template"]
"""What a row is asked with: templates, a tag that names its dataset, or nothing (Wei et al. 2022, 4.3)."""


class HoldOut(Document):
    """What training must not see. `adjacent`: whether the taxonomy's neighbours go too (the paper's rule)."""

    clusters: tuple[Name, ...] = ()
    tasks: tuple[Name, ...] = ()
    adjacent: Literal["exclude", "ignore"] = "exclude"


class Mixture(Document):
    """Which tasks are mixed, and in what proportion (Wei et al. 2022, 2.4; Raffel et al. 2020, 3.5.2)."""

    collection: Literal["flan", "synthetic"] = "flan"
    tasks: tuple[Reference, ...] = Field(default=("*",), min_length=1, max_length=4096)
    """Selectors: `*`, `preset:flan2021-paper`, `cluster:sentiment`, a task, or an uploaded template set `name@2`."""
    hold_out: HoldOut = HoldOut()
    examples_cap: int = Field(default=30_000, ge=1)
    """At most this many training rows of a task are used: a seeded sample."""
    rate_maximum: int = Field(default=3_000, ge=1)
    """A task counts for at most this many rows when rates are computed."""
    temperature: float = Field(default=1.0, gt=0)
    templates_per_task: int = Field(default=10, ge=1)
    include_inverted: bool = True
    options: OptionsPolicy = "flan2021"
    """How answer choices are shown: one layout, one drawn for each example, or not at all."""
    prompt_format: PromptFormat = "instructions"
    missing: Literal["fail", "drop"] = "fail"
    """What to do about a task whose rows are not on this machine."""


class Optimizer(Document):
    """FLAN: Adafactor at a constant 3e-5."""

    name: Literal["adafactor", "adamw"] = "adafactor"
    learning_rate: float = Field(default=3e-5, gt=0, le=10)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """After warm-up: constant, or down to zero at the last step."""
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    gradient_clip: float = Field(default=0.0, ge=0)  # largest global norm; 0 = off
    scale_parameter: bool = True
    """Adafactor only: updates relative to the size of the weights, as T5X does."""


class TaskPin(Document):
    """A task fixed to bytes: its document, and the digest of the rows of each split that is used."""

    document: Sha256
    rows: dict[str, Sha256]
    num_rows: dict[str, int]


class Pins(Document):
    """What the names of a spec meant when the job was accepted. Written by resolve(), never by hand."""

    tasks: dict[str, TaskPin]
    """Every task the run reads, by name."""
    train: tuple[str, ...] = ()
    """Of these, the ones that are trained on."""
    excluded: dict[str, str] = {}
    """Task → why it is left out of training ("held out: entailment", "adjacent to entailment", ...)."""
    clusters: dict[str, str] = {}
    """Task → cluster, for every task in `tasks` and `excluded`."""
    families: dict[str, str] = {}
    """Task → family, for the same tasks; one without a family is its own."""
    adjacency: dict[str, tuple[str, ...]] = {}
    """Cluster → its neighbours, by the taxonomy in force."""
    model: Sha256 | None = None
    """The base, evaluated or served model: a directory of the store. None for a preset."""


class JobSpec(Document):
    """What every kind of job has."""

    name: Name
    resources: Resources = Resources()
    max_retries: int = Field(default=3, ge=0, le=100)
    """How many times a fault of the machine (not of the request) starts a new attempt."""
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] = Field(
        default={}, max_length=16
    )
    pins: Pins | None = None


class TuneSpec(JobSpec):
    """Tune `base` on a mixture of instructions. The result is a model called `name`."""

    kind: Literal["tune"] = "tune"
    base: Reference
    mixture: Mixture = Mixture()
    steps: int = Field(default=30_000, ge=1, le=10_000_000)
    tokens_per_step: int = Field(default=8_192, ge=8, le=2**28)
    """Token slots of one optimizer update, over all ranks: packs of `pack_length`."""
    input_length: int = Field(default=1_024, ge=4, le=2**20)
    target_length: int = Field(default=256, ge=2, le=2**20)
    pack_length: int | None = Field(default=None, ge=8, le=2**20)
    """Length of a packed sequence; None = input_length + target_length."""
    micro_batch: int = Field(default=1, ge=1, le=4096)
    """Packs a rank sends through the network at a time. No effect on the result but rounding."""
    optimizer: Optimizer = Optimizer()
    precision: Literal["bf16", "fp32"] = "bf16"
    zero_stage: Literal[0, 1, 2, 3] = 0
    checkpoint_every: int = Field(default=1_000, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    log_every: int = Field(default=10, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)

    @property
    def packed_length(self) -> int:
        """L of a packed sequence, in tokens."""
        return self.pack_length or self.input_length + self.target_length

    @property
    def packs_per_step(self) -> int:
        """How many packs make a step: tokens_per_step in packs, rounded, at least one."""
        return max(1, round(self.tokens_per_step / self.packed_length))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.packed_length < self.input_length + self.target_length:
            raise ValueError(
                f"pack_length {self.pack_length} is less than input_length {self.input_length} + "
                f"target_length {self.target_length}: an example must fit into a pack"
            )
        if self.optimizer.name == "adafactor" and self.zero_stage > 0:
            raise ValueError(
                f"adafactor needs zero_stage 0, not {self.zero_stage}: ZeRO hands an optimizer flat shards, on "
                "which Adafactor cannot factor rows and columns; use zero_stage 0 or optimizer.name adamw"
            )
        return self


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
    after_target: str = Field(default="\n\n", max_length=256)


class EvaluateSpec(JobSpec):
    """Measure one model on tasks: every template, never an inverted one."""

    kind: Literal["evaluate"] = "evaluate"
    model: Reference
    collection: Literal["flan", "synthetic"] = "flan"
    tasks: tuple[Reference, ...] = Field(min_length=1, max_length=4096)
    """Selectors, as in a mixture."""
    split: Name = "validation"
    limit: int | None = Field(default=None, ge=1)
    """At most this many rows of a task: a seeded sample, the same for every template and model."""
    templates_per_task: int = Field(default=10, ge=1)
    scoring: Literal["auto", "rank", "generate"] = "auto"
    """auto: tasks with answer choices by rank classification, others by greedy generation."""
    options: OptionsPolicy = "flan2021"
    """How answer choices are shown; none: only the text before them says what is asked."""
    prompt_format: PromptFormat = "instructions"
    few_shot: FewShot | None = None
    """None: zero-shot."""
    max_new_tokens: int = Field(default=256, ge=1, le=8192)
    batch_tokens: int = Field(default=4_096, ge=8)
    """Token slots of one forward pass. No effect on the result but rounding."""
    input_length: int = Field(default=1_024, ge=4, le=2**20)
    missing: Literal["fail", "drop"] = "fail"
    seed: int = Field(default=0, ge=0, lt=2**63)


class Sampling(Document):
    """How an answer is drawn. The defaults are those of the samples shown in the paper."""

    temperature: float = Field(default=0.9, ge=0, le=100)  # 0 = greedy
    top_k: int = Field(default=40, ge=0)  # 0 = off
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_new_tokens: int = Field(default=256, ge=1, le=8192)
    stop: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(default=(), max_length=4)
    seed: int | None = Field(default=None, ge=0, lt=2**63)  # None = drawn, and reported in the answer


class ServeSpec(JobSpec):
    """Serve one model until the job is cancelled. Requests reach it by `name`."""

    kind: Literal["serve"] = "serve"
    model: Reference
    precision: Literal["bf16", "fp32"] = "fp32"
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
