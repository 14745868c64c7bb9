"""A request → what the model is to do: sample, or rank options. Text becomes token ids here.

Ids come from the functions of training (flan.data.tokens), options are laid out by those of the renderer
(flan.tasks.options), rows are rendered by it (flan.serve.rendering): what is served is what was trained. Nothing
is cut silently: what does not fit is an error with both numbers, and a row's long field that was cut is told.
"""

import secrets
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from flan.card import ModelCard
from flan.data.tokens import ContextExceeded, Ids, encode_prompt, encode_target
from flan.errors import FlanError, InvalidDocument, problem
from flan.model.load import Model
from flan.serve.messages import MAX_OPTIONS, ClassifyRequest, GenerateRequest, ScoreRequest, TemplateUse
from flan.serve.rendering import Question, ask, task_of, templates_of
from flan.serve.replies import Parameter, Rendering
from flan.spec import Sampling, parse
from flan.tasks.options import read_options, write_options

SAMPLING_FIELDS = ("n", "temperature", "top_k", "top_p", "repetition_penalty", "stop")
"""Setting one of these asks for a sampled answer."""
ENCODER_TOKENS = 4_096
"""Longest prompt of an encoder-decoder: its positions are unbounded, but attention costs their square."""
SCORED_TOKENS = 8_192
"""Most tokens of all options of a request together."""
MAX_PROMPTS = 256
"""Inputs times templates of a request to classify."""
_ASKED = "asked to classify"


class TooManyTokens(FlanError):
    """The options of a request are too long together."""

    code, blame = "too_many_tokens", "user"


class TooManyPrompts(FlanError):
    """Inputs times templates of a request are more than are classified at once."""

    code, blame = "too_many_prompts", "user"


class Sample(NamedTuple):
    """To be drawn."""

    prompt: Ids
    sampling: Sampling
    n: int
    parameters: dict[str, Parameter]
    reason: str
    rendering: Rendering | None = None


class Rank(NamedTuple):
    """To be scored."""

    prompt: Ids
    options: tuple[str, ...]
    targets: list[Ids]
    reason: str
    rendering: Rendering | None = None


class Vote(NamedTuple):
    """To be scored and put together: the prompts of each input, one for each template."""

    inputs: tuple[tuple[Rank, ...], ...]
    is_list: bool
    """Whether the answer is a list."""

    @property
    def ranks(self) -> list[Rank]:
        """All of them, in order."""
        return [rank for ranks in self.inputs for rank in ranks]


def plan_generate(model: Model, defaults: Sampling, request: GenerateRequest) -> Sample | Rank:
    """What to do about a request. Raises InvalidDocument, ContextExceeded, TooManyTokens, and what `ask` raises."""
    if request.template is not None:
        return _plan_row(model, defaults, request, request.template)
    text = _text(request)
    options = request.options or read_options(text)
    mode, reason = _mode(request, has_options=options is not None)
    text = _with_options(text, request)
    if mode == "classify":
        return _rank(model, text, _checked(options), reason)
    prompt = encode_prompt(model.tokenizer, model.card.contract, text)
    return _sample(model, defaults, request, prompt, reason)


def plan_classify(model: Model, request: ClassifyRequest) -> Vote:
    """What to score. Raises InvalidDocument when there is nothing to choose from, and what plan_generate raises."""
    given = (request.input,) if request.inputs is None else request.inputs
    inputs: list[tuple[Rank, ...]] = []
    if request.template is None:
        for value in given:
            text = _text(request, value)
            options = _checked(request.options or read_options(text))
            inputs.append((_rank(model, _with_options(text, request), options, _ASKED),))
        return Vote(tuple(inputs), request.inputs is not None)
    task = task_of(request.template)
    templates = templates_of(request.template, task)
    if len(given) * len(templates) > MAX_PROMPTS:
        raise TooManyPrompts(
            f"{len(given)} inputs through {len(templates)} templates are more than {MAX_PROMPTS} prompts",
            hint="ask about fewer inputs at once",
            pointer="/inputs",
        )
    for place, row in enumerate(given):
        assert isinstance(row, dict), "the request was checked"
        where = "/input" if request.inputs is None else f"/inputs/{place}"
        questions = [
            ask(model, request.template, task, number, row, place=place, num_free=0, pointer=where)
            for number in templates
        ]
        inputs.append(tuple(_rank_question(model, question, _ASKED) for question in questions))
    return Vote(tuple(inputs), request.inputs is not None)


