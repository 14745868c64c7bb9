"""What can be asked of a served model, and what it answers: documents, the same for HTTP and command line."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flan.spec import Document, Reference, Sha256

MAX_PROMPT_CHARS = 262_144
MAX_OPTIONS = 64
MAX_SAMPLES = 16

Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARS)]
Option = Annotated[str, Field(min_length=1, max_length=1_024)]
Continuation = Annotated[str, Field(max_length=32_768)]
StopString = Annotated[str, Field(min_length=1, max_length=256)]
Mode = Literal["sample", "classify"]


class _Choosing(Document):
    """What requests share that may choose among options."""

    model: Reference | None = None
    """Which model; may be left out where one is served."""
    prompt: Prompt
    """The question, as it is: with its OPTIONS block at the end where it has one."""
    options: tuple[Option, ...] | None = Field(default=None, min_length=1, max_length=MAX_OPTIONS)
    """Answers to choose from; None = those of the OPTIONS block that ends the prompt, if it has one."""
    options_in_prompt: bool = True
    """Whether `options` are also shown, as an OPTIONS block after a prompt that has none."""

    @model_validator(mode="after")
    def _options_are_distinct_lines(self) -> Self:
        options = self.options or ()
        if len(set(options)) < len(options):
            raise ValueError(f"an option stands twice among {list(options)}")
        if self.options_in_prompt and any("\n" in option for option in options):
            raise ValueError("an option of an OPTIONS block is one line; set options_in_prompt: false")
        return self


class GenerateRequest(_Choosing):
    """`POST /generate`. What is left out has the served model's default.

    With mode `auto`, a prompt that has options is answered by rank classification, unless the request sets
    n, temperature, top_k, top_p or stop, or asks for a stream: then it is sampled. `null` sets nothing.
    """

    mode: Literal["auto", "sample", "classify"] = "auto"
    """auto: options are ranked where there are any, else the answer is sampled."""
    n: int | None = Field(default=None, ge=1, le=MAX_SAMPLES)
    """How many answers."""
    temperature: float | None = Field(default=None, ge=0, le=100)
    """0 = always the most probable token."""
    top_k: int | None = Field(default=None, ge=0, lt=2**31)
    """0 = off."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Only the most probable tokens that together reach this probability are drawn from; 1 = off."""
    stop: tuple[StopString, ...] | None = Field(default=None, max_length=4)
    """The answer ends before the first of these; it is not part of the text."""
    max_new_tokens: int | None = Field(default=None, ge=1, le=8_192)
    """The answer is cut after this many tokens."""
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Same request, same seed, same answer, whatever else the model is asked."""
    stream: bool = False
    """Whether the answer comes token by token, as server-sent events."""
    logprobs: bool = False
    """Whether each token's log-probability is reported."""


class ClassifyRequest(_Choosing):
    """`POST /classify`: how probable each option is as the whole answer."""


class ScoreRequest(Document):
    """`POST /score`: log-probabilities of continuations of a prompt, as targets: their end included."""

    model: Reference | None = None
    """Which model; may be left out where one is served."""
    prompt: Prompt
    """The text before the continuations."""
    continuations: tuple[Continuation, ...] = Field(min_length=1, max_length=MAX_OPTIONS)
    """What to score, each as the whole answer to the prompt."""


class Usage(Document):
    """Tokens read and tokens written or scored."""

    prompt_tokens: int
    """Tokens of the prompt."""
    completion_tokens: int
    """Tokens written or scored."""
    total_tokens: int
    """Both together."""


class Parameter(Document):
    """A value that was used, and who set it; `model`: cut down to what the model's context leaves."""

    value: float | int | tuple[str, ...]
    """What was used."""
    source: Literal["request", "default", "model", "drawn"]
    """request: you set it. default: of the deployment. model: cut to its context. drawn: by the server."""


class TokenLogprobs(Document):
    """The tokens of an answer, its end included, with their log-probabilities (temperature 1, nothing cut)."""

    token_ids: tuple[int, ...]
    """The tokens of the answer."""
    token_logprobs: tuple[float, ...]
    """Of each token, in nats."""


class Choice(Document):
    """One answer. `finish_reason` length: cut at max_new_tokens."""

    index: int
    """Which of the n answers, from 0."""
    text: str
    """The answer."""
    finish_reason: Literal["stop", "length"]
    """stop: it ended by itself or before a stop string. length: it was cut."""
    logprobs: TokenLogprobs | None = None
    """Of its tokens, where they were asked for."""


class OptionResult(Document):
    """An option as the whole answer. `probability` is among the options: they sum to 1."""

    option: str
    """The option."""
    logprob: float
    """Log-probability of the option as the whole answer, in nats."""
    num_tokens: int
    """An end of answer included: it is part of the score."""
    probability: float
    """Its share among the options; they sum to 1."""


class Classification(Document):
    """The choice among options."""

    choice: str
    """The option of the highest log-probability."""
    index: int
    """Its place among the options, from 0."""
    scores: tuple[OptionResult, ...]
    """In the order of the options."""
    margin: float | None
    """By how many nats the choice leads; None when it is the only option."""
    option_mass: float
    """Probability that the model, writing freely, would write one of the options."""
    tied: bool
    """Whether another option has the same log-probability; the first one was chosen."""


class _Answered(Document):
    """What every answer reports."""

    id: str
    """Of this answer, for logs."""
    created: int
    """Unix seconds."""
    model: str
    """Which model answered."""
    contract: Sha256
    """Digest of the render contract: how text became token ids."""
    usage: Usage
    """Tokens read and written."""


class GenerateAnswer(_Answered):
    """The answer to `POST /generate`."""

    object: Literal["generation"] = "generation"
    mode: Mode
    """What was done: sampled, or an option chosen."""
    mode_reason: str
    """Why that was done."""
    choices: tuple[Choice, ...]
    """The answers, one for each of n."""
    classification: Classification | None = None
    """The ranking, where an option was chosen."""
    seed: int | None = None
    """None when nothing was drawn."""
    parameters: dict[str, Parameter] = {}
    """How it was sampled, each with its source; empty for a classification."""
    unused: tuple[str, ...] = ()
    """Parameters of the request that had no effect, because options were ranked."""


class ClassifyAnswer(_Answered, Classification):
    """The answer to `POST /classify`."""

    object: Literal["classification"] = "classification"


class ScoredContinuation(Document):
    """A continuation; the last of its tokens are the end of answer."""

    continuation: str
    """The continuation."""
    logprob: float
    """Log-probability of the continuation as the whole answer, in nats."""
    num_tokens: int
    """How many tokens were scored, the end of answer included."""
    token_logprobs: tuple[float, ...]
    """Of each token, in nats."""


class ScoreAnswer(_Answered):
    """The answer to `POST /score`."""

    object: Literal["scores"] = "scores"
    scores: tuple[ScoredContinuation, ...]
    """One for each continuation, in their order."""
