"""A request → what the model is to do: sample, or rank options. Text becomes token ids here.

Ids come from the functions of training (flan.data.tokens), options are laid out by those of the renderer
(flan.tasks.options): what is served is what was trained. Nothing is cut silently: what does not fit is an
error with both numbers.
"""

import secrets
from collections.abc import Sequence
from typing import Literal, NamedTuple

from flan.card import ModelCard
from flan.data.tokens import ContextExceeded, Ids, encode_prompt, encode_target
from flan.errors import FlanError, InvalidDocument
from flan.model.load import Model
from flan.serve.messages import MAX_OPTIONS, ClassifyRequest, GenerateRequest, Parameter, ScoreRequest
from flan.spec import Sampling, parse
from flan.tasks.options import read_options, write_options

SAMPLING_FIELDS = ("n", "temperature", "top_k", "top_p", "stop")
"""Setting one of these asks for a sampled answer."""
ENCODER_TOKENS = 4_096
"""Longest prompt of an encoder-decoder: its positions are unbounded, but attention costs their square."""
SCORED_TOKENS = 8_192
"""Most tokens of all options of a request together."""


class TooManyTokens(FlanError):
    """The options of a request are too long together."""

    code, blame = "too_many_tokens", "user"


class Sample(NamedTuple):
    """To be drawn."""

    prompt: Ids
    sampling: Sampling
    n: int
    parameters: dict[str, Parameter]
    reason: str


class Rank(NamedTuple):
    """To be scored."""

    prompt: Ids
    options: tuple[str, ...]
    targets: list[Ids]
    reason: str


def plan_generate(model: Model, defaults: Sampling, request: GenerateRequest) -> Sample | Rank:
    """What to do about a request. Raises InvalidDocument, ContextExceeded, TooManyTokens."""
    options = request.options or read_options(request.prompt)
    mode, reason = _mode(request, options)
    text = _with_options(request)
    if mode == "classify":
        return _rank(model, text, _checked(options), reason)
    prompt = encode_prompt(model.tokenizer, model.card.contract, text)
    return _sample(model, defaults, request, prompt, reason)


def plan_classify(model: Model, request: ClassifyRequest) -> Rank:
    """What to score. Raises InvalidDocument when there is nothing to choose from."""
    options = _checked(request.options or read_options(request.prompt))
    return _rank(model, _with_options(request), options, "asked to classify")


def plan_score(model: Model, request: ScoreRequest) -> Rank:
    """What to score."""
    return _rank(model, request.prompt, request.continuations, "asked to score")


def _mode(
    request: GenerateRequest, options: Sequence[str] | None
) -> tuple[Literal["sample", "classify"], str]:
    if request.mode == "sample":
        return "sample", "the request sets mode: sample"
    if request.mode == "classify":
        if request.stream:
            raise _problem("/stream", "a classification is one choice: there is nothing to stream")
        return "classify", "the request sets mode: classify"
    if options is None:
        return "sample", "there are no options to choose from"
    why = "the request gives options" if request.options else "the prompt ends in an OPTIONS block"
    given = [name for name in SAMPLING_FIELDS if getattr(request, name) is not None]
    if request.stream:
        given.append("stream")
    if given:
        return "sample", f"{why}, but the request sets {', '.join(given)}"
    return "classify", why


def _with_options(request: GenerateRequest | ClassifyRequest) -> str:
    if request.options and request.options_in_prompt and read_options(request.prompt) is None:
        return f"{request.prompt.rstrip()}\n\n{write_options(request.options)}"
    return request.prompt


def _rank(model: Model, text: str, options: tuple[str, ...], reason: str) -> Rank:
    contract = model.card.contract
    prompt = encode_prompt(model.tokenizer, contract, text)
    targets = [encode_target(model.tokenizer, contract, option) for option in options]
    total, longest = sum(map(len, targets)), max(map(len, targets))
    if total > SCORED_TOKENS:
        raise TooManyTokens(
            f"the options have {total} tokens together, at most {SCORED_TOKENS} are scored at once",
            hint="ask in several requests", length=total, limit=SCORED_TOKENS,
        )  # fmt: skip
    _check_fits(model.card, prompt, longest)
    return Rank(prompt, options, targets, reason)


def _sample(model: Model, defaults: Sampling, request: GenerateRequest, prompt: Ids, reason: str) -> Sample:
    parameters = {"n": Parameter(value=request.n or 1, source="request" if request.n else "default")}
    for name in ("temperature", "top_k", "top_p", "stop", "max_new_tokens", "seed"):
        given, default = getattr(request, name), getattr(defaults, name)
        if given is not None:
            parameters[name] = Parameter(value=given, source="request")
        elif default is not None:
            parameters[name] = Parameter(value=default, source="default")
    if "seed" not in parameters:
        parameters["seed"] = Parameter(value=secrets.randbits(32), source="drawn")
    _check_fits(model.card, prompt, request.max_new_tokens or 1)
    room = _context(model.card) - len(prompt)
    is_decoder = model.card.contract.architecture == "decoder"
    if is_decoder and request.max_new_tokens is None and defaults.max_new_tokens > room:
        # Nobody asked for that many; that it is fewer is said.
        parameters["max_new_tokens"] = Parameter(value=room, source="model")
    values = {name: parameter.value for name, parameter in parameters.items() if name != "n"}
    return Sample(prompt, parse(Sampling, values), request.n or 1, parameters, reason)


def _check_fits(card: ModelCard, prompt: Ids, num_new: int) -> None:
    is_decoder = card.contract.architecture == "decoder"
    length, limit = len(prompt) + (num_new if is_decoder else 0), _context(card)
    if length > limit:
        answer = f" and {num_new} of answer make {length}" if is_decoder else ""
        raise ContextExceeded(
            f"{len(prompt)} tokens of prompt{answer}; {card.name} reads {limit}",
            hint="shorten the prompt or lower max_new_tokens: nothing is cut off silently",
            length=length, limit=limit,
        )  # fmt: skip


def _context(card: ModelCard) -> int:
    is_decoder = card.contract.architecture == "decoder"
    return card.context_length if is_decoder else min(card.context_length, ENCODER_TOKENS)


def _checked(options: tuple[str, ...] | None) -> tuple[str, ...]:
    """Options that may come from the text of a prompt, where no document has checked them."""
    if options is None:
        raise _problem("/options", "give options, or a prompt that ends in an OPTIONS block")
    if len(options) > MAX_OPTIONS:
        raise _problem(
            "/prompt", f"the OPTIONS block has {len(options)} options, at most {MAX_OPTIONS} are ranked"
        )
    if len(set(options)) < len(options):
        raise _problem("/prompt", f"an option stands twice in the OPTIONS block: {list(options)}")
    return options


def _problem(pointer: str, message: str) -> InvalidDocument:
    return InvalidDocument(message, [{"pointer": pointer, "code": "invalid_request", "message": message}])
