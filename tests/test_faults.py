"""Faults in plain words, at places of the document that was sent, with the field that was probably meant."""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from api.render_shapes import RenderRequest
from api.schemas import KeyRequest, RowsWanted
from flan.errors import InvalidDocument, Problem
from flan.faults import PATTERNS
from flan.serve.messages import ClassifyRequest, GenerateRequest, ScoreRequest
from flan.serve.openai_messages import ChatRequest, CompletionRequest
from flan.spec import Document, EvaluateSpec, ServeSpec, TuneSpec, parse, parse_spec
from flan.tasks.metric_names import MetricName
from flan.tasks.task import Task

TUNE = {"kind": "tune", "name": "m", "base": "preset:nano"}
TASK: dict[str, Any] = {
    "name": "mine", "cluster": "sentiment", "source": {"kind": "dataset", "name": "rows"},
    "fields": {"text": "text"}, "answer": {"column": "label", "choices": ["bad", "good"]},
    "metrics": ["accuracy"], "templates": [{"input": "{text}\n{options_}"}],
}  # fmt: skip
DOCUMENTS: tuple[type[Document], ...] = (
    TuneSpec, EvaluateSpec, ServeSpec, Task, GenerateRequest, ClassifyRequest, ScoreRequest, ChatRequest,
    CompletionRequest, KeyRequest, RenderRequest, RowsWanted,
)  # fmt: skip
OF_PYDANTIC = re.compile(r"should|[Ii]nput tag|Tuple|Dictionary|Extra inputs|Field required|discriminator|\^")


def problems(document: type[Document] | None, value: Any) -> dict[str, Problem]:
    """Pointer → problem of a value that is refused."""
    with pytest.raises(InvalidDocument) as caught:
        parse_spec(value) if document is None else parse(document, value)
    found = caught.value.problems
    assert len({problem["pointer"] for problem in found}) == len(found)
    return {problem["pointer"]: problem for problem in found}


@pytest.mark.parametrize(
    ("change", "pointer", "meant"),
    [
        ({"ranks": 1}, "/ranks", "'resources.ranks'"),
        ({"rank": 1}, "/rank", "'method.rank'"),
        ({"world_size": 1}, "/world_size", "'resources.ranks'"),
        ({"lr": 1}, "/lr", "'optimizer.learning_rate'"),
        ({"optimizer": {"lr": 1}}, "/optimizer/lr", "'optimizer.learning_rate'"),
        ({"batch_size": 8}, "/batch_size", "'tokens_per_step' or 'micro_batch'"),
        ({"epochs": 3}, "/epochs", "'steps'"),
        ({"max_steps": 3}, "/max_steps", "'steps'"),
        ({"num_train_epochs": 3}, "/num_train_epochs", "'steps'"),
        (
            {"optimizer": {"lr_scheduler_type": "cosine"}},
            "/optimizer/lr_scheduler_type",
            "'optimizer.schedule'",
        ),
        ({"model_name_or_path": "x"}, "/model_name_or_path", "'base'"),
        (
            {"per_device_train_batch_size": 4},
            "/per_device_train_batch_size",
            "'micro_batch' or 'tokens_per_step'",
        ),
        ({"gradient_accumulation_steps": 4}, "/gradient_accumulation_steps", "'tokens_per_step'"),
        ({"dataset": "rte"}, "/dataset", "'mixture.tasks'"),
        ({"held_out": {}}, "/held_out", "'mixture.hold_out'"),
        ({"bf16": True}, "/bf16", "'precision'"),
        ({"resources": {"gpus": 2}}, "/resources/gpus", "'resources.ranks'"),
        ({"model": "x"}, "/model", "'base'"),
        ({"tasks": ["rte"]}, "/tasks", "'mixture.tasks' or 'mixture.hold_out.tasks'"),
        ({"mixture": {"seed": 1}}, "/mixture/seed", "'seed'"),
        ({"mixture": {"taskz": []}}, "/mixture/taskz", "'mixture.tasks'"),
        ({"stepz": 1}, "/stepz", "'steps'"),
    ],
)
def test_a_misplaced_or_misspelt_field_is_told_by_its_whole_path(
    change: dict[str, Any], pointer: str, meant: str
) -> None:
    """Never the place where it already stands; also by the names other tools have for it."""
    assert problems(None, TUNE | change)[pointer]["hint"] == f"did you mean {meant}?"


