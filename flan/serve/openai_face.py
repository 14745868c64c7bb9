"""What OpenAI's clients send and expect, said in our own words: a translation, nothing more.

What a request leaves out has the served model's default. A prompt is text, or the token ids of a text, and is put to
the model as in training. With `echo` it is one text that is read as it is, without the contract's separator: its tokens
are those that were sent, and the answer goes on where it ends. That is what lm-evaluation-harness asks about.
"""

import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from flan.data.tokens import Ids, prompt_from_ids, text_ids
from flan.errors import FlanError
from flan.model.load import Model
from flan.model.reading import NoDecoder, ReadToken
from flan.serve import wire
from flan.serve.asking import Asking, problem_body
from flan.serve.messages import GenerateRequest
from flan.serve.openai_messages import ChatRequest, CompletionRequest, OpenAIRequest
from flan.serve.plans import Sample, plan_ids
from flan.serve.sequences import Completion, Piece
from flan.spec import Sampling, parse

DONE = b"data: [DONE]\n\n"


class NoSuchToken(FlanError):
    """A token id that stands for no text of the model's vocabulary."""

    code, blame = "token_unknown", "user"


class Prompted(NamedTuple):
    """One of the texts of a request."""

    text_ids: Ids
    """Of the prompt alone."""
    sample: Sample
    """What is put to the model."""
    writes: bool
    """Whether anything is to be written."""


def plan_openai(model: Model, defaults: Sampling, asked: OpenAIRequest) -> list[Prompted]:
    """What to do about a request. Raises NoDecoder, NoSuchToken, ContextExceeded."""
    is_echo = isinstance(asked, CompletionRequest) and asked.echo
    if is_echo and model.card.contract.architecture != "decoder":
        raise NoDecoder(
            f"{model.card.name} is an encoder-decoder: it has nothing to say about a prompt",
            hint="score continuations: POST /score", pointer="/echo",
        )  # fmt: skip
    request = _sampling_of(asked)
    plans = []
    for prompt in asked.prompts:
        ids = _ids_of(model, prompt)
        contract = model.card.contract
        put = np.array([*contract.prefix_ids, *ids], np.int32) if is_echo else prompt_from_ids(contract, ids)
        sample = plan_ids(model, defaults, request, put)
        plans.append(Prompted(np.array(ids, np.int32), sample, asked.max_tokens != 0))
    return plans


def read_plans(
    asked: OpenAIRequest, plans: Sequence[Prompted], completions: Sequence[Sequence[Completion]]
) -> list[tuple[Ids, int]]:
    """The texts whose every token is to be looked at, and how many of the most probable ones: one for each answer."""
    if not isinstance(asked, CompletionRequest) or asked.logprobs is None:
        return []
    if asked.logprobs == 0 and not asked.echo:
        return []
    return [
        (np.array([*plan.sample.prompt, *tokens], np.int32), asked.logprobs)
        for plan, own in zip(plans, completions, strict=True)
        for tokens in ([each.token_ids for each in own] or [()])
    ]


def answer_of(
    model: Model,
    asked: OpenAIRequest,
    plans: Sequence[Prompted],
    completions: Sequence[Sequence[Completion]],
    read: Sequence[Sequence[ReadToken]],
) -> dict[str, Any]:
    """The answer in OpenAI's words; `read` is what was found about the texts of `read_plans`."""
    choices: list[dict[str, Any]] = []
    for plan, own in zip(plans, completions, strict=True):
        for completion in own or [Completion(0, "", "length", (), ())]:
            index = len(choices)
            if isinstance(asked, ChatRequest):
                choices.append(_chat(index, completion))
            else:
                found = read[index] if read else None
                choices.append(_text(model, asked, index, plan, completion, found))
    num_read = sum(len(plan.sample.prompt) for plan in plans)
    num_written = sum(len(each.token_ids) for own in completions for each in own)
    usage = {
        "prompt_tokens": num_read,
        "completion_tokens": num_written,
        "total_tokens": num_read + num_written,
    }
    return {**_head(asked, wire.new_id("")), "choices": choices, "usage": usage}


