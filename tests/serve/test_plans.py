"""What a request is answered by, and with which token ids."""

from typing import Any

import pytest

from flan.data.tokens import ContextExceeded, encode, encode_target
from flan.errors import FlanError, InvalidDocument
from flan.model.load import Architecture
from flan.model.scoring import OptionScore
from flan.serve.answers import classification
from flan.serve.messages import ClassifyRequest, GenerateRequest, ScoreRequest
from flan.serve.plans import (
    ENCODER_TOKENS,
    Rank,
    Sample,
    TooManyTokens,
    plan_classify,
    plan_generate,
    plan_score,
)
from flan.spec import Sampling, parse
from flan.tasks.options import write_options
from flan.tasks.render import instance, render
from tests.kit.tasks import make_rows, make_task
from tests.serve.lively import lively_model, prompt_ids

PLAIN = "Is the film good?"
BLOCK = f"{PLAIN}\n\nOPTIONS:\n- yes\n- no"
YES_NO = ["yes", "no"]


def _plan(defaults: Sampling | None = None, **request: Any) -> Sample | Rank:
    asked = parse(GenerateRequest, {"prompt": PLAIN} | request)
    return plan_generate(lively_model(), defaults or Sampling(), asked)


@pytest.mark.parametrize(
    ("request_", "mode", "reason"),
    [
        ({}, Sample, "there are no options"),
        ({"prompt": BLOCK}, Rank, "ends in an OPTIONS block"),
        ({"prompt": BLOCK + "\n\n "}, Rank, "ends in an OPTIONS block"),
        ({"prompt": BLOCK + "\nAnswer:"}, Sample, "there are no options"),
        ({"options": YES_NO}, Rank, "gives options"),
        ({"options": YES_NO, "options_in_prompt": False}, Rank, "gives options"),
        ({"prompt": BLOCK, "options": YES_NO}, Rank, "gives options"),
        ({"prompt": BLOCK, "n": 1}, Sample, "sets n"),
        ({"prompt": BLOCK, "temperature": 0}, Sample, "sets temperature"),
        ({"prompt": BLOCK, "top_k": 40}, Sample, "sets top_k"),
        ({"prompt": BLOCK, "repetition_penalty": 1.2}, Sample, "sets repetition_penalty"),
        ({"prompt": BLOCK, "top_p": 1.0}, Sample, "sets top_p"),
        ({"prompt": BLOCK, "stop": ["."]}, Sample, "sets stop"),
        ({"prompt": BLOCK, "stream": True}, Sample, "sets stream"),
        ({"options": YES_NO, "n": 2, "top_p": 0.5}, Sample, "sets n, top_p"),
        ({"prompt": BLOCK, "stream": False, "n": None}, Rank, "ends in an OPTIONS block"),
        ({"prompt": BLOCK, "max_new_tokens": 5, "seed": 1, "logprobs": True}, Rank, "OPTIONS block"),
        ({"prompt": BLOCK, "mode": "sample"}, Sample, "mode: sample"),
        ({"prompt": BLOCK, "mode": "classify", "n": 3}, Rank, "mode: classify"),
        ({"options": YES_NO, "mode": "classify"}, Rank, "mode: classify"),
    ],
)
def test_the_mode_is_chosen_by_rule_and_said(request_: dict[str, Any], mode: type, reason: str) -> None:
    """Options are ranked unless the request asks to sample; the reason names what decided."""
    plan = _plan(**request_)

    assert isinstance(plan, mode)
    assert reason in plan.reason