def test_the_hint_knows_the_kind_of_the_job_and_of_the_source() -> None:
    """`base` is `model` where a model is served; a field of a list's items is found in the list."""
    serve = problems(None, {"kind": "serve", "name": "m", "base": "x", "temperature": 1.0})
    task = problems(Task, TASK | {"choices": ["a"], "templates": [{"inpt": "x"}]})

    assert serve["/base"]["hint"] == "did you mean 'model'?"
    assert serve["/temperature"]["hint"] == "did you mean 'sampling.temperature'?"
    assert task["/choices"]["hint"] == "did you mean 'answer.choices'?"
    assert task["/templates/0/inpt"]["hint"] == "did you mean 'templates[].input'?"
    assert "hint" not in problems(None, TUNE | {"zzz": 1})["/zzz"]


def test_a_thing_that_a_document_does_not_have_is_not_taken_for_one_spelt_like_it() -> None:
    """Steps of an evaluation are no retries; a field of that name elsewhere comes with what others mean by it."""
    evaluate = {
        "kind": "evaluate",
        "name": "m",
        "model": "x",
        "tasks": ["*"],
        "max_steps": 3,
        "max_tokens": 9,
    }
    found = problems(None, evaluate)

    assert "hint" not in found["/max_steps"]
    assert found["/max_tokens"]["hint"] == "did you mean 'few_shot.max_tokens' or 'max_new_tokens'?"


def test_a_value_where_an_object_belongs_is_told_the_fields() -> None:
    """Which of them was meant is not known."""
    found = problems(None, TUNE | {"optimizer": "adamw", "mixture": ["rte"]})

    assert found["/optimizer"]["message"] == "needs an object, not 'adamw'"
    assert found["/optimizer"]["hint"].startswith("its fields are name, learning_rate, ")
    assert found["/mixture"]["hint"].startswith("its fields are collection, tasks, ")


