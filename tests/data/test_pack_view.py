"""The first pack as people see it: each segment's own tokens, and the loss on targets alone."""

import pytest

from flan.data.batches import StepBatch
from flan.data.mixture import Draw
from flan.data.pack_view import MAX_TOKENS, first_pack
from flan.data.packing import pack_batch
from flan.data.tokens import encode
from flan.data.window import Lengths
from flan.model.load import Model
from flan.tasks.render import Rendered
from tests.kit.models import tiny_model

TEXTS = [("Good or bad?\nA warm soup.", "good"), ("Bad – or good?\nCold söup…", "bad")]


def draw(number: int) -> Draw:
    return Draw(task=f"task{number}", row=number + 10, template=0)


def step_of(model: Model, texts: list[tuple[str, str]], lengths: Lengths) -> StepBatch:
    """One pack of these questions and answers."""
    rendered = [Rendered(read, written, (), written, (written,)) for read, written in texts]
    examples = [encode(model.tokenizer, model.card.contract, each) for each in rendered]
    packs = pack_batch([examples], lengths, model.card.contract)
    return StepBatch(packs, 0, 0, (tuple(range(len(texts))),))


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_a_pack_is_shown_as_its_examples_with_the_loss_on_their_targets(architecture) -> None:
    """Read off the arrays: the text of each segment is its own, and what the loss counts is the target with its end."""
    model = tiny_model(architecture)
    lengths = Lengths(200, 0) if architecture == "decoder" else Lengths(200, 60)
    shown = first_pack(step_of(model, TEXTS, lengths), draw, lambda each: each.row, model.tokenizer)

    assert [(each.task, each.row, each.template) for each in shown] == [("task0", 10, 10), ("task1", 11, 11)]
    for segment, (read, written) in zip(shown, TEXTS, strict=True):
        whole = "".join(text for side in segment.sides for text in side.texts)
        counted = "".join(
            text
            for side in segment.sides
            for text, mask in zip(side.texts, side.loss_mask, strict=True)
            if mask
        )
        assert read in whole
        assert counted.startswith(written)
        assert read not in counted
        last = segment.sides[-1]
        assert last.loss_mask[-1] == 1  # the end is learned too
        assert all(len(side.ids) == len(side.texts) == len(side.loss_mask) for side in segment.sides)


def test_what_is_shown_is_bounded() -> None:
    """Segments behind the bound are left out whole."""
    model = tiny_model()
    texts = [("word " * 400, "yes")] * 12
    shown = first_pack(step_of(model, texts, Lengths(20_000, 0)), draw, lambda _: 0, model.tokenizer)

    assert 0 < len(shown) < 12
    assert sum(len(side.ids) for each in shown for side in each.sides) <= MAX_TOKENS