@pytest.mark.parametrize(
    ("request_", "pointer"),
    [
        ({"mode": "classify"}, "/options"),
        ({"mode": "classify", "prompt": BLOCK, "stream": True}, "/stream"),
        ({"prompt": f"{PLAIN}\n\n" + write_options([str(i) for i in range(65)])}, "/prompt"),
        ({"prompt": f"{PLAIN}\n\n" + write_options(["yes", "yes"])}, "/prompt"),
        ({"options": []}, "/options"),
        ({"options": ["a"] * 2}, "/options/1"),
        ({"options": ["a\nb"]}, "/options/0"),
        ({"options": [str(i) for i in range(65)]}, "/options"),
        ({"n": 17}, "/n"),
        ({"n": 0}, "/n"),
        ({"n": True}, "/n"),
        ({"temperature": -1}, "/temperature"),
        ({"temperature": "0.5"}, "/temperature"),
        ({"top_p": 0}, "/top_p"),
        ({"stop": ["."] * 17}, "/stop"),
        ({"stop": [""]}, "/stop/0"),
        ({"max_new_tokens": 8_193}, "/max_new_tokens"),
        ({"seed": 2**63}, "/seed"),
        ({"prompt": ""}, "/prompt"),
        ({"prompt": "a" * 262_145}, "/prompt"),
        ({"temprature": 1}, "/temprature"),
    ],
)
def test_a_faulty_request_names_its_fault(request_: dict[str, Any], pointer: str) -> None:
    """Each bound is checked, and the error points at the field."""
    with pytest.raises(InvalidDocument) as error:
        _plan(**request_)

    assert error.value.pointer == pointer


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_served_ids_are_trained_ids(architecture: Architecture) -> None:
    """A rendered row, asked as a prompt, gives the ids it is trained with: prompt and every answer."""
    model, task = lively_model(architecture), make_task()
    for row in make_rows(4):
        rendered = render(instance(task, row), task.templates[0])
        trained = encode(model.tokenizer, model.card.contract, rendered)

        (ranked,) = plan_classify(model, ClassifyRequest(prompt=rendered.input)).ranks
        assert ranked.options == rendered.choices
        assert ranked.prompt.tolist() == trained.input_ids.tolist()
        answer = ranked.targets[ranked.options.index(rendered.answer)]
        assert answer.tolist() == trained.target_ids.tolist()
        sampled = plan_generate(model, Sampling(), GenerateRequest(prompt=rendered.input, n=1))
        assert sampled.prompt.tolist() == trained.input_ids.tolist()


def test_given_options_are_shown_as_the_renderer_shows_them() -> None:
    """Appended as a block after a blank line; not twice, and not when the request says so."""
    model = lively_model()
    expected = prompt_ids(model, BLOCK).tolist()

    assert _plan(options=YES_NO).prompt.tolist() == expected
    assert _plan(options=YES_NO, temperature=0.5).prompt.tolist() == expected
    assert _plan(options=["no", "yes"], prompt=BLOCK).prompt.tolist() == expected
    assert _plan(options=YES_NO, prompt=f"{PLAIN}\n").prompt.tolist() == expected
    hidden = _plan(options=YES_NO, options_in_prompt=False)
    assert hidden.prompt.tolist() == prompt_ids(model, PLAIN).tolist()


def test_each_parameter_says_who_set_it() -> None:
    """The request, the deployment, or nobody: then a seed is drawn, and reported."""
    plan = _plan(Sampling(temperature=0.4, max_new_tokens=7), top_k=3, seed=5)
    drawn = _plan()
    assert isinstance(plan, Sample) and isinstance(drawn, Sample)

    said = {name: (parameter.value, parameter.source) for name, parameter in plan.parameters.items()}
    assert said == {
        "n": (1, "default"),
        "temperature": (0.4, "default"),
        "top_k": (3, "request"),
        "top_p": (1.0, "default"),
        "repetition_penalty": (1.0, "default"),
        "stop": ((), "default"),
        "max_new_tokens": (7, "default"),
        "seed": (5, "request"),
    }
    assert plan.sampling == Sampling(temperature=0.4, top_k=3, max_new_tokens=7, seed=5)
    assert drawn.parameters["seed"].source == "drawn"
    assert drawn.sampling.seed == drawn.parameters["seed"].value
    assert (drawn.sampling.temperature, drawn.sampling.top_k) == (0.9, 40)