class OpenAIWording:
    """A stream as OpenAI's clients read it."""

    def __init__(self, asking: Asking, asked: OpenAIRequest, plan: Prompted) -> None:
        self._asking, self._asked, self._plan = asking, asked, plan
        self._head = _head(asked, wire.new_id(""), is_chunk=True)
        self._started: set[int] = set()

    def piece(self, piece: Piece) -> bytes:
        """Some text, as it is written."""
        return _frame({**self._head, "choices": [self._choice(piece.sample, piece.text)]})

    def end(self, completions: Sequence[Completion]) -> bytes:
        """How each text ended, the usage where it was asked for, and the end of the stream."""
        frames = []
        for each in completions:
            ended = self._choice(each.sample, "") | {"finish_reason": each.finish_reason}
            frames.append(_frame({**self._head, "choices": [ended]}))
        if self._asked.stream_options and self._asked.stream_options.include_usage:
            num_read = len(self._plan.sample.prompt)
            num_written = sum(len(each.token_ids) for each in completions)
            usage = {
                "prompt_tokens": num_read,
                "completion_tokens": num_written,
                "total_tokens": num_read + num_written,
            }
            frames.append(_frame({**self._head, "choices": [], "usage": usage}))
        return b"".join([*frames, DONE])

    def fault(self, error: FlanError) -> bytes:
        """What its users are told, and the end of the stream."""
        problem = problem_body(self._asking.request, error)
        told = {"message": problem["detail"], "type": "server_error", "code": problem["code"]}
        return _frame({"error": told}) + DONE

    def _choice(self, index: int, text: str) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": index, "finish_reason": None, "logprobs": None}
        if isinstance(self._asked, CompletionRequest):
            return choice | {"text": text}
        role = {} if index in self._started else {"role": "assistant"}
        self._started.add(index)
        return choice | {"delta": {**role, "content": text} if text or role else {}}


def _sampling_of(asked: OpenAIRequest) -> GenerateRequest:
    max_new_tokens = asked.max_tokens or None
    if isinstance(asked, ChatRequest):
        max_new_tokens = asked.max_completion_tokens or asked.max_tokens
    value = {
        "prompt": "-",  # the ids are known by now
        "n": asked.n,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "repetition_penalty": asked.repetition_penalty,
        "stop": (asked.stop,) if isinstance(asked.stop, str) else asked.stop,
        "max_new_tokens": 1 if asked.max_tokens == 0 else max_new_tokens,
        "seed": asked.seed,
    }
    return parse(GenerateRequest, value)


def _ids_of(model: Model, prompt: str | tuple[int, ...]) -> Sequence[int]:
    if isinstance(prompt, str):
        (ids,) = text_ids(model.tokenizer, [prompt])
        return ids
    size = len(model.tokenizer)
    for id_ in prompt:
        if id_ >= size:
            raise NoSuchToken(
                f"token id {id_} stands for nothing: the vocabulary has {size}", pointer="/prompt"
            )
    return prompt


def _head(asked: OpenAIRequest, id_: str, *, is_chunk: bool = False) -> dict[str, Any]:
    created = int(time.time())
    if isinstance(asked, ChatRequest):
        kind = "chat.completion.chunk" if is_chunk else "chat.completion"
        return {"id": f"chatcmpl-{id_}", "object": kind, "created": created, "model": asked.model}
    return {"id": f"cmpl-{id_}", "object": "text_completion", "created": created, "model": asked.model}


def _chat(index: int, completion: Completion) -> dict[str, Any]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": completion.text, "refusal": None},
        "finish_reason": completion.finish_reason,
        "logprobs": None,
    }


def _text(
    model: Model,
    asked: CompletionRequest,
    index: int,
    plan: Prompted,
    completion: Completion,
    read: Sequence[ReadToken] | None,
) -> dict[str, Any]:
    before = _spelt(model, plan.text_ids) if asked.echo else ""
    return {
        "index": index,
        "text": before + completion.text,
        "finish_reason": completion.finish_reason,
        "logprobs": None if asked.logprobs is None else _logprobs(model, asked, plan, completion, read),
    }


def _logprobs(
    model: Model,
    asked: CompletionRequest,
    plan: Prompted,
    completion: Completion,
    read: Sequence[ReadToken] | None,
) -> dict[str, Any]:
    shown = [*plan.text_ids.tolist(), *completion.token_ids] if asked.echo else list(completion.token_ids)
    tokens = [_spelt(model, [id_]) for id_ in shown]
    starts = [0]
    for token in tokens:
        starts.append(starts[-1] + len(token))
    found: dict[str, Any] = {"tokens": tokens, "text_offset": starts[:-1], "top_logprobs": None}
    if read is None:
        return found | {"token_logprobs": list(completion.token_logprobs)}
    # What was read begins with the second token; the very first of a text was not expected by anything.
    known: list[ReadToken | None] = [None, *read][-len(shown) :] if shown else []
    found["token_logprobs"] = [each.logprob if each else None for each in known]
    if asked.logprobs:
        found["top_logprobs"] = [_top(model, each) for each in known]
    return found


def _top(model: Model, read: ReadToken | None) -> dict[str, float] | None:
    if read is None:
        return None
    found: dict[str, float] = {}
    for id_, logprob in read.top:
        # Several ids may be spelt alike, parts of one character: the most probable one stands for them.
        found.setdefault(_spelt(model, [id_]), logprob)
    return found


def _spelt(model: Model, ids: Sequence[int] | Ids) -> str:
    text = model.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    return text


def _frame(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()
