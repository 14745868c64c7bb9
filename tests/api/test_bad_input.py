"""Bodies that make parsers, databases or people stumble end in a 4xx that names the place."""

from typing import Any

from fastapi.testclient import TestClient

from api.schemas import ProblemShape
from api.settings import Settings

SPEC = {"kind": "tune", "name": "tiny", "base": "preset:nano", "mixture": {"collection": "synthetic"}}


def _with(**changes: Any) -> dict[str, Any]:
    return {**SPEC, **changes}


RAW = [
    (b"", "application/json", 422, "json"),
    (b"{", "application/json", 422, "json"),
    (b'{"a": 1,}', "application/json", 422, "json"),
    (b"[]", "application/json", 422, None),
    (b"null", "application/json", 422, None),
    (b"\xff\xfe{\x00", "application/json", 400, None),
    (b'{"kind": "tune", "name": "\xe9"}', "application/json", 400, None),
    (b'{"kind": "tune", "kind": "serve"}', "application/json", 422, "json"),
    (b'{"steps": NaN}', "application/json", 422, "json"),
    (b'{"steps": -Infinity}', "application/json", 422, "json"),
    (b'{"steps": 1e400}', "application/json", 422, "not_finite"),
    (b'{"steps": 99999999999999999999999}', "application/json", 422, "too_big"),
    (b'{"steps": ' + b"9" * 5000 + b"}", "application/json", 422, "json"),
    (b'{"name": "a\\u0000b"}', "application/json", 422, "nul_character"),
    (b'{"a\\u0000b": 1}', "application/json", 422, "nul_character"),
    (b'{"name": "\\ud800"}', "application/json", 422, "surrogate"),
    (b"[" * 40 + b"]" * 40, "application/json", 422, "too_deep"),
    (b"[" * 100_000, "application/json", 422, "too_deep"),
    (b"[" + b"0," * 100_001 + b"0]", "application/json", 422, "too_many_values"),
    (b"kind=tune", "application/x-www-form-urlencoded", 415, None),
    (b"<a/>", "text/xml", 415, None),
    (b" " * (2**20 + 1), "application/json", 413, None),
]


def test_a_body_that_is_no_usable_json_is_refused(client: TestClient) -> None:
    """Whatever the bytes, the answer is a problem that names the fault."""
    wrong = []
    for body, media, status, code in RAW:
        answer = client.post("/jobs", content=body, headers={"Content-Type": media})
        problem = ProblemShape.model_validate(answer.json())
        if answer.status_code != status or (code is not None and problem.errors[0].code != code):
            wrong.append((body[:60], answer.text))

    assert wrong == []


