"""What OpenAI's clients send and expect, said in our own words: a translation, nothing more.

A request becomes a GenerateRequest with `mode: sample`; what it leaves out has the served model's default.
Fields that would change the answer and that we do not have are refused, not passed over.
"""

import json
from collections.abc import AsyncIterator
from typing import Any, Literal

from pydantic import Field

from flan.serve.messages import (
    MAX_PROMPT_CHARS,
    MAX_SAMPLES,
    Choice,
    GenerateAnswer,
    GenerateRequest,
    StopString,
)
from flan.spec import Document, Reference, parse

DONE = b"data: [DONE]\n\n"


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
    max_tokens: int | None = Field(default=None, ge=1, le=8_192)
    """The answer is cut after this many tokens."""
    n: int | None = Field(default=None, ge=1, le=MAX_SAMPLES)
    """How many answers."""
    temperature: float | None = Field(default=None, ge=0, le=100)
    """0 = always the most probable token."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Only the most probable tokens that together reach this probability are drawn from; 1 = off."""
    stop: StopString | tuple[StopString, ...] | None = None
    """The answer ends before the first of these; it is not part of the text."""
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Same request, same seed, same answer."""
    stream: bool = False
    """Whether the answer comes token by token, as server-sent events."""
    stream_options: StreamOptions | None = None
    """What the stream also tells."""
    user: str | None = Field(default=None, max_length=256)
    """Not used."""


class CompletionRequest(_Asked):
    """`POST /v1/completions`."""

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_CHARS)
    """The text to go on from."""


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
    max_completion_tokens: int | None = Field(default=None, ge=1, le=8_192)
    """The same as max_tokens."""


Request = CompletionRequest | ChatRequest


def to_generate(asked: Request) -> GenerateRequest:
    """The same question in our words."""
    if isinstance(asked, ChatRequest):
        prompt = "\n\n".join(message.text for message in asked.messages)
        max_new_tokens = asked.max_completion_tokens or asked.max_tokens
    else:
        prompt, max_new_tokens = asked.prompt, asked.max_tokens
    stop = (asked.stop,) if isinstance(asked.stop, str) else asked.stop
    value = {
        "model": asked.model,
        "prompt": prompt,
        "mode": "sample",
        "n": asked.n,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "stop": stop,
        "max_new_tokens": max_new_tokens,
        "seed": asked.seed,
        "stream": asked.stream,
    }
    return parse(GenerateRequest, value)


def from_generate(asked: Request, answer: GenerateAnswer) -> dict[str, Any]:
    """An answer in OpenAI's words."""
    choices = [
        _chat(choice) if isinstance(asked, ChatRequest) else _text(choice) for choice in answer.choices
    ]
    head = _head(asked, answer.id, answer.created, answer.model)
    return {**head, "choices": choices, "usage": answer.usage.model_dump(mode="json")}


async def from_stream(
    asked: Request, lines: AsyncIterator[str], id_: str, created: int
) -> AsyncIterator[bytes]:
    """A rank's event stream as the frames that OpenAI's clients read."""
    head = _head(asked, id_, created, asked.model, chunk=True)
    started: set[int] = set()
    event = ""
    async for line in lines:
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data = json.loads(line.removeprefix("data: "))
            if event == "token":
                yield _frame({**head, "choices": [_piece(asked, data["index"], data["text"], started)]})
            elif event == "error":
                yield _frame(
                    {"error": {"message": data["detail"], "type": "server_error", "code": data["code"]}}
                )
            elif event == "done":
                answer = parse(GenerateAnswer, data)
                for choice in answer.choices:
                    ended = _piece(asked, choice.index, "", started) | {"finish_reason": choice.finish_reason}
                    yield _frame({**head, "choices": [ended]})
                if asked.stream_options and asked.stream_options.include_usage:
                    usage = answer.usage.model_dump(mode="json")
                    yield _frame({**head, "choices": [], "usage": usage})
        elif line.startswith(":"):
            yield b": waiting\n\n"
    yield DONE


def _head(asked: Request, id_: str, created: int, model: str, *, chunk: bool = False) -> dict[str, Any]:
    if isinstance(asked, ChatRequest):
        return {
            "id": f"chatcmpl-{id_}",
            "object": "chat.completion.chunk" if chunk else "chat.completion",
            "created": created,
            "model": model,
        }
    return {"id": f"cmpl-{id_}", "object": "text_completion", "created": created, "model": model}


def _text(choice: Choice) -> dict[str, Any]:
    return {
        "index": choice.index,
        "text": choice.text,
        "finish_reason": choice.finish_reason,
        "logprobs": None,
    }


def _chat(choice: Choice) -> dict[str, Any]:
    message = {"role": "assistant", "content": choice.text, "refusal": None}
    return {
        "index": choice.index,
        "message": message,
        "finish_reason": choice.finish_reason,
        "logprobs": None,
    }


def _piece(asked: Request, index: int, text: str, started: set[int]) -> dict[str, Any]:
    piece: dict[str, Any] = {"index": index, "finish_reason": None, "logprobs": None}
    if isinstance(asked, CompletionRequest):
        return piece | {"text": text}
    role = {} if index in started else {"role": "assistant"}
    started.add(index)
    return piece | {"delta": {**role, "content": text} if text or role else {}}


def _frame(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()
