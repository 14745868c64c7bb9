"""Ids follow the contract alone, inputs are cut at their long field, targets never."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from flan.card import Contract
from flan.data.tokens import (
    InputTooLong,
    TargetTooLong,
    UnusableTokenizer,
    cue_ids,
    encode,
    encode_branches,
    encode_continued,
    encode_prompt,
    encode_target,
    fit,
    make_contract,
    tokenizer_digest,
)
from flan.tasks.render import instance, render
from tests.kit.models import tiny_tokenizer
from tests.kit.tasks import make_rows, make_task

TOKENIZER = tiny_tokenizer()
END = TOKENIZER.eos_token_id
DECODER = make_contract(TOKENIZER, "decoder")
TASK = make_task()


def with_bos() -> PreTrainedTokenizerFast:
    """A tokenizer that puts a BOS of its own before every text."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=type(TOKENIZER.backend_tokenizer).from_str(TOKENIZER.backend_tokenizer.to_str()),
        eos_token=TOKENIZER.eos_token,
        pad_token=TOKENIZER.pad_token,
        bos_token="<s>",
    )
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", bos)]
    )
    return tokenizer


@settings(deadline=None)
@given(st.text())
def test_special_tokens_come_from_the_contract_alone(text: str) -> None:
    """Text that spells a special token is text; prompt and target end with exactly one EOS each."""
    spelled = f"{text}</s><pad>{text}"
    prompt = encode_prompt(TOKENIZER, DECODER, spelled).tolist()
    target = encode_target(TOKENIZER, DECODER, spelled).tolist()

    assert prompt == target
    assert prompt.index(END) == len(prompt) - 1
    assert TOKENIZER.decode(prompt[:-1]) == spelled


def test_prefix_is_what_the_tokenizer_itself_puts_first() -> None:
    """BOS once, and only for tokenizers that use one; never in a target."""
    tokenizer = with_bos()
    contract = make_contract(tokenizer, "decoder")
    bos = tokenizer.bos_token_id

    assert DECODER.prefix_ids == ()
    assert contract.prefix_ids == (bos,)
    assert encode_prompt(tokenizer, contract, "a<s>b").tolist().count(bos) == 1
    assert bos not in encode_target(tokenizer, contract, "a<s>b").tolist()


def test_encoder_reads_no_prefix() -> None:
    """An encoder-decoder's prefix is what its decoder starts from: padding, or the model's own start."""
    contract = make_contract(TOKENIZER, "encoder_decoder")

    assert contract.prefix_ids == (TOKENIZER.pad_token_id,)
    assert make_contract(TOKENIZER, "encoder_decoder", decoder_start_id=9).prefix_ids == (9,)
    assert encode_prompt(TOKENIZER, contract, "ab").tolist() == [*encode_target(TOKENIZER, contract, "ab")]


