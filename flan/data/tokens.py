"""Rendered text → token ids, by the contract; the same functions for training, evaluation and serving.

Special tokens come from the contract alone. Text is only ever text: a row that spells `</s>` does not end
anything. Nothing here searches ids or text for where a target begins.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from flan.card import Contract, ModelCard
from flan.errors import FlanError
from flan.spec import canonical_json
from flan.tasks.options import FLAN_2021, Layout
from flan.tasks.render import Instance, Rendered, longest_field, render
from flan.tasks.task import AnyTemplate, Task
from flan.tasks.template import RowError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerFast

Ids = npt.NDArray[np.int32]
AnyTokenizer: TypeAlias = "PreTrainedTokenizerFast | Tokenizer"
"""As transformers has it, or as tokenizer.json does: the same ids."""


class Reader(Protocol):
    """What of a model turns text into ids."""

    @property
    def tokenizer(self) -> AnyTokenizer:
        """Text → ids."""

    @property
    def card(self) -> ModelCard:
        """Its render contract, and how much it reads."""


class Question(NamedTuple):
    """A row that is to be asked through a template, its options laid out as `layout` says."""

    task: Task
    instance: Instance
    template: AnyTemplate
    layout: Layout | None = FLAN_2021


class Tokens(NamedTuple):
    """The ids of an example, everything included: prefix and separator in the input, end in the target."""

    input_ids: Ids
    target_ids: Ids


class Cut(NamedTuple):
    """A field of which only the beginning is left."""

    field: str
    num_chars: int
    """How many of its characters are left."""


class Fitted(NamedTuple):
    """An example that fits."""

    rendered: Rendered
    tokens: Tokens
    cut: Cut | None
    """What had to be cut."""

    @property
    def was_cut(self) -> bool:
        """Whether the long field had to be cut."""
        return self.cut is not None


class UnusableTokenizer(FlanError):
    """A tokenizer cannot serve a contract."""

    code, blame = "tokenizer_unusable", "user"


class TooLong(FlanError):
    """An example does not fit into its lengths."""

    blame = "user"


class InputTooLong(TooLong):
    """A prompt is longer than allowed even with its long field empty."""

    code = "input_too_long"


class TargetTooLong(TooLong):
    """A target is longer than allowed; targets are never cut."""

    code = "target_too_long"


class ContextExceeded(FlanError):
    """A prompt and what follows it are longer than the model can read."""

    code, blame = "context_exceeded", "user"


def make_contract(
    tokenizer: "PreTrainedTokenizerFast",
    architecture: Literal["decoder", "encoder_decoder"],
    *,
    decoder_start_id: int | None = None,
) -> Contract:
    """The render contract of a model with this tokenizer.

    Decoder-only: the prefix is BOS where the tokenizer itself puts one. Encoder-decoder: the prefix is what
    the decoder starts from, the model's own start id or else padding (T5).
    Raises UnusableTokenizer.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise UnusableTokenizer(
            "the tokenizer has no EOS token: no answer could end", hint="set its eos_token and save it"
        )
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise UnusableTokenizer("the tokenizer has no fast form (tokenizer.json)", hint="convert it first")
    if architecture == "decoder":
        prefix = _own_prefix(tokenizer)
    else:
        start = tokenizer.pad_token_id if decoder_start_id is None else decoder_start_id
        if start is None:
            raise UnusableTokenizer("nothing for the decoder to start from: no start id, no padding token")
        prefix = (start,)
    return Contract(
        architecture=architecture,
        tokenizer=tokenizer_digest(tokenizer),
        prefix_ids=prefix,
        separator_ids=(end,),
        end_ids=(end,),
    )


def tokenizer_digest(tokenizer: AnyTokenizer) -> str:
    """sha256 of the tokenizer's serialisation, without the settings a caller may leave behind."""
    state = json.loads(backend_of(tokenizer).to_str())
    return hashlib.sha256(canonical_json(state | {"truncation": None, "padding": None}).encode()).hexdigest()


def serialised(tokenizer: AnyTokenizer) -> str:
    """The tokenizer as tokenizer.json has it."""
    return str(backend_of(tokenizer).to_str())


def encode(tokenizer: AnyTokenizer, contract: Contract, rendered: Rendered) -> Tokens:
    """The ids of a rendered example."""
    return Tokens(
        encode_prompt(tokenizer, contract, rendered.input),
        encode_target(tokenizer, contract, rendered.target),
    )


def encode_prompt(tokenizer: AnyTokenizer, contract: Contract, text: str) -> Ids:
    """What the model reads before its first word of answer (encoder-decoder: what the encoder reads)."""
    return prompt_from_ids(contract, _text_ids(tokenizer, text))


def opening_ids(contract: Contract) -> tuple[int, ...]:
    """What stands before the text of every input."""
    prefix = contract.prefix_ids if contract.architecture == "decoder" else ()
    return (*prefix, *contract.soft_prompt_ids)


