"""The spec: strict, frozen, and told apart by its digest."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flan.errors import InvalidDocument
from flan.spec import TuneSpec, canonical_json, parse_spec

TUNE = {"kind": "tune", "name": "m", "base": "preset:nano"}


def test_defaults_of_tune_are_those_of_the_paper() -> None:
    """Wei et al. 2022, 2.4: 30k steps of 8,192 tokens, 1024/256, Adafactor 3e-5, 30k cap, 3k rate, ten templates.

    The paper names no setting of Adafactor but the rate: the others are T5X's.
    """
    spec = TuneSpec.parse(TUNE)

    assert (spec.steps, spec.tokens_per_step, spec.input_length, spec.target_length) == (
        30_000,
        8_192,
        1_024,
        256,
    )
    assert (spec.optimizer.name, spec.optimizer.learning_rate, spec.optimizer.schedule) == (
        "adafactor",
        3e-5,
        "constant",
    )
    assert (spec.optimizer.update_clip, spec.optimizer.decay_exponent, spec.optimizer.factored_from) == (
        1.0,
        0.8,
        128,
    )
    assert (spec.optimizer.square_epsilon, spec.optimizer.scale_epsilon) == (1e-30, 1e-3)
    assert (spec.mixture.examples_cap, spec.mixture.rate_maximum, spec.mixture.templates_per_task) == (
        30_000,
        3_000,
        10,
    )


@pytest.mark.parametrize(
    ("change", "pointer", "hint"),
    [
        ({"stepz": 3}, "/stepz", "steps"),
        ({"optimizer": {"learning_rat": 1.0}}, "/optimizer/learning_rat", "learning_rate"),
        ({"mixture": {"holdout": {}}}, "/mixture/holdout", "hold_out"),
    ],
)
def test_unknown_field_is_refused_with_the_likely_one(
    change: dict[str, object], pointer: str, hint: str
) -> None:
    """A misspelt field is named with its place and the field that was probably meant."""
    with pytest.raises(InvalidDocument) as caught:
        parse_spec(TUNE | change)

    problem = caught.value.problems[0]
    assert (problem["pointer"], problem["code"]) == (pointer, "unknown_field")
    assert hint in problem["hint"]


def test_only_a_presets_tokenizer_has_a_size_to_choose() -> None:
    """Any other base brings its own."""
    assert TuneSpec.parse(TUNE | {"vocabulary_size": 8_192}).vocabulary_size == 8_192
    with pytest.raises(InvalidDocument, match="brings its own"):
        TuneSpec.parse(TUNE | {"base": "other", "vocabulary_size": 8_192})


@pytest.mark.parametrize(
    "change",
    [
        {"steps": "3"},
        {"steps": True},
        {"steps": 0},
        {"steps": 1.5},
        {"optimizer": {"learning_rate": float("nan")}},
        {"name": "../etc"},
        {"name": "A"},
        {"zero_stage": 4},
        {"pack_length": 64},
        {"kind": "train"},
        {"mixture": {"tasks": []}},
        {"metadata": {str(i): "x" for i in range(17)}},
    ],
)
def test_no_coercion_and_no_absurd_values(change: dict[str, object]) -> None:
    """What does not have the right type and range is refused, not bent into shape."""
    with pytest.raises(InvalidDocument):
        parse_spec(TUNE | change)


@pytest.mark.parametrize("value", [None, [], "tune", 3, {}, {"kind": None}])
def test_anything_that_is_no_spec_is_invalid(value: object) -> None:
    """Whatever JSON holds, the answer is InvalidDocument, never another exception."""
    with pytest.raises(InvalidDocument):
        parse_spec(value)


def test_layers_that_are_sharded_are_not_compiled() -> None:
    """ZeRO-3's weights come and go inside a layer; the other stages' stay."""
    parse_spec(TUNE | {"compile": True, "zero_stage": 2})

    with pytest.raises(InvalidDocument, match="compile with zero_stage 3"):
        parse_spec(TUNE | {"compile": True, "zero_stage": 3})


def test_every_fault_is_listed_at_once() -> None:
    """Two faults give two problems: nobody fixes a file one error at a time."""
    with pytest.raises(InvalidDocument) as caught:
        parse_spec(TUNE | {"steps": -1, "seeed": 1})

    assert {problem["pointer"] for problem in caught.value.problems} == {"/steps", "/seeed"}


def test_settings_of_the_other_optimizer_are_refused() -> None:
    """One that would change nothing is a mistake; at its default it says nothing."""
    with pytest.raises(InvalidDocument) as caught:
        parse_spec(TUNE | {"optimizer": {"name": "adamw", "update_clip": 0.5, "beta2": 0.95}})

    assert [problem["pointer"] for problem in caught.value.problems] == ["/optimizer/update_clip"]
    with pytest.raises(InvalidDocument, match="adafactor has no beta1"):
        parse_spec(TUNE | {"optimizer": {"beta1": 0.0}})
    parse_spec(TUNE | {"zero_stage": 3, "optimizer": {"name": "adamw", "update_clip": 1.0, "beta2": 0.95}})


@given(st.integers(1, 10**6), st.integers(0, 2**62), st.sampled_from(["bf16", "fp32"]))
def test_a_spec_survives_json_and_its_digest_does_not_depend_on_key_order(
    steps: int, seed: int, precision: str
) -> None:
    """Body of a request, stored row and file are the same document."""
    spec = parse_spec(TUNE | {"steps": steps, "seed": seed, "precision": precision})
    shuffled = dict(reversed(json.loads(spec.model_dump_json()).items()))

    assert parse_spec(shuffled) == spec
    assert parse_spec(shuffled).digest() == spec.digest()


def test_canonical_json_refuses_nan() -> None:
    """NaN is not JSON; a digest over it would not be portable."""
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"x": float("nan")})
