"""What a served model answers: documents, the same for HTTP and command line."""

from typing import Literal

from flan.spec import Document, Sha256

Mode = Literal["sample", "classify"]


class Usage(Document):
    """Tokens read and tokens written or scored."""

    prompt_tokens: int
    """Tokens of the prompt."""
    completion_tokens: int
    """Tokens written or scored."""
    total_tokens: int
    """Both together."""


class Timing(Document):
    """Where the time went, in seconds."""

    queue_s: float
    """Until the model began with it."""
    prefill_s: float
    """Reading it, until there was text to show, or all scores."""
    decode_s: float | None
    """Writing what followed; null where nothing was written."""
    total_s: float
    """From the request's arrival at the model to the answer."""


class Rendering(Document):
    """A row as it was put to the model."""

    task: str
    """Which task."""
    template: int
    """Which of its templates."""
    prompt: str
    """What the model read."""
    targets: tuple[str, ...]
    """What it would write for each answer choice; none = the answer is free."""
    exemplars: tuple[int, ...]
    """The solved rows before the question: their numbers, in their order."""
    cut_field: str | None = None
    """The field whose end did not fit; null = all was read."""
    cut_to: int | None = None
    """How many of its characters were read."""


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
    spread: float | None = None
    """Standard deviation of its probability over templates, where several were asked."""
    votes: int | None = None
    """How many templates chose it, where several were asked."""


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
    timing: Timing
    """Where the time went."""


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
    rendering: Rendering | None = None
    """The row as it was asked, where the question is a row."""


class TemplateChoice(Classification):
    """What was chosen through one template."""

    rendering: Rendering
    """The row as it was asked."""


class Classified(Classification):
    """The choice for one input.

    Through several templates: the option that most of them choose, the more probable one of equals. Its
    log-probabilities, probabilities and `option_mass` are then means over the templates, `margin` may be negative.
    """

    rendering: Rendering | None = None
    """The row as it was asked, where the question is a row and one template was asked."""
    templates: tuple[TemplateChoice, ...] = ()
    """What each template says, where several were asked."""


class ClassifyAnswer(_Answered, Classified):
    """The answer to `POST /classify` about one input."""

    object: Literal["classification"] = "classification"


class ClassifyManyAnswer(_Answered):
    """The answer to `POST /classify` about many inputs."""

    object: Literal["classifications"] = "classifications"
    data: tuple[Classified, ...]
    """One for each input, in their order."""


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