def encode_target(tokenizer: AnyTokenizer, contract: Contract, text: str) -> Ids:
    """What the model is to write for `text`: a target, or an option to be scored."""
    return _target_ids(contract, _text_ids(tokenizer, text))


def encode_branches(
    tokenizer: AnyTokenizer, context: str, continuations: Sequence[str]
) -> tuple[Ids, list[Ids]]:
    """Ids of texts that continue `context` without anything between: what all of them begin with, and their rests.

    A text is tokenised whole, so where it begins anew may move the context's last tokens; each rest then holds
    them, and is at least one token long. Spaces that end the context count to what follows.
    """
    stem = context.rstrip(" ")
    texts = [stem, *(context[len(stem) :] + each for each in continuations)]
    alone, *wholes = text_ids(tokenizer, [stem, *(stem + each for each in texts[1:])])
    shared = min([len(alone), *(_num_common(alone, whole) for whole in wholes)])
    shared = min([shared, *(len(whole) - 1 for whole in wholes)])
    return np.array(alone[:shared], np.int32), [np.array(whole[shared:], np.int32) for whole in wholes]


def encode_continued(
    tokenizer: AnyTokenizer, contract: Contract, text: str, answers: Sequence[str], between: str = " "
) -> tuple[Ids, tuple[Ids, ...]]:
    """Ids of `text`, and of each of `answers` as it goes on after `between`: for a model that was never tuned.

    It knows no separator and ends no answer, so a decoder's text has neither: text and answer are tokenised as one,
    and where that moves the text's last tokens the answers have them. An encoder-decoder reads the text as ever;
    what it would write has no end. As lm-evaluation-harness scores (`loglikelihood`).
    """
    if contract.architecture == "encoder_decoder":
        written = [np.array(ids, np.int32) for ids in text_ids(tokenizer, answers)]
        return encode_prompt(tokenizer, contract, text), tuple(written)
    stem, rests = encode_branches(tokenizer, text.rstrip(" "), [between + answer for answer in answers])
    return np.array([*opening_ids(contract), *stem], np.int32), tuple(rests)


def cue_ids(tokenizer: AnyTokenizer, contract: Contract, *, is_continued: bool) -> Ids:
    """What stands before an answer to no input at all; to a text that goes on, the model's first id."""
    if is_continued and contract.architecture == "decoder":
        return np.array(opening_ids(contract) or contract.end_ids, np.int32)
    return encode_prompt(tokenizer, contract, "")