def plan_ids(model: Model, defaults: Sampling, request: GenerateRequest, prompt: Ids) -> Sample:
    """To be drawn after these ids, as `request` says. Raises ContextExceeded."""
    return _sample(model, defaults, request, prompt, "asked for a completion")


def plan_score(model: Model, request: ScoreRequest) -> Rank:
    """What to score."""
    return _rank(model, request.prompt, request.continuations, "asked to score")


def _plan_row(model: Model, defaults: Sampling, request: GenerateRequest, use: TemplateUse) -> Sample | Rank:
    task = task_of(use)
    (number,) = templates_of(use, task)
    assert isinstance(request.input, dict), "the request was checked"
    mode, reason = _mode(request, has_options=task.has_choices and task.templates[number].role == "answer")
    if mode == "classify":
        return _rank_question(model, ask(model, use, task, number, request.input, num_free=0), reason)
    # Where nobody said how long the answer may be, a long row is not cut for more than a quarter of the context.
    num_free = request.max_new_tokens or min(defaults.max_new_tokens, max(1, _context(model.card) // 4))
    question = ask(model, use, task, number, request.input, num_free=num_free)
    return _sample(model, defaults, request, question.prompt, reason)._replace(rendering=question.rendering)


def _mode(request: GenerateRequest, *, has_options: bool) -> tuple[Literal["sample", "classify"], str]:
    if request.mode == "sample":
        return "sample", "the request sets mode: sample"
    if request.mode == "classify":
        if request.stream:
            raise _problem("/stream", "a classification is one choice: there is nothing to stream")
        return "classify", "the request sets mode: classify"
    if not has_options:
        return "sample", "there are no options to choose from"
    why = "the prompt ends in an OPTIONS block"
    if request.template is not None:
        why = "the task has answer choices"
    elif request.options:
        why = "the request gives options"
    given = [name for name in SAMPLING_FIELDS if getattr(request, name) is not None]
    if request.stream:
        given.append("stream")
    if given:
        return "sample", f"{why}, but the request sets {', '.join(given)}"
    return "classify", why


def _text(request: GenerateRequest | ClassifyRequest, about: Any = None) -> str:
    """The question as text, without the options that the request gives."""
    if request.prompt is not None:
        return request.prompt
    assert request.instruction is not None, "the request was checked"
    about = request.input if about is None else about
    return request.instruction if about is None else f"{request.instruction.rstrip()}\n\n{about}"


def _with_options(text: str, request: GenerateRequest | ClassifyRequest) -> str:
    if request.options and request.options_in_prompt and read_options(text) is None:
        return f"{text.rstrip()}\n\n{write_options(request.options)}"
    return text


def _rank_question(model: Model, question: Question, reason: str) -> Rank:
    rendering = question.rendering
    if not question.options:
        said = f"template {rendering.template} of {rendering.task} has no answer choices to rank"
        raise _problem("/template/number", said, "ask /generate with mode: sample")
    _check_scored(model.card, question.prompt, question.targets)
    return Rank(question.prompt, question.options, question.targets, reason, rendering)


def _rank(model: Model, text: str, options: tuple[str, ...], reason: str) -> Rank:
    contract = model.card.contract
    prompt = encode_prompt(model.tokenizer, contract, text)
    targets = [encode_target(model.tokenizer, contract, option) for option in options]
    _check_scored(model.card, prompt, targets)
    return Rank(prompt, options, targets, reason)


def _check_scored(card: ModelCard, prompt: Ids, targets: Sequence[Ids]) -> None:
    total, longest = sum(map(len, targets)), max(map(len, targets))
    if total > SCORED_TOKENS:
        raise TooManyTokens(
            f"the options have {total} tokens together, at most {SCORED_TOKENS} are scored at once",
            hint="ask in several requests", length=total, limit=SCORED_TOKENS,
        )  # fmt: skip
    _check_fits(card, prompt, longest)


def _sample(model: Model, defaults: Sampling, request: GenerateRequest, prompt: Ids, reason: str) -> Sample:
    parameters = {"n": Parameter(value=request.n or 1, source="request" if request.n else "default")}
    for name in Sampling.model_fields:
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


def _problem(pointer: str, message: str, hint: str | None = None) -> InvalidDocument:
    return InvalidDocument(message, [problem(pointer, "invalid_request", message, hint)])