SPECS = [
    (_with(steps="3"), "/steps"),
    (_with(steps=True), "/steps"),
    (_with(steps=1.5), "/steps"),
    (_with(steps=0), "/steps"),
    (_with(steps=10_000_001), "/steps"),
    (_with(steps=None), "/steps"),
    (_with(name="../../etc/passwd"), "/name"),
    (_with(name="a/b"), "/name"),
    (_with(name="A"), "/name"),
    (_with(name="a" * 65), "/name"),
    (_with(name=""), "/name"),
    (_with(name="..%2e"), "/name"),
    (_with(kind="sweeep"), "/kind"),
    (_with(resources={"ranks": 0}), "/resources/ranks"),
    (_with(resources={"ranks": 10**9}), "/resources/ranks"),
    (_with(optimizer={"learning_rate": 0}), "/optimizer/learning_rate"),
    (_with(optimizer={"name": "adafactor", "beta2": 0.99}), "/optimizer/beta2"),
    (_with(precision="fp16"), "/precision"),
    (_with(input_length=512, pack_length=8), ""),
    (_with(metadata={"a": 1}), "/metadata/a"),
    (_with(metadata={str(i): "x" for i in range(17)}), "/metadata"),
    (_with(base=""), "/base"),
    (_with(base="no-such-model"), "/base"),
    (_with(base="preset:enormous"), "/base"),
    (_with(base="/etc"), "/base"),
    (_with(base="../.."), "/base"),
    (_with(mixture={"collection": "synthetic", "tasks": ["shop_revews"]}), "/mixture/tasks/0"),
    (_with(mixture={"collection": "synthetic", "tasks": ["cluster:sentimental"]}), "/mixture/tasks/0"),
    (_with(mixture={"collection": "synthetic", "tasks": ["no-such-set@2"]}), "/mixture/tasks/0"),
    (_with(mixture={"collection": "synthetic", "tasks": ["a@99999999999999999999"]}), "/mixture/tasks/0"),
    (
        _with(mixture={"collection": "synthetic", "hold_out": {"clusters": ["nothing"]}}),
        "/mixture/hold_out/clusters/0",
    ),
    (_with(mixture={"collection": "synthetic", "hold_out": {"tasks": ["x"]}}), "/mixture/hold_out/tasks/0"),
    ({"kind": "evaluate", "name": "e", "model": "none", "tasks": ["*"]}, "/model"),
    ({"kind": "evaluate", "name": "e", "model": "preset:nano", "tasks": ["*"]}, "/model"),
    ({"kind": "evaluate", "name": "e", "model": "m@99999999999999999999", "tasks": ["*"]}, "/model"),
    ({"kind": "serve", "name": "s", "model": "none"}, "/model"),
    ({"name": "s"}, "/kind"),
]


def test_a_spec_with_a_fault_is_refused_with_its_place(client: TestClient) -> None:
    """Nothing is recorded, and the fault's JSON pointer says what to mend."""
    wrong = []
    for spec, pointer in SPECS:
        answer = client.post("/jobs", json=spec)
        pointers = [fault.pointer for fault in ProblemShape.model_validate(answer.json()).errors]
        if answer.status_code != 422 or pointer not in pointers:
            wrong.append((spec, pointer, answer.text))

    assert wrong == []
    assert client.get("/jobs").json()["data"] == []


TASK = {
    "name": "mine", "cluster": "sentiment", "source": {"kind": "dataset", "name": "rows"},
    "fields": {"text": "text"}, "answer": {"column": "label", "choices": ["bad", "good"]},
    "metrics": ["accuracy"], "templates": [{"input": "{text}\n{options_}"}],
}  # fmt: skip


def test_a_type_that_is_not_read_is_refused_with_those_that_are(client: TestClient) -> None:
    """Template sets come as JSON or YAML, jobs as JSON alone; the message says which."""
    said = {}
    for path in ("/template-sets", "/jobs"):
        answer = client.post(path, content="name: a", headers={"Content-Type": "text/plain"})
        assert answer.status_code == 415
        said[path] = (answer.json()["detail"], answer.json()["values"]["accepted"])

    json_, yaml = "application/json", "application/yaml"
    assert said["/template-sets"] == (f"this endpoint reads {json_} or {yaml}, not text/plain", [json_, yaml])
    assert said["/jobs"] == (f"this endpoint reads {json_}, not text/plain", [json_])


def test_a_compressed_body_is_not_read(client: TestClient) -> None:
    """No bomb is unpacked here."""
    answer = client.post("/jobs", content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})

    assert answer.status_code == 415


def test_text_of_every_kind_comes_back_as_it_was_sent(client: TestClient, settings: Settings) -> None:
    """Astral characters, joiners, right-to-left marks and combining marks are kept, never normalised."""
    text = "🧑‍🚀 e\u0301 \u202eevil\u202c İı ß ﬁ \ufeff \u2028 \U000e0041 \ue000 " + "o\u0300" * 50
    document = {**TASK, "source": {"kind": "synthetic", "generator": "shop_reviews", "splits": {"train": 5}}}
    document |= {"description": text, "fields": {"text": "text"}}
    made = client.post("/template-sets", json=document)

    assert made.status_code == 201, made.text
    assert client.get("/template-sets/mine").json()["document"]["description"] == text