def _num_common(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the prefix that both have."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def text_ids(tokenizer: AnyTokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text alone, with nothing around it."""
    return [each.ids for each in _bare(tokenizer).encode_batch_fast(list(texts), add_special_tokens=False)]


def texts_of(tokenizer: AnyTokenizer, text: str) -> tuple[str, ...]:
    """What of `text` each of its ids stands for, in order.

    Together they are `text`, but for what the tokenizer drops at its end. Where one character takes several
    ids the first has it, and the others have nothing.
    """
    texts, start = [], 0
    for _, end in _encoded(tokenizer, text).offsets:
        texts.append(text[start:end])
        start = max(start, end)
    return tuple(texts)


def spell(tokenizer: AnyTokenizer, ids: Sequence[int]) -> tuple[str, ...]:
    """The entry of the vocabulary behind each id."""
    bare = _bare(tokenizer)
    return tuple(bare.id_to_token(number) or "" for number in ids)


def fit(
    task: Task,
    instance: Instance,
    template: AnyTemplate,
    tokenizer: AnyTokenizer,
    contract: Contract,
    input_length: int,
    *,
    target_length: int | None = None,
    layout: Layout | None = FLAN_2021,
) -> Fitted:
    """The example, its long field cut at the end where the input would exceed `input_length` tokens.

    Question, options and target stay whole: the target is that of the uncut row, even where it shows the
    field that was cut. Raises InputTooLong, TargetTooLong where `target_length` is given, and what render raises.
    """
    question = Question(task, instance, template, layout)
    (fitted,) = fit_all([question], tokenizer, contract, input_length, target_length=target_length)
    if isinstance(fitted, FlanError):
        raise fitted
    return fitted


def fit_all(
    questions: Sequence[Question],
    tokenizer: AnyTokenizer,
    contract: Contract,
    input_length: int,
    *,
    target_length: int | None = None,
) -> list[Fitted | FlanError]:
    """`fit` of each question, or what it raises; the texts go through the tokenizer together."""
    found: list[Fitted | FlanError] = []
    rendered = [_rendered(question) for question in questions]
    texts = [text for each in rendered if isinstance(each, Rendered) for text in each[:2]]
    encoded = iter(_bare(tokenizer).encode_batch_fast(texts, add_special_tokens=False))
    for question, each in zip(questions, rendered, strict=True):
        if isinstance(each, FlanError):
            found.append(each)
            continue
        whole = Tokens(prompt_from_ids(contract, next(encoded).ids), _target_ids(contract, next(encoded).ids))
        try:
            _check_target(question.task, whole, target_length)
            is_short = len(whole.input_ids) <= input_length
            found.append(
                Fitted(each, whole, None)
                if is_short
                else _cut(question, each, whole, tokenizer, contract, input_length)
            )
        except TooLong as error:
            found.append(error)
    return found


def prompt_length(input_length: int, num_after: int, card: ModelCard) -> int:
    """Longest prompt, in tokens: `input_length`, where a decoder then has room for the `num_after` that follow.

    Raises ContextExceeded where they leave no room for a prompt.
    """
    if card.contract.architecture != "decoder":
        return min(input_length, card.context_length)
    room = card.context_length - num_after
    if room < 1:
        raise ContextExceeded(
            f"{num_after} tokens after the prompt leave no room for it: {card.name} reads "
            f"{card.context_length}",
            hint="let fewer tokens follow (max_new_tokens), or take a model with a longer context",
            pointer="/max_new_tokens",
        )
    return min(input_length, room)


def _rendered(question: Question) -> Rendered | RowError:
    try:
        return render(question.instance, question.template, question.layout)
    except RowError as error:
        return error


def _check_target(task: Task, tokens: Tokens, target_length: int | None) -> None:
    if target_length is not None and len(tokens.target_ids) > target_length:
        raise TargetTooLong(
            f"a target of {task.name} has {len(tokens.target_ids)} tokens, target_length is {target_length}",
            hint="raise target_length: a target is never cut",
            task=task.name, length=len(tokens.target_ids), limit=target_length,
        )  # fmt: skip


def _cut(
    question: Question,
    rendered: Rendered,
    whole: Tokens,
    tokenizer: AnyTokenizer,
    contract: Contract,
    input_length: int,
) -> Fitted:
    """The example with as much of its long field as fits. Raises InputTooLong."""
    task, instance, template, layout = question
    field = longest_field(task, instance, template)

    def cut_to(num_chars: int) -> tuple[Rendered, Ids]:
        assert field is not None
        shorter = instance.fields | {field: instance.fields[field][:num_chars]}
        cut = render(instance._replace(fields=shorter), template, layout)
        return rendered._replace(input=cut.input), encode_prompt(tokenizer, contract, cut.input)

    best = cut_to(0) if field is not None else (rendered, whole.input_ids)
    if field is None or len(best[1]) > input_length:
        raise InputTooLong(
            f"a prompt of {task.name} has {len(best[1])} tokens without its long field, "
            f"input_length is {input_length}",
            hint="raise input_length, or shorten the template",
            task=task.name, length=len(best[1]), limit=input_length,
        )  # fmt: skip
    fits, fails, num_failing = 0, len(instance.fields[field]), len(whole.input_ids)
    # Interpolation finds the place in three or four steps where halving takes a dozen.
    while fails - fits > 1 and len(best[1]) < input_length:
        share = (input_length - len(best[1])) / (num_failing - len(best[1]))
        num_chars = min(fails - 1, max(fits + 1, fits + int(share * (fails - fits))))
        candidate = cut_to(num_chars)
        if len(candidate[1]) <= input_length:
            fits, best = num_chars, candidate
        else:
            fails, num_failing = num_chars, len(candidate[1])
    return Fitted(best[0], Tokens(best[1], whole.target_ids), Cut(field, fits))


def _own_prefix(tokenizer: "PreTrainedTokenizerFast") -> tuple[int, ...]:
    bos = tokenizer.bos_token_id
    is_added = bos is not None and list(tokenizer("a")["input_ids"])[:1] == [bos]
    return (bos,) if is_added else ()


def prompt_from_ids(contract: Contract, ids: Sequence[int]) -> Ids:
    """`encode_prompt` of a text whose own ids are known."""
    return np.array([*opening_ids(contract), *ids, *contract.separator_ids], np.int32)


def _target_ids(contract: Contract, ids: list[int]) -> Ids:
    return np.array([*ids, *contract.end_ids], np.int32)


def _text_ids(tokenizer: AnyTokenizer, text: str) -> list[int]:
    return _encoded(tokenizer, text).ids


def _encoded(tokenizer: AnyTokenizer, text: str) -> "Encoding":
    return _bare(tokenizer).encode(text, add_special_tokens=False)


# Tokenizer → a copy without padding, truncation and special tokens. A copy, because those are settings of
# the shared object: another thread that changes them while this one encodes is an error in the Rust code.
_BARE: "WeakKeyDictionary[AnyTokenizer, Tokenizer]" = WeakKeyDictionary()


def _bare(tokenizer: AnyTokenizer) -> "Tokenizer":
    bare = _BARE.get(tokenizer)
    if bare is None:
        backend = backend_of(tokenizer)
        bare = type(backend).from_str(backend.to_str())
        bare.no_padding()
        bare.no_truncation()
        bare.encode_special_tokens = True
        _BARE[tokenizer] = bare
    return bare


def backend_of(tokenizer: AnyTokenizer) -> "Tokenizer":
    """The core of a tokenizer; one of `tokenizers` is its own."""
    backend: Tokenizer = getattr(tokenizer, "backend_tokenizer", tokenizer)
    return backend
