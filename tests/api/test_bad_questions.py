"""Questions with a fault: the exact status, code and place of each, from a platform that serves a real model.

A fault that the platform finds and one that only the model can find are told in the same form.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from flan.serve.messages import MAX_PROMPT_CHARS
from flan.spec import ServeSpec, parse
from tests.api.world import serving, submit
from tests.kit.tasks import make_task

INVALID = (422, "invalid_document")
TASK = make_task().model_dump(mode="json")
ROW = {"text": "A film.", "label": "pos"}
MANY = [str(number) for number in range(1_000)]


class Case(NamedTuple):
    """What is sent, and what must come back; `pointer` None = the fault has no place in the body."""

    path: str
    body: Any
    status: int
    code: str
    pointer: str | None
    kind: str | None = None
    """The code of the fault at that place."""


def _of(path: str, status: tuple[int, str], pointer: str | None, kind: str | None, **body: Any) -> Case:
    return Case(path, body, *status, pointer, kind)


def _generate(pointer: str, kind: str, **body: Any) -> Case:
    return _of("/generate", INVALID, pointer, kind, **body)


def _sampled(pointer: str, kind: str, **body: Any) -> Case:
    return _generate(pointer, kind, prompt="hi", **body)


def _classify(pointer: str, kind: str, **body: Any) -> Case:
    return _of("/classify", INVALID, pointer, kind, **body)


def _row(pointer: str, kind: str, **use: Any) -> Case:
    return _classify(pointer, kind, template={"task": TASK} | use, input=ROW)


LONG = "word " * 2_000
CASES = [
    # The form of the question.
    _generate("/prompt", "missing"),
    _generate("/prompt", "string_too_short", prompt=""),
    _generate("/prompt", "string_too_long", prompt="a" * (MAX_PROMPT_CHARS + 1)),
    _generate("/prompt", "string_type", prompt=5),
    _generate("/prompt", "string_type", prompt=["hi"]),
    _generate("/prompt", "string_type", prompt=True),
    _generate("/prompt", "nul_character", prompt="a\0b"),
    _generate("/prompt", "surrogate", prompt="\ud800"),
    _generate("/prompt", "surrogate", prompt="text \udfff"),
    _generate("/template", "contradiction", prompt="hi", template={"task": TASK}, input=ROW),
    _generate("/instruction", "contradiction", prompt="hi", instruction="do"),
    _generate("/template", "contradiction", instruction="do", template={"task": TASK}, input=ROW),
    _generate("/input", "contradiction", prompt="hi", input="it"),
    _generate("/input", "not_text", instruction="do", input={"a": 1}),
    _generate("/instruction", "string_too_short", instruction=""),
    _generate("/prompt", "missing", input={"a": 1}),
    # Templates.
    _generate("/input", "missing", template={"task": TASK}),
    _generate("/input", "not_a_row", template={"task": TASK}, input="text"),
    _of("/generate", (422, "not_found"), "/template/task", "not_found", template={"task": "nobody"}, input=ROW),
    _generate("/template/task", "string_type", template={"task": 5}, input=ROW),
    _generate("/template/task/cluster", "missing", template={"task": {"name": "x"}}, input=ROW),
    _generate("/template/task", "missing", template={}, input=ROW),
    _of(
        "/generate", (422, "template_unknown"), "/template/number", "template_unknown",
        template={"task": TASK, "number": 9}, input=ROW,
    ),
    _generate("/template/number", "greater_than_equal", template={"task": TASK, "number": -1}, input=ROW),
    _generate("/template/number", "contradiction", template={"task": TASK, "number": "all"}, input=ROW),
    _generate("/template/numbr", "unknown_field", template={"task": TASK, "numbr": 1}, input=ROW),
    _generate("/template/options", "literal_error", template={"task": TASK, "options": "two"}, input=ROW),
    _generate("/template/input_length", "greater_than_equal", template={"task": TASK, "input_length": 1}, input=ROW),
    _generate(
        "/template/few_shot/shots", "greater_than_equal",
        template={"task": TASK, "few_shot": {"shots": 0}}, input=ROW,
    ),
    _generate("/template/exemplars", "too_short", template={"task": TASK, "exemplars": []}, input=ROW),
    _generate(
        "/template/exemplar_numbers", "contradiction",
        template={"task": TASK, "exemplars": [ROW], "exemplar_numbers": [1, 2]}, input=ROW,
    ),
    _of(
        "/generate", (422, "row_invalid"), "/template/exemplars/0", "row_invalid",
        template={"task": TASK, "exemplars": [{"text": "no label"}]}, input=ROW,
    ),
    _of("/generate", (422, "row_invalid"), "/input", "row_invalid", template={"task": TASK}, input={"title": "a"}),
    _of("/generate", (422, "row_invalid"), "/input", "row_invalid", template={"task": TASK}, input={"text": ["a"]}),
    _of(
        "/generate", (422, "row_invalid"), "/input", "row_invalid",
        template={"task": TASK, "number": 2}, input={"text": "a"},
    ),
    _generate("/options", "contradiction", template={"task": TASK}, input=ROW, options=["a", "b"]),
    _row("/template/number", "invalid_request", number=2),
    # Options.
    _sampled("/options", "too_long", options=MANY),
    _sampled("/options", "too_short", options=[]),
    _sampled("/options/2", "doubled", options=["a", "b", "a"]),
    _sampled("/options/1", "string_too_short", options=["a", ""]),
    _sampled("/options/0", "line_break", options=["a\nb", "c"]),
    _sampled("/options/0", "string_too_long", options=["a" * 1_025, "b"]),
    _sampled("/options/0", "string_type", options=[1, 2]),
    _sampled("/options", "tuple_type", options="ab"),
    _classify("/options", "invalid_request", prompt="hi"),
    _classify("/prompt", "invalid_request", prompt="hi\nOPTIONS:\n" + "\n".join(f"- {each}" for each in MANY[:65])),
    _classify("/prompt", "invalid_request", prompt="hi\nOPTIONS:\n- a\n- a"),
    _of(
        "/classify", (422, "too_many_tokens"), None, None,
        prompt="hi", options=[f"{number} " + "x" * 1_000 for number in range(64)],
    ),
    # Many inputs.
    _classify("/inputs", "too_short", instruction="do", inputs=[], options=["a"]),
    _classify("/inputs", "too_long", instruction="do", inputs=["a"] * 65, options=["a"]),
    _classify("/input", "contradiction", instruction="do", inputs=["a"], input="b", options=["a"]),
    _classify("/inputs/1", "not_text", instruction="do", inputs=["a", {"b": 1}], options=["a"]),
    _classify("/inputs/0", "not_a_row", template={"task": TASK}, inputs=["a"]),
    _of(
        "/classify", (422, "row_invalid"), "/inputs/1", "row_invalid",
        template={"task": TASK}, inputs=[ROW, {"title": "a"}],
    ),
    # Sampling.
    _sampled("/temperature", "greater_than_equal", temperature=-0.1),
    _sampled("/temperature", "less_than_equal", temperature=101),
    _sampled("/temperature", "float_type", temperature="0.5"),
    _sampled("/temperature", "float_type", temperature=True),
    _sampled("/top_k", "greater_than_equal", top_k=-1),
    _sampled("/top_k", "int_type", top_k=1.5),
    _sampled("/top_p", "greater_than", top_p=0),
    _sampled("/top_p", "less_than_equal", top_p=1.01),
    _sampled("/repetition_penalty", "greater_than_equal", repetition_penalty=0),
    _sampled("/repetition_penalty", "less_than_equal", repetition_penalty=10.5),
    _sampled("/n", "greater_than_equal", n=0),
    _sampled("/n", "less_than_equal", n=17),
    _sampled("/stop", "too_long", stop=["a"] * 17),
    _sampled("/stop/0", "string_too_short", stop=[""]),
    _sampled("/stop/0", "string_too_long", stop=["a" * 10_000]),
    _sampled("/max_new_tokens", "greater_than_equal", max_new_tokens=0),
    _sampled("/max_new_tokens", "less_than_equal", max_new_tokens=8_193),
    _sampled("/seed", "greater_than_equal", seed=-1),
    _sampled("/seed", "less_than", seed=2**63),
    _sampled("/seed", "too_big", seed=2**64),
    _sampled("/mode", "literal_error", mode="guess"),
    _sampled("/stream", "invalid_request", mode="classify", stream=True, options=["a", "b"]),
    _sampled("/timeout_s", "greater_than", timeout_s=0),
    _sampled("/timeout_s", "less_than_equal", timeout_s=10**6),
    _sampled("/temprature", "unknown_field", temprature=1),
    # Length.
    _of("/generate", (422, "context_exceeded"), None, None, prompt=LONG),
    _of("/generate", (422, "context_exceeded"), None, None, prompt="hi", max_new_tokens=600),
    _of("/classify", (422, "context_exceeded"), None, None, prompt=LONG, options=["a", "b"]),
    _of("/score", (422, "context_exceeded"), None, None, prompt=LONG, continuations=["a"]),
    # Scores.
    _of("/score", INVALID, "/continuations", "missing", prompt="hi"),
    _of("/score", INVALID, "/continuations", "too_short", prompt="hi", continuations=[]),
    _of("/score", INVALID, "/continuations", "too_long", prompt="hi", continuations=MANY),
    _of("/score", INVALID, "/continuations/0", "string_too_long", prompt="hi", continuations=["a" * 32_769]),
    # Models.
    _of("/generate", (404, "model_not_found"), "/model", "model_not_found", prompt="hi", model="nobody"),
    _of("/generate", (404, "model_not_found"), "/model", "model_not_found", prompt="hi", model="movies@7"),
    _of("/generate", INVALID, "/model", "string_too_short", prompt="hi", model=""),
    _of("/generate", (503, "model_starting"), None, None, prompt="hi", model="late"),
    # OpenAI's face.
    _of("/v1/completions", INVALID, "/model", "missing", prompt="hi"),
    _of("/v1/completions", INVALID, "/suffix", "unknown_field", prompt="hi", model="movies", suffix="!"),
    _of("/v1/completions", INVALID, "/max_tokens", "contradiction", prompt="hi", model="movies", max_tokens=0),
    _of("/v1/completions", INVALID, "/stream", "contradiction", prompt="a", model="movies", stream=True, echo=True),
    _of("/v1/completions", INVALID, "/n", "too_many", prompt=["a"] * 10, model="movies", n=10),
    _of("/v1/completions", INVALID, "/logprobs", "less_than_equal", prompt="a", model="movies", logprobs=21),
    _of("/v1/completions", (422, "token_unknown"), "/prompt", "token_unknown", prompt=[5, 10**6], model="movies"),
    _of("/v1/completions", (422, "context_exceeded"), None, None, prompt=LONG, model="movies"),
    _of("/v1/chat/completions", INVALID, "/messages", "too_short", messages=[], model="movies"),
    _of(
        "/v1/chat/completions", INVALID, "/messages/0/role", "literal_error",
        messages=[{"role": "robot", "content": "hi"}], model="movies",
    ),
    # Bytes.
    Case("/generate", b'{"prompt": "hi", "temperature": NaN}', 422, "invalid_document", "", "json"),
    Case("/generate", b'{"prompt": "hi", "temperature": Infinity}', 422, "invalid_document", "", "json"),
    Case("/generate", b'{"prompt": "hi", "temperature": 1e999}', 422, "invalid_document", "/temperature", "not_finite"),
    Case("/generate", b'{"prompt": "hi", "prompt": "ho"}', 422, "invalid_document", "", "json"),
    Case("/generate", b"", 422, "invalid_document", "", "json"),
    Case("/generate", b"[]", 422, "invalid_document", "", "model_type"),
    Case("/generate", b"\xff", 400, "bad_request", None),
    Case("/generate", b"[" * 100_000, 422, "invalid_document", "", "too_deep"),
    Case("/generate", b" " * (2**20 + 1), 413, "too_large", None),
]  # fmt: skip


def test_every_fault_has_its_status_code_and_place(
    client: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """And the model answers as before: nothing that is sent harms it."""
    assert len(CASES) >= 80
    wrong = []
    with serving(sessions, tmp_path) as rank:
        _submit_late(sessions)
        for case in CASES:
            sent = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
            answer = client.post(case.path, content=sent, headers={"Content-Type": "application/json"})
            found = _found(answer.json())
            expected = (case.status, case.code, case.pointer, case.kind)
            if (answer.status_code, *found) != expected:
                wrong.append((case.path, sent[:90], expected, (answer.status_code, *found)))
            if answer.headers["content-type"] != "application/problem+json":
                wrong.append((case.path, sent[:90], "problem+json", answer.headers["content-type"]))
        assert rank.get("/readyz").json()["inside"] == 0
        assert (
            client.post(
                "/generate", json={"prompt": "hi", "max_new_tokens": 2, "model": "movies"}
            ).status_code
            == 200
        )

    assert wrong == []


def _found(problem: dict[str, Any]) -> tuple[str, str | None, str | None]:
    faults = problem["errors"]
    if not faults:
        return problem["code"], None, None
    return problem["code"], faults[0].get("pointer"), faults[0]["code"]


def _submit_late(sessions: sessionmaker[Session]) -> None:
    """A deployment that nobody has begun."""
    submit(sessions, parse(ServeSpec, {"kind": "serve", "name": "late", "model": "movies"}))


UNUSUAL = [
    {"prompt": "hi", "temperature": 0},
    {"prompt": "hi", "top_k": 0},
    {"prompt": "hi", "top_p": 1},
    {"prompt": "hi", "options": ["a"]},
    {"prompt": "hi", "options": ["no", "no idea", "no idea at all"]},
    {"prompt": "hi", "options": ["yes", "Yes", "yes "]},
    {"prompt": "tab\tand\u200b\u202e\U0001f600"},
    {"prompt": "hi", "stop": ["\U0001f600" * 200]},
    {"prompt": "hi", "n": None, "seed": None, "stop": None},
    {"instruction": "Good or bad?", "input": "OPTIONS:\n- a\n- b"},
    {"instruction": "Good or bad?", "options": ["good", "bad"], "options_in_prompt": False},
]


def test_what_is_unusual_but_right_is_answered(
    client: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Greedy, nothing cut off, one option, options that begin with each other, any character."""
    with serving(sessions, tmp_path):
        answers = [client.post("/generate", json={"max_new_tokens": 2} | body) for body in UNUSUAL]

    assert [answer.status_code for answer in answers] == [200] * len(UNUSUAL), [each.text for each in answers]
