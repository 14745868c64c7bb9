"""Both sides of an encoder-decoder's packs are as long as its examples need them, or as long as the spec says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flan.data.batches import Steps, StreamState
from flan.data.encoding import LocalEncoder
from flan.data.examples import Examples
from flan.data.packing import PackedEncoderDecoder, pack_lengths
from flan.data.sides import mean_size, sides, with_measured_sides
from flan.data.window import Lengths
from flan.errors import FlanError
from flan.spec import Mixture, TuneSpec, parse
from tests.kit.streams import CONTRACTS, ROWS, SPEC, TASKS, TOKENIZER

CONTRACT = CONTRACTS["encoder_decoder"]
EXAMPLES = Examples(SPEC, TASKS, ROWS)
MEAN = st.just(0.0) | st.floats(1, 1e5)


def spec(**changes: object) -> TuneSpec:
    return parse(TuneSpec, {"kind": "tune", "name": "t", "base": "preset:nano", **changes})


def test_what_a_spec_says_is_kept() -> None:
    """T5's 1,024 and 256, and any other sides; a decoder has but one."""
    fixed = spec(pack_target_length=256)

    assert with_measured_sides(fixed, EXAMPLES, TOKENIZER, CONTRACT) == fixed
    assert pack_lengths(CONTRACT, fixed) == Lengths(1_024, 256)
    assert pack_lengths(CONTRACT, spec(pack_length=2_560, pack_target_length=600)) == Lengths(1_960, 600)
    assert pack_lengths(CONTRACTS["decoder"], fixed) == Lengths(1_280, 0)
    assert with_measured_sides(SPEC, EXAMPLES, TOKENIZER, CONTRACTS["decoder"]) == SPEC


@pytest.mark.parametrize("target", [255, 257])
def test_sides_that_are_too_short_are_refused(target: int) -> None:
    """For the longest target, and for the longest input that shares the pack."""
    with pytest.raises(FlanError, match=f"pack_target_length {target} of a pack of 1280"):
        spec(pack_target_length=target)


def test_sides_are_as_the_examples_are() -> None:
    """The scarce side grows, by an eighth of the pack at most; a pack_length is kept to."""
    assert sides(spec(), (400.0, 100.0)) == Lengths(1_024, 256)
    assert sides(spec(), (385.0, 100.0)) == Lengths(1_024, 266)
    assert sides(spec(), (420.0, 100.0)) == Lengths(1_075, 256)
    assert sides(spec(), (100.0, 100.0)) == Lengths(1_024, 416)
    assert sides(spec(), (9_000.0, 100.0)) == Lengths(1_184, 256)
    assert sides(spec(), (0.0, 0.0)) == Lengths(1_024, 256)
    assert sides(spec(pack_length=2_560), (300.0, 100.0)) == Lengths(1_920, 640)


@settings(max_examples=200)
@given(MEAN, MEAN, st.integers(4, 2_000), st.integers(2, 2_000), st.integers(-1, 5_000))
def test_the_longest_example_always_fits(
    per_input: float, per_target: float, longest_input: int, longest_target: int, more: int
) -> None:
    """Whatever the examples are, either side has room for what the limits allow."""
    length = longest_input + longest_target + more if more >= 0 else None
    asked = spec(input_length=longest_input, target_length=longest_target)
    asked = asked.model_copy(update={"pack_length": length})
    for each in (sides(asked, (per_input, per_target)), pack_lengths(CONTRACT, asked)):
        assert each.input >= longest_input
        assert each.target >= longest_target
        assert length is None or sum(each) == length


def test_measured_sides_fill_up_together() -> None:
    """As full as the proportion of all examples lets them be, with as many packs in a step as before."""
    loose = SPEC.model_copy(update={"pack_length": 600, "tokens_per_step": 2_400})
    measured = with_measured_sides(loose, EXAMPLES, TOKENIZER, CONTRACT)
    encoder = LocalEncoder(measured, TASKS, ROWS, TOKENIZER, CONTRACT)
    steps = Steps(measured, CONTRACT, encoder, encoder.digest(), StreamState())
    made = [steps.make() for _ in range(20)]
    packs = [step.packs for step in made]

    assert measured.packs_per_step == loose.packs_per_step == 4
    assert measured.packed_length == 600
    assert all(isinstance(each, PackedEncoderDecoder) for each in packs)
    for side in ("encoder_segment_ids", "decoder_segment_ids"):
        used = sum((getattr(each, side) > 0).sum() for each in packs)
        assert used / sum(getattr(each, side).size for each in packs) > 0.97


def test_the_mean_is_that_of_the_stream() -> None:
    """Each task and template counts as often as it is drawn."""
    mixture = Mixture(weights={"mood": 0.9, "taste": 0.1})
    asked = SPEC.model_copy(update={"mixture": mixture})
    encoder = LocalEncoder(asked, TASKS, ROWS, TOKENIZER, CONTRACT)
    steps = Steps(asked, CONTRACT, encoder, encoder.digest(), StreamState())
    for _ in range(200):
        steps.make()
    counts = steps.state().counts.values()
    used = sum(each.used for each in counts)
    per_input, per_target = mean_size(Examples(asked, TASKS, ROWS), TOKENIZER, CONTRACT)

    assert per_input == pytest.approx(sum(each.input_tokens for each in counts) / used, rel=0.05)
    assert per_target == pytest.approx(sum(each.target_tokens for each in counts) / used, rel=0.05)
