"""What OpenAI's clients send: documents. Fields that would change the answer and that we do not have are refused."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flan.faults import Wrong, refuse
from flan.serve.messages import MAX_PROMPT_CHARS, MAX_SAMPLES, MAX_STOPS, StopString, Timeout
from flan.spec import Document, Reference

MAX_PROMPTS = 64
MAX_TOP = 20
Text = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARS)]
TokenIds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1, max_length=MAX_PROMPT_CHARS)
]


class StreamOptions(Document):
    """What a stream also tells."""

    include_usage: bool = False
    """Whether a last event says how many tokens were read and written."""
    include_obfuscation: bool = False
    """Not used."""


class _Asked(Document):
    """What both kinds of requests share."""

    model: Reference
    """A served model, by its deployment's name or `name@alias`."""
    n: int | None = Field(default=None, ge=1, le=MAX_SAMPLES)
    """How many answers."""
    temperature: float | None = Field(default=None, ge=0, le=100)
    """0 = always the most probable token."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Only the most probable tokens that together reach this probability are drawn from; 1 = off."""
    top_k: int | None = Field(default=None, ge=0, lt=2**31)
    """Only the k most probable tokens are drawn from; 0 = off. Not OpenAI's, though many servers know it."""
    repetition_penalty: float | None = Field(default=None, ge=0.1, le=10)
    """Tokens of prompt and answer become so much less probable as they come again; 1 = off. Not OpenAI's either."""
    stop: StopString | Annotated[tuple[StopString, ...], Field(max_length=MAX_STOPS)] | None = None
    """The answer ends before the first of these; it is not part of the text."""
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Same request, same seed, same answer."""
    stream: bool = False
    """Whether the answer comes token by token, as server-sent events."""
    stream_options: StreamOptions | None = None
    """What the stream also tells."""
    user: str | None = Field(default=None, max_length=256)
    """Not used."""
    timeout_s: Timeout | None = None
    """The answer is given up when it is not there after so many seconds. Not OpenAI's."""


class CompletionRequest(_Asked):
    """`POST /v1/completions`."""

    prompt: (
        Text | TokenIds | Annotated[tuple[Text | TokenIds, ...], Field(min_length=1, max_length=MAX_PROMPTS)]
    )
    """The text to go on from, or its token ids; or several of them."""
    max_tokens: int | None = Field(default=None, ge=0, le=8_192)
    """The answer is cut after this many tokens; 0 = none is written, with `echo`."""
    echo: bool = False
    """Whether the text begins with the prompt. It is then read as one text, and goes on where the prompt ends."""
    logprobs: int | None = Field(default=None, ge=0, le=MAX_TOP)
    """Whether each token comes with its log-probability and those of so many more probable ones."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse("CompletionRequest", self._faults())
        return self

    def _faults(self) -> Iterator[Wrong]:
        if self.max_tokens == 0 and not self.echo:
            yield Wrong(
                ("max_tokens",), "contradiction", "nothing would be answered", "ask for a token, or set echo"
            )
        if self.stream and (self.echo or self.logprobs is not None or len(self.prompts) > 1):
            said = "a stream is one text without echo and log-probabilities"
            yield Wrong(("stream",), "contradiction", said, "leave stream out")
        if len(self.prompts) * (self.n or 1) > MAX_PROMPTS:
            said = f"{len(self.prompts)} prompts with n {self.n} are more than {MAX_PROMPTS} answers"
            yield Wrong(("n",), "too_many", said, "ask for fewer at once")

    @property
    def prompts(self) -> tuple[str | tuple[int, ...], ...]:
        """Each of the texts, or its token ids."""
        if isinstance(self.prompt, str):
            return (self.prompt,)
        if isinstance(self.prompt[0], int):
            return (tuple(each for each in self.prompt if isinstance(each, int)),)
        return tuple(each for each in self.prompt if not isinstance(each, int))


class TextPart(Document):
    """A piece of a message."""

    type: Literal["text"]
    """The only kind of part there is."""
    text: str = Field(max_length=MAX_PROMPT_CHARS)
    """The words."""


class ChatMessage(Document):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    """Who speaks; the prompt holds the words alone."""
    content: str | tuple[TextPart, ...] = Field(max_length=MAX_PROMPT_CHARS)
    """What is said: text, or parts that are joined."""
    name: str | None = Field(default=None, max_length=64)
    """Not used."""

    @property
    def text(self) -> str:
        """Its words."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(_Asked):
    """`POST /v1/chat/completions`. The turns become one prompt, a blank line between them."""

    messages: tuple[ChatMessage, ...] = Field(min_length=1, max_length=256)
    """The turns so far, oldest first."""
    max_tokens: int | None = Field(default=None, ge=1, le=8_192)
    """The answer is cut after this many tokens."""
    max_completion_tokens: int | None = Field(default=None, ge=1, le=8_192)
    """The same as max_tokens."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """The one text that the turns become."""
        return ("\n\n".join(message.text for message in self.messages),)


OpenAIRequest = CompletionRequest | ChatRequest