def test_tokenizer_without_end_is_refused() -> None:
    """Without EOS no answer could end."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.backend_tokenizer)

    with pytest.raises(UnusableTokenizer, match="no EOS"):
        make_contract(tokenizer, "decoder")


def test_digest_is_of_the_vocabulary_not_of_settings_left_behind() -> None:
    """Padding or truncating with a tokenizer does not change its digest, nor what is encoded with it."""
    tokenizer = with_bos()
    before = tokenizer_digest(tokenizer)
    contract = make_contract(tokenizer, "decoder")
    tokenizer(["a", "a longer text"], padding=True, truncation=True, max_length=4)

    assert tokenizer_digest(tokenizer) == before != tokenizer_digest(TOKENIZER)
    assert len(encode_prompt(tokenizer, contract, "a longer text")) == 2 + len(
        tokenizer("a longer text", add_special_tokens=False)["input_ids"]
    )


@settings(deadline=None)
@given(st.integers(30, 90), st.text(min_size=100, max_size=400), st.sampled_from([0, 1]))
def test_long_input_is_cut_at_its_long_field_only(limit: int, text: str, template: int) -> None:
    """What stays is a beginning of the field; the frame, the options and the target are whole."""
    row = instance(TASK, {"text": text, "label": "pos"})
    fitted = fit(TASK, row, TASK.templates[template], TOKENIZER, DECODER, limit, target_length=16)
    whole = encode(TOKENIZER, DECODER, render(row, TASK.templates[template]))

    frame = render(row._replace(fields={"text": ""}), TASK.templates[template]).input
    head, tail = ("", frame) if template == 0 else (frame, "")
    prompt = fitted.rendered.input
    assert len(fitted.tokens.input_ids) <= limit
    assert fitted.was_cut == (len(whole.input_ids) > limit)
    assert fitted.tokens.target_ids.tolist() == whole.target_ids.tolist()
    assert prompt.startswith(head)
    assert prompt.endswith(tail)
    assert text.startswith(prompt[len(head) : len(prompt) - len(tail)])


def test_cut_fills_the_input_length() -> None:
    """No more is cut than needed: one character costs at most a few tokens of the budget."""
    row = instance(TASK, make_rows(1, words=500)[0])
    for limit in range(40, 200):
        fitted = fit(TASK, row, TASK.templates[0], TOKENIZER, DECODER, limit)

        assert limit - 2 <= len(fitted.tokens.input_ids) <= limit


def test_target_shows_the_uncut_field() -> None:
    """A template that repeats the long field in its target keeps the target whole."""
    task = make_task(templates=[{"input": "Repeat: {text}", "target": "{text} {answer}"}])
    row = instance(task, make_rows(1, words=50)[0])

    fitted = fit(task, row, task.templates[0], TOKENIZER, DECODER, 30)

    assert fitted.was_cut
    assert fitted.rendered.target == f"{row.fields['text']} bad"


def test_prompt_that_cannot_be_cut_enough_is_refused_with_both_numbers() -> None:
    """When the frame alone is too long, nothing but an error is left."""
    row = instance(TASK, make_rows(1)[0])

    with pytest.raises(InputTooLong, match="input_length is 8") as caught:
        fit(TASK, row, TASK.templates[0], TOKENIZER, DECODER, 8)

    assert caught.value.values["limit"] == 8
    assert caught.value.values["length"] > 8


def test_target_beyond_its_limit_is_refused_with_both_numbers() -> None:
    """A target is never cut: not even by its end."""
    row = instance(TASK, make_rows(1, words=50)[0])
    length = len(encode_target(TOKENIZER, DECODER, row.fields["text"]))

    fit(TASK, row, TASK.templates[2], TOKENIZER, DECODER, 1_000, target_length=length)
    with pytest.raises(TargetTooLong) as caught:
        fit(TASK, row, TASK.templates[2], TOKENIZER, DECODER, 1_000, target_length=length - 1)

    assert (caught.value.values["length"], caught.value.values["limit"]) == (length, length - 1)


def test_padding_that_is_the_end_token_is_no_fault() -> None:
    """What is padding is known by place, so a tokenizer may use one token for both."""
    core = type(TOKENIZER.backend_tokenizer).from_str(TOKENIZER.backend_tokenizer.to_str())
    end = TOKENIZER.eos_token
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=end, pad_token=end)
    contract = make_contract(tokenizer, "decoder")

    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert (contract.prefix_ids, contract.separator_ids, contract.end_ids) == ((), (END,), (END,))
    assert encode_target(tokenizer, contract, "a</s>").tolist().count(END) == 1


@settings(max_examples=60, deadline=None)
@given(
    context=st.text("ab film.\n ", min_size=1, max_size=20),
    rests=st.lists(st.text("ab was.", min_size=1, max_size=8), min_size=1, max_size=4),
)
def test_what_continues_a_text_is_tokenised_with_it(context: str, rests: list[str]) -> None:
    """Each branch is its whole text tokenised at once, and what they share is no longer than the context."""
    shared, branches = encode_branches(tiny_tokenizer(), context, rests)

    for rest, branch in zip(rests, branches, strict=True):
        assert len(branch) > 0
        assert [*shared, *branch] == tiny_tokenizer().encode(context + rest, add_special_tokens=False)
    assert tiny_tokenizer().decode(shared) == context[: len(tiny_tokenizer().decode(shared))]


def test_a_token_that_spans_the_border_belongs_to_the_branches() -> None:
    """Where a continuation changes the context's last token, all options begin before it; spaces go to them."""
    tokenizer = tiny_tokenizer()
    whole, alone = (tokenizer.encode(text, add_special_tokens=False) for text in ("positive", "posi"))
    assert whole[: len(alone)] != alone

    shared, (merged, apart) = encode_branches(tokenizer, "posi", ["tive", "!"])
    spaced, (after,) = encode_branches(tokenizer, "red ", ["blue"])

    assert [*shared, *merged] == whole
    assert tokenizer.decode([*shared, *apart]) == "posi!"
    assert tokenizer.decode(spaced) == "red"
    assert tokenizer.decode(after) == " blue"


def test_an_untuned_decoder_reads_prompt_and_answer_as_one_text() -> None:
    """No separator between them and no end behind, however the border is tokenised; spaces at it are one."""
    tokenizer, contract = TOKENIZER, DECODER

    for text in ("A dog or a cat?", "A dog or a cat? "):
        prompt, answers = encode_continued(tokenizer, contract, text, ["dog", "happy cat"])

        for answer, ids in zip(("dog", "happy cat"), answers, strict=True):
            whole = tokenizer.encode(f"{text.rstrip()} {answer}", add_special_tokens=False)
            assert [*prompt, *ids] == [*contract.prefix_ids, *whole]
    alone, none = encode_continued(tokenizer, contract, "red ", [])
    assert (tokenizer.decode(alone), none) == ("red", ())


def test_an_untuned_encoder_decoder_reads_the_text_as_ever() -> None:
    """What its decoder would write has no end."""
    tokenizer, contract = TOKENIZER, make_contract(TOKENIZER, "encoder_decoder")

    prompt, (answer,) = encode_continued(tokenizer, contract, "red", ["blue"])

    assert prompt.tolist() == encode_prompt(tokenizer, contract, "red").tolist()
    assert answer.tolist() == encode_target(tokenizer, contract, "blue").tolist()[: -len(contract.end_ids)]


def test_the_cue_is_what_stands_before_every_answer() -> None:
    """The end of an empty input; before a text that goes on, the model's first id, or its end where it has none."""
    with_start = DECODER.model_copy(update={"prefix_ids": (7,)})

    def cue(contract: Contract, *, is_continued: bool) -> list[int]:
        return cue_ids(TOKENIZER, contract, is_continued=is_continued).tolist()

    assert cue(with_start, is_continued=False) == [7, *DECODER.separator_ids]
    assert cue(with_start, is_continued=True) == [7]
    assert cue(DECODER, is_continued=True) == list(DECODER.end_ids)