def test_an_answer_that_does_not_fit_is_refused_with_both_numbers() -> None:
    """One token more than the context holds is an error; exactly as many are not."""
    model = lively_model(context=64)
    length = len(prompt_ids(model, PLAIN))

    def plan(**request: Any) -> Sample | Rank:
        asked = parse(GenerateRequest, {"prompt": PLAIN} | request)
        return plan_generate(model, Sampling(), asked)

    plan(max_new_tokens=64 - length)
    with pytest.raises(ContextExceeded) as error:
        plan(max_new_tokens=64 - length + 1)
    assert (error.value.values["length"], error.value.values["limit"]) == (65, 64)
    with pytest.raises(ContextExceeded):
        plan(prompt="a b" * 200)
    with pytest.raises(ContextExceeded):
        plan(options=["yes", "no " * 50])


def test_a_default_that_does_not_fit_is_cut_and_said() -> None:
    """Nobody asked for 256 tokens: the answer may be as long as the context leaves."""
    model = lively_model(context=64)
    plan = plan_generate(model, Sampling(), GenerateRequest(prompt=PLAIN))
    assert isinstance(plan, Sample)

    room = 64 - len(plan.prompt)
    assert plan.sampling.max_new_tokens == room
    assert plan.parameters["max_new_tokens"].model_dump() == {"value": room, "source": "model"}


def test_an_encoder_reads_no_endless_prompt() -> None:
    """Its positions are unbounded, its memory is not."""
    model = lively_model("encoder_decoder")
    with pytest.raises(ContextExceeded) as error:
        plan_generate(model, Sampling(), GenerateRequest(prompt="z" * 20_000))

    assert error.value.values["limit"] == ENCODER_TOKENS


def test_options_are_bounded_together() -> None:
    """64 options of a kilobyte would hold the engine for minutes."""
    options = [f"{i} " + "z" * 1_000 for i in range(64)]
    with pytest.raises(TooManyTokens):
        _plan(options=options, options_in_prompt=False)


def test_a_continuation_is_scored_with_its_end() -> None:
    """Also the empty one: the probability that the answer ends at once."""
    model = lively_model()
    plan = plan_score(model, ScoreRequest(prompt=PLAIN, continuations=("", "yes")))

    expected = [encode_target(model.tokenizer, model.card.contract, text).tolist() for text in ("", "yes")]
    assert [target.tolist() for target in plan.targets] == expected
    assert expected[0] == list(model.card.contract.end_ids)


def _classified(*logprobs: float) -> dict[str, Any]:
    scores = [OptionScore(logprob, 1, (logprob,)) for logprob in logprobs]
    return classification([str(i) for i in range(len(logprobs))], scores).model_dump()


def test_probabilities_are_a_softmax_over_summed_log_probabilities() -> None:
    """They sum to one even where every option is all but impossible; the mass says that it is."""
    found = _classified(-1000.0, -1001.0)

    assert [round(score["probability"], 6) for score in found["scores"]] == [0.731059, 0.268941]
    assert (found["choice"], found["index"], found["margin"], found["tied"]) == ("0", 0, 1.0, False)
    assert found["option_mass"] == 0.0
    assert _classified(-0.5, -1.5)["option_mass"] == pytest.approx(0.829661)


def test_equal_options_are_tied_and_the_first_is_chosen() -> None:
    """What rounding alone tells apart is not told apart; a single option is no tie."""
    assert _classified(-3.0, -2.0, -2.0)["index"] == 1
    assert _classified(-3.0, -2.0, -2.0)["tied"]
    assert _classified(-2.0) | {"scores": None} == {
        "choice": "0", "index": 0, "scores": None, "margin": None,
        "option_mass": pytest.approx(0.135335283), "tied": False,
    }  # fmt: skip


def test_every_error_of_a_plan_is_the_users_to_mend() -> None:
    """A request that cannot be answered never counts as our fault."""
    errors: tuple[type[FlanError], ...] = (InvalidDocument, ContextExceeded, TooManyTokens)

    assert {error.blame for error in errors} == {"user"}