@pytest.mark.parametrize(
    ("document", "value", "pointers"),
    [
        (Task, TASK | {"metrics": ["acuracy"]}, ["/metrics/0"]),
        (Task, TASK | {"templates": [{"input": "{text"}]}, ["/templates/0/input"]),
        (Task, TASK | {"templates": []}, ["/templates"]),
        (KeyRequest, {"name": "a", "scopes": ["jobs:reed"]}, ["/scopes/0"]),
        (None, TUNE | {"mixture": {"tasks": [3]}}, ["/mixture/tasks/0"]),
        (ChatRequest, {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": 3}]}]},
         ["/messages/0/content/0/text"]),
    ],
)  # fmt: skip
def test_one_fault_is_one_problem(document: type[Document] | None, value: Any, pointers: list[str]) -> None:
    """A list that lost its only item, because that is faulty, is not reported as too short as well."""
    assert list(problems(document, value)) == pointers


@pytest.mark.parametrize(
    ("document", "value", "pointer", "message", "hint"),
    [
        (None, {"kind": "tine"}, "/kind", "'tine' is none of tune, evaluate, serve", "did you mean 'tune'?"),
        (None, {"name": "m"}, "/kind", "this field is needed: evaluate, serve, tune", None),
        (None, [], "", "needs an object", None),
        (None, {"kind": "tune", "name": "m"}, "/base", "this field is needed", None),
        (None, TUNE | {"name": "A b"}, "/name",
         "a name is a–z 0–9 . _ -, up to 64 characters, beginning with a letter or digit, not 'A b'", None),
        (None, TUNE | {"steps": 0}, "/steps", "must be at least 1, not 0", None),
        (None, TUNE | {"steps": 1.5}, "/steps", "needs a whole number, not 1.5", None),
        (None, TUNE | {"steps": True}, "/steps", "needs a whole number, not true", None),
        (None, TUNE | {"steps": None}, "/steps", "needs a whole number, not null", None),
        (None, TUNE | {"optimizer": {"learning_rate": 11}}, "/optimizer/learning_rate",
         "must be at most 10, not 11", None),
        (None, TUNE | {"zero_stage": 7}, "/zero_stage", "must be one of 0, 1, 2, 3, not 7", None),
        (None, TUNE | {"precision": "fp16"}, "/precision",
         "fp16 is not offered: its numbers end at 65,504, which T5's activations exceed, and its small gradients "
         "vanish unless the loss is scaled", "use 'bf16', as fast and with the range of fp32; or 'fp32'"),
        (None, TUNE | {"precision": "bf-16"}, "/precision", "'bf-16' is none of bf16, fp32", "did you mean 'bf16'?"),
        (None, TUNE | {"mixture": {"tasks": []}}, "/mixture/tasks", "needs at least one", None),
        (None, TUNE | {"mixture": {"tasks": "x"}}, "/mixture/tasks", "needs a list, not 'x'", None),
        (None, TUNE | {"mixture": {"tasks": [""]}}, "/mixture/tasks/0", "cannot be empty", None),
        (None, TUNE | {"metadata": {"x" * 70: "y"}}, "/metadata/" + "x" * 70,
         "the name takes at most 64 characters, not 70", None),
        (Task, TASK | {"metrics": ["acuracy"]}, "/metrics/0",
         f"'acuracy' is none of {', '.join(get_args(MetricName))}", "did you mean 'accuracy'?"),
        (Task, TASK | {"source": {"kind": "hab"}}, "/source/kind", "'hab' is none of hub, dataset, synthetic, corpus",
         "did you mean 'hub'?"),
        (Task, TASK | {"source": {"kind": "dataset", "name": ""}}, "/source/name", "cannot be empty", None),
        (ChatRequest, {"model": "m", "messages": [{"role": "user", "content": 3}]}, "/messages/0/content",
         "needs text or a list, not 3", None),
    ],
)  # fmt: skip
def test_faults_are_said_in_plain_words(
    document: type[Document] | None, value: Any, pointer: str, message: str, hint: str | None
) -> None:
    """What is needed, and what was given instead; no word of the library that found it."""
    problem = problems(document, value)[pointer]

    assert (problem["message"], problem.get("hint")) == (message, hint)


def patterns(schema: Any) -> Iterator[str]:
    """Every pattern in a JSON schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        yield from schema.get("patternProperties", {})
        for part in schema.values():
            yield from patterns(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from patterns(part)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_pattern_of_a_document_is_explained(document: type[Document]) -> None:
    """A person is told what is asked for, not a regular expression."""
    assert set(patterns(TypeAdapter(document).json_schema())) <= set(PATTERNS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.sampled_from(["", "A b", "x", "tune"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([
                "kind", "name", "base", "mixture", "tasks", "source", "templates", "answer", "stop", "messages",
                "content", "scopes", "metrics", "optimizer", "lr", "fields", "splits", "pins", "input", "x/~",
            ]),
            inner, max_size=6,
        )
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.sampled_from(DOCUMENTS), JSON)
def test_whatever_comes_is_refused_in_plain_words_at_places_it_has(
    document: type[Document], value: Any
) -> None:
    """Each pointer leads to a value that was sent, or to a field that is missing from one that was."""
    try:
        parse(document, value)
    except InvalidDocument as refused:
        for problem in refused.problems:
            assert not OF_PYDANTIC.search(problem["message"]), problem
            *above, last = [
                part.replace("~1", "/").replace("~0", "~") for part in problem["pointer"].split("/")[1:]
            ] or [None]
            here = json.loads(json.dumps(value))
            for part in above:
                here = here[int(part)] if isinstance(here, list) else here[part]
            is_there = last is None or (int(last) < len(here) if isinstance(here, list) else last in here)
            assert is_there or problem["message"].startswith("this field is needed"), problem
