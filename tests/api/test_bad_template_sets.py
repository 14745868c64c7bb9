"""Template sets that are no good: each fault is told by its place and the way out, soon, and nothing is kept."""

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import yaml
from fastapi.testclient import TestClient

from api.schemas import ProblemShape

TASK: dict[str, Any] = {
    "name": "mine", "cluster": "sentiment", "source": {"kind": "dataset", "name": "rows"},
    "fields": {"text": "text"}, "answer": {"column": "label", "choices": ["bad", "good"]},
    "metrics": ["accuracy"], "templates": [{"input": "{text}\n{options_}"}],
}  # fmt: skip
HUB = {"kind": "hub", "id": "kit/mine", "splits": {"train": "train"}}
MADE = {"kind": "synthetic", "generator": "shop_reviews", "splits": {"train": 5}}
ASKING = {"language": "promptsource", "id": "a", "name": "a", "jinja": "{{ text }} ||| {{ label }}"}
JINJA = {name: value for name, value in TASK.items() if name not in ("fields", "answer")}
JSON, YAML = "application/json", "application/yaml"
SOON_S = 1.0


class Bad(NamedTuple):
    """A document with a fault, and what must be said of it."""

    document: Any
    pointer: str
    says: str
    hint: str = ""
    status: int = 422


def _with(**changes: Any) -> dict[str, Any]:
    return {**TASK, **changes}


def _asked(**template: Any) -> dict[str, Any]:
    """The second of two templates is this one."""
    return _with(templates=[*TASK["templates"], template])


def _answered(**answer: Any) -> dict[str, Any]:
    return _with(answer={**TASK["answer"], **answer})


def _from(source: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return _with(source={**source, **changes})


def _without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in TASK.items() if name not in names}


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


DOCUMENTS = {
    # patterns
    "open brace": Bad(_asked(input="{text"), "/templates/1/input", "stray '{' at character 0", "{{ and }}"),
    "closing brace": Bad(_asked(input="a } b"), "/templates/1/input", "stray '}' at character 2", "{{ and }}"),
    "brace in target": Bad(_asked(input="a", target="{answer"), "/templates/1/target", "stray '{'", "{{ and }}"),
    "attribute": Bad(_asked(input="{text.__class__}"), "/templates/1/input", "stray '{'", "a slot is {name}"),
    "conversion": Bad(_asked(input="{text!r}"), "/templates/1/input", "stray '{'", "a slot is {name}"),
    "index": Bad(_asked(input="{0}"), "/templates/1/input", "stray '{'", "no digit first"),
    "long slot": Bad(_asked(input="{" + "a" * 65 + "}"), "/templates/1/input", "stray '{'", "up to 64"),
    "jinja in slots": Bad(_asked(input="{% if x %}"), "/templates/1/input", "stray '{'", "language: promptsource"),
    "empty input": Bad(_asked(input=""), "/templates/1/input", "cannot be empty"),
    "null input": Bad(_asked(input=None), "/templates/1/input", "needs text, not null"),
    "number input": Bad(_asked(input=5), "/templates/1/input", "needs text, not 5", "put it in quotes"),
    "list input": Bad(_asked(input=["a"]), "/templates/1/input", "needs text"),
    "no input": Bad(_asked(target="{answer}"), "/templates/1/input", "this field is needed"),
    "empty target": Bad(_asked(input="a", target=""), "/templates/1/target", "cannot be empty"),
    "long input": Bad(_asked(input="x" * 16_385), "/templates/1/input", "at most 16,384 characters, not 16,385"),
    "5 MB template": Bad(_asked(input="x" * 5_000_000), "", "larger than", status=413),
    # slots and roles
    "unknown slot": Bad(_asked(input="{txet}"), "/templates/1/input", "no field for {txet}", "did you mean 'text'"),
    "far slot": Bad(_asked(input="{body}"), "/templates/1/input", "the task has text", "under fields"),
    "case of a slot": Bad(_asked(input="{Text}"), "/templates/1/input", "no field for {Text}", "'text'"),
    "unknown in target": Bad(_asked(input="a", target="{answer} {b}"), "/templates/1/target", "no field for {b}"),
    "options misspelt": Bad(_asked(input="{text}{options}"), "/templates/1/input", "{options}", "'options_'"),
    "missing role": Bad(_asked(input="a", target="{text}"), "/templates/1/target", "no {answer}", "role: inverted"),
    "answer given away": Bad(_asked(input="{answer}"), "/templates/1/input", "gives the {answer} away", "inverted"),
    "options in target": Bad(
        _asked(input="a", target="{answer}{options_}"), "/templates/1/target", "belongs to the input", "in the input"
    ),
    "unknown role": Bad(_asked(input="a", role="inverse"), "/templates/1/role", "answer, inverted", "'inverted'"),
    "null role": Bad(_asked(input="a", role=None), "/templates/1/role", "must be one of answer, inverted"),
    "options without choices": Bad(
        _with(answer={"column": "label"}), "/templates/0/input", "{options_} shows the choices", "answer.choices"
    ),
    "all inverted": Bad(
        _with(templates=[{"input": "a", "target": "{text}", "role": "inverted"}]), "/templates", "none asks", "{answer}"
    ),
    # the list
    "no template": Bad(_with(templates=[]), "/templates", "needs at least one"),
    "no list": Bad(_without("templates"), "/templates", "this field is needed"),
    "text for a list": Bad(_with(templates="{text}"), "/templates", "needs a list"),
    "text for a template": Bad(_with(templates=["{text}"]), "/templates/0", "needs an object", "input"),
    "1,001 templates": Bad(_with(templates=[{"input": "{text}"}] * 1_001), "/templates", "at most 1,000"),
    "unknown key": Bad(_asked(inptu="a", input="a"), "/templates/1/inptu", "unknown field", "'templates[].input'"),
    "prompt for input": Bad(_asked(prompt="a"), "/templates/1/prompt", "unknown field", "'templates[].input'"),
    "unknown language": Bad(_asked(language="jinja", input="a"), "/templates/1/language", "slots, promptsource"),
    # the answer
    "doubled choice": Bad(_answered(choices=["a", "b", "a"]), "/answer/choices/2", "'a' stands twice", "leave one out"),
    "line break": Bad(_answered(choices=["a", "b\nc"]), "/answer/choices/1", "line break", "one line"),
    "carriage return": Bad(_answered(choices=["a", "b\r"]), "/answer/choices/1", "line break", "one line"),
    "outer blank": Bad(_answered(choices=["a", " b"]), "/answer/choices/1", "blank", "take the blanks away"),
    "empty choice": Bad(_answered(choices=["a", ""]), "/answer/choices/1", "cannot be empty"),
    "number choice": Bad(_answered(choices=["a", 1]), "/answer/choices/1", "needs text, not 1", "put it in quotes"),
    "true for a choice": Bad(_answered(choices=["a", True]), "/answer/choices/1", "not true", "put it in quotes"),
    "unknown choice": Bad(_answered(labels={"0": "bad", "1": "goood"}), "/answer/labels/1", "none of", "'good'"),
    "fewer labels": Bad(_answered(labels={"0": "bad"}), "/answer/choices/1", "no label stands for 'good'", "labels"),
    "list of labels": Bad(_answered(labels=["bad", "good"]), "/answer/labels", "needs an object", "name: value"),
    "two kinds of choices": Bad(_answered(choices_from="c"), "/answer/choices_from", "choices are given too"),
    "names alone": Bad(_answered(names_from="c"), "/answer/names_from", "no choices_from", "leave it out"),
    "keys alone": Bad(
        _with(answer={"column": "label", "keys_from": "c"}, templates=[{"input": "{text}"}]),
        "/answer/keys_from", "there are none", "choices_from",
    ),
    "no column": Bad(_with(answer={"choices": ["a"]}), "/answer/column", "this field is needed"),
    "no answer": Bad(_without("answer"), "/answer", "this field is needed", "column"),
    # fields
    "field called answer": Bad(_with(fields={"text": "text", "answer": "label"}), "/fields/answer", "reserved"),
    "field called options_": Bad(_with(fields={"text": "text", "options_": "o"}), "/fields/options_", "reserved"),
    "constant called answer": Bad(_with(constants={"answer": "a"}), "/constants/answer", "reserved"),
    "field and constant": Bad(_with(constants={"text": "a"}), "/constants/text", "is a field too", "leave one out"),
    "field with a blank": Bad(_with(fields={"a b": "text"}), "/fields/a b", "letters, digits and _"),
    "long field name": Bad(_with(fields={"a" * 65: "text"}), f"/fields/{'a' * 65}", "up to 64"),
    "no field": Bad(_with(fields={}), "/fields", "at least one", "{text: text}"),
    "65 fields": Bad(_with(fields={f"f{i}": "text" for i in range(65)}), "/fields", "at most 64"),
    "unknown long field": Bad(_with(long_field="txt"), "/long_field", "none of the fields: text", "'text'"),
    "unknown column": Bad(_with(fields={"text": "body"}), "/fields/text", "has no column 'body'"),
    "unknown preparation": Bad(_with(prepare="drob"), "/prepare", "no preparation 'drob'", "drop"),
    "code for a preparation": Bad(_with(prepare="os.system"), "/prepare", "no preparation 'os.system'", "there are"),
    # metrics
    "unknown metric": Bad(_with(metrics=["acuracy"]), "/metrics/0", "'acuracy' is none of", "'accuracy'"),
    "metric that does not fit": Bad(_with(metrics=["pearson_correlation"]), "/metrics/0", "choices that are numbers"),
    "metric of a pair": Bad(
        _with(answer={"column": "label", "choices": ["a", "b", "c"]}, metrics=["accuracy", "positive_f1"]),
        "/metrics/1", "two fixed choices", "another metric",
    ),
    "doubled metric": Bad(_with(metrics=["f1", "f1"]), "/metrics/1", "stands twice", "leave one out"),
    "no metric": Bad(_with(metrics=[]), "/metrics", "needs at least one"),
    "unknown group": Bad(_with(group_by=["texts"]), "/group_by/0", "none of the fields", "'text'"),
    # where rows come from
    "bad slice": Bad(_from(HUB, splits={"train": "train[a:]"}), "/source/splits/train", "train[:-200]"),
    "slice with a step": Bad(_from(HUB, splits={"train": "train[::2]"}), "/source/splits/train", "train[:-200]"),
    "empty slice": Bad(_from(HUB, splits={"train": "train[9:3]"}), "/source/splits/train", "train[9:3] is no row"),
    "split with a path": Bad(_from(HUB, splits={"train": "../train"}), "/source/splits/train", "a split"),
    "long split name": Bad(_from(HUB, splits={"a" * 65: "train"}), f"/source/splits/{'a' * 65}", "64 characters"),
    "path for a folder": Bad(_from(HUB, folder="../../etc"), "/source/folder", "a name is"),
    "unknown kind": Bad(_with(source={"kind": "web"}), "/source/kind", "hub, dataset, synthetic"),
    "no kind": Bad(_with(source={"id": "a"}), "/source/kind", "this field is needed"),
    "text for a source": Bad(_with(source="rows"), "/source", "needs an object"),
    "unknown dataset": Bad(_with(source={"kind": "dataset", "name": "row"}), "/source/name", "'row'", "'rows'"),
    "unknown generator": Bad(_from(MADE, generator="shops"), "/source/generator", "no generator 'shops'", "there are"),
    "endless rows": Bad(_from(MADE, splits={"train": 10**15}), "/source/splits/train", "at most 100000"),
    "no rows": Bad(_from(MADE, splits={"train": -1}), "/source/splits/train", "at least 1, not -1"),
    "split of a generator": Bad(_from(MADE, splits={"dev": 5}), "/source/splits/dev", "'dev'", "train and validation"),
    # names
    "capitals": Bad(_with(name="Mine"), "/name", "a–z 0–9"),
    "long name": Bad(_with(name="a" * 65), "/name", "up to 64 characters"),
    "path for a name": Bad(_with(name="../../etc"), "/name", "a name is a–z"),
    "number for a name": Bad(_with(name=7), "/name", "needs text, not 7", "put it in quotes"),
    "name of a task": Bad(_with(name="sst2"), "", "comes with the platform", "another name", 409),
    # two languages, and promptsource's
    "two languages": Bad(_with(templates=[*TASK["templates"], ASKING]), "/templates/1/language", "slots", "each"),
    "jinja and fields": Bad({**JINJA, "templates": [ASKING], "fields": {"a": "b"}}, "/fields", "columns", "leave"),
    "bad jinja": Bad({**JINJA, "templates": [ASKING | {"jinja": "{{ a ||| b"}]}, "/templates/0/jinja", "line 1"),
    "jinja that computes": Bad(
        {**JINJA, "templates": [ASKING | {"jinja": "{{ a.__class__ }} ||| b"}]}, "/templates/0/jinja", "line 1"
    ),
    "jinja without a target": Bad(
        {**JINJA, "templates": [ASKING | {"jinja": "{{ a }}"}]}, "/templates/0/jinja", "no |||", "input ||| target"
    ),
    "bad choices in jinja": Bad(
        {**JINJA, "templates": [ASKING | {"answer_choices": "{% for %}"}]}, "/templates/0/answer_choices", "line 1"
    ),
    # another task's rows
    "unknown base": Bad({"name": "mine", "extends": "sst", "templates": [{"input": "a"}]}, "/extends", "'sst'", "sst2"),
    "slot of another": Bad(
        {"name": "mine", "extends": "sst2", "templates": [{"input": "{nothing}"}]}, "/templates/0/input", "{nothing}"
    ),
    # no task at all
    "text": Bad("just text", "", "needs an object", "its fields are name"),
    "list": Bad([TASK], "", "needs an object", "its fields are name"),
    "null": Bad(None, "", "needs an object"),
    "empty object": Bad({}, "/name", "this field is needed"),
    "unknown field": Bad(_with(choices=["a"]), "/choices", "unknown field", "'answer.choices'"),
    "deep": Bad(_with(example={"a": _nested(40)}), "/example/a" + "/0" * 30, "deep"),
    "wide": Bad(_with(example={"a": [0] * 100_001}), "", "100,000 values"),
    "huge number": Bad(_with(example={"a": 10**30}), "/example/a", "more than 64 bits"),
    "NUL": Bad(_with(description="a\0b"), "/description", "U+0000"),
}  # fmt: skip


def _line(text: str) -> str:
    """A task with this line among its own."""
    return f"name: mine\n{text}\ncluster: sentiment\n"


_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
TEXTS = {
    # not JSON
    "no body": (JSON, b"", 422, "", "not JSON"),
    "half of JSON": (JSON, b'{"name": "a",\n"templates": [', 422, "", "line 2"),
    "trailing comma": (JSON, b'{"name": "a",}', 422, "", "line 1, column"),
    "doubled name in JSON": (JSON, b'{"name": "a", "name": "b"}', 422, "", "'name' stands twice"),
    "NaN in JSON": (JSON, b'{"example": {"a": NaN}}', 422, "", "NaN is no JSON number"),
    "infinity in JSON": (JSON, b'{"example": {"a": 1e400}}', 422, "/example/a", "not a finite number"),
    "digits in JSON": (JSON, b'{"example": {"a": ' + b"9" * 5_000 + b"}}", 422, "", "digits"),
    "surrogate in JSON": (JSON, b'{"name": "\\ud800"}', 422, "/name", "surrogate"),
    "surrogate in a name": (JSON, b'{"\\udc00": 1}', 422, "", "surrogate"),
    "brackets in JSON": (JSON, b"[" * 100_000, 422, "", "nested more than"),
    "bytes that are no UTF-8": (JSON, b'{"name": "\xe9"}', 400, None, "byte 10 is 0xe9"),
    "much JSON": (JSON, b" " * (2**20 + 1), 413, None, "larger than"),
    # not YAML
    "nothing": (YAML, b"", 422, "", "the document is empty"),
    "comment alone": (YAML, b"# later\n", 422, "", "the document is empty"),
    "open list": (YAML, _line("templates: [").encode(), 422, "", "line 4, column 1"),
    "colon": (YAML, _line("description: a: b").encode(), 422, "", "line 2, column 15"),
    "tab": (YAML, b"fields:\n\ttext: text", 422, "", "line 2, column 1"),
    "bare slot": (YAML, b"templates:\n  - input: {text} is?", 422, "", "line 2"),
    "open quotes": (YAML, b"name: 'mine", 422, "", "line 1"),
    "bytes in YAML": (YAML, b"name: \xe9", 400, None, "byte 6 is 0xe9"),
    "NUL in YAML": (YAML, b"name: a\0b", 422, "", "line 1, column 8: text cannot hold the character U+0000"),
    "escaped NUL": (YAML, b'name: "a\\0b"', 422, "/name", "line 1, column 7"),
    "escaped surrogate": (YAML, b'name: "\\ud800"', 422, "", "line 1, column"),
    "bell": (YAML, b"name: a\x07", 422, "", "U+0007"),
    "doubled name": (YAML, _line("name: yours").encode(), 422, "", "line 2, column 1: the name 'name' stands twice"),
    "doubled name below": (
        YAML, _line("fields:\n  text: a\n  text: b").encode(), 422, "/fields", "line 4, column 3: the name 'text'",
    ),
    "number for a name": (YAML, _line("answer: {labels: {0: bad}}").encode(), 422, "/answer/labels", "'0' is read"),
    "true for a name": (YAML, _line("fields: {true: a}").encode(), 422, "/fields", "'true' is read as"),
    "list for a name": (YAML, b"? [a]\n: b", 422, "", "line 1, column 3"),
    "merge key": (YAML, _line("fields: &f {a: b}\nconstants:\n  <<: *f").encode(), 422, "/constants", "merge key"),
    "unknown alias": (YAML, _line("fields: *f").encode(), 422, "/fields", "line 2, column 9: the alias *f"),
    "alias of itself": (YAML, b"name: &a [*a]", 422, "/name/0", "the alias *a"),
    "python object": (YAML, b"!!python/object/apply:os.system [true]", 422, "", "the tag !!python/object/apply:os"),
    "python in a value": (YAML, b"name: !!python/name:os.system", 422, "/name", "line 1, column 7: the tag !!python"),
    "own tag": (YAML, b"name: !mine a", 422, "/name", "the tag !mine"),
    "set": (YAML, b"metrics: !!set {f1}", 422, "/metrics", "the tag !!set"),
    "binary": (YAML, b"name: !!binary aGk=", 422, "/name", "the tag !!binary"),
    "laughs": (YAML, _LAUGHS.encode(), 422, None, "values, each alias counted as all that it stands for"),
    "long laughs": (
        YAML, b"a: &a '" + b"x" * 60_000 + b"'\nb: [" + b"*a, " * 40_000 + b"]", 422, None, "characters of text",
    ),
    "brackets": (YAML, b"[" * 250_000, 422, None, "nested more than"),
    "dashes": (YAML, b"- " * 120_000, 422, None, "nested more than"),
    "braces": (YAML, b"{a: " * 60_000, 422, None, "nested more than"),
    "two documents": (YAML, b"name: a\n---\nname: b", 422, "", "line 2, column 1: a second document"),
    ".nan": (YAML, _line("example: {a: .nan}").encode(), 422, "/example/a", "line 2, column 14: '.nan'"),
    ".inf": (YAML, _line("example: {a: -.inf}").encode(), 422, "/example/a", "'-.inf' is no finite number"),
    "1e400": (YAML, _line("example: {a: 1e400}").encode(), 422, "/example/a", "'1e400' is no finite number"),
    "5,000 digits": (YAML, _line("example: {a: " + "9" * 5_000 + "}").encode(), 422, "/example/a", "5,000 digits"),
    "much YAML": (YAML, b"#" * (256 * 1024 + 1), 413, None, "262,144 bytes"),
    # not read
    "plain text": ("text/plain", b"name: a", 415, None, "application/json or application/yaml, not text/plain"),
    "form": ("application/x-www-form-urlencoded", b"name=a", 415, None, "application/json or application/yaml"),
    "XML": ("text/xml", b"<name/>", 415, None, "not text/xml"),
}  # fmt: skip


@pytest.fixture
def rows(client: TestClient) -> TestClient:
    """A client of a platform that has a dataset `rows`."""
    body = '{"text": "a", "label": "bad"}'
    assert client.post("/datasets?name=rows&split=train&format=jsonl", content=body).status_code == 201
    return client


def _bodies() -> Iterator[tuple[str, str, bytes, Bad]]:
    for name, bad in DOCUMENTS.items():
        yield name, JSON, json.dumps(bad.document).encode(), bad
        text = yaml.safe_dump(bad.document, allow_unicode=True, sort_keys=False).encode()
        if len(text) <= 200_000 or bad.status == 413:
            yield name, YAML, text, bad


def test_a_template_set_with_a_fault_is_refused_with_its_place_and_the_way_out(rows: TestClient) -> None:
    """In JSON and in YAML alike, within a second; nothing is stored."""
    wrong = []
    for name, media, body, bad in _bodies():
        begin = time.perf_counter()
        answer = rows.post("/template-sets", content=body, headers={"Content-Type": media})
        took_s = time.perf_counter() - begin
        problem = ProblemShape.model_validate(answer.json())
        told = {fault.pointer: fault for fault in problem.errors}
        fault = told.get(bad.pointer)
        hint = (fault.hint if fault else None) or problem.hint or ""
        is_right = answer.headers["Content-Type"] == "application/problem+json" and took_s < SOON_S
        is_right &= answer.status_code == bad.status and (fault is not None or not bad.pointer)
        is_right &= bad.says in (fault.message if fault else problem.detail) and bad.hint in hint
        if not is_right:
            wrong.append((name, media, f"{took_s:.2f} s", bad[1:], answer.text[:600]))

    assert wrong == []
    assert len(DOCUMENTS) >= 60
    assert rows.get("/template-sets").json()["data"] == []


def test_a_text_that_is_no_document_is_refused_with_its_line(rows: TestClient) -> None:
    """Whatever the bytes: no parser is misled, none is kept busy, none falls over."""
    wrong = []
    for name, (media, body, status, pointer, says) in TEXTS.items():
        begin = time.perf_counter()
        answer = rows.post("/template-sets", content=body, headers={"Content-Type": media})
        took_s = time.perf_counter() - begin
        problem = ProblemShape.model_validate(answer.json())
        pointers = [fault.pointer for fault in problem.errors]
        is_right = answer.headers["Content-Type"] == "application/problem+json" and took_s < SOON_S
        is_right &= answer.status_code == status and says in problem.detail
        if not is_right or (pointer is not None and pointers != [pointer]):
            wrong.append((name, f"{took_s:.2f} s", status, pointer, says, answer.text[:600]))

    assert wrong == []
    assert rows.get("/template-sets").json()["data"] == []


def test_every_fault_of_a_template_set_is_told_at_once(rows: TestClient) -> None:
    """Nobody has to upload five times to learn of five slips."""
    slips = [{"input": "{a}"}, {"input": "{text"}, {"input": "{answer}", "target": "b"}]
    first = rows.post("/template-sets", json=_with(templates=slips)).json()["errors"]
    then = rows.post("/template-sets", json=_with(templates=slips[:1] * 3, prepare="a", long_field="b"))

    assert [fault["pointer"] for fault in first] == [
        "/templates/1/input", "/templates/2/target", "/templates/2/input",
    ]  # fmt: skip
    assert [fault["pointer"] for fault in then.json()["errors"]] == [
        "/prepare", "/long_field", "/templates/0/input", "/templates/1/input", "/templates/2/input",
    ]  # fmt: skip


def test_more_templates_than_flan_has_are_taken_with_a_warning(rows: TestClient) -> None:
    """Eleven, or four that are turned around, are odd and no fault; a thousand are read within a second."""
    inverted = [{"input": f"{i} {{answer}}", "target": "{text}", "role": "inverted"} for i in range(4)]
    many = [{"input": f"{i} {{text}} {{options_}}"} for i in range(1_000)]
    findings = {}
    for templates in ([*TASK["templates"], *inverted], many[:11], many):
        made = rows.post("/template-sets", json=_with(templates=templates))
        assert made.status_code == 201, made.text
        findings[len(templates)] = {(each["code"], each["severity"]) for each in made.json()["findings"]}

    assert ("inverted_over_three", "warning") in findings[5]
    assert any(code != "inverted_over_three" and severity == "warning" for code, severity in findings[11])


def test_yaml_is_read_as_json_would_be(rows: TestClient) -> None:
    """What YAML 1.1 took for true, a date, an octal number or minutes is what it looks like; anchors are fine."""
    text = """
name: mine
cluster: sentiment
source: {kind: dataset, name: rows}
fields: &fields {text: text}
answer: {column: label, choices: [yes, no, on, off, 2020-01-01, 1:30, 0x1F]}
metrics: [accuracy]
templates:
  - input: "{text}\\n{options_}"
example: {a: [1e-4, 017, .5, -3, ~, true, 'true', 1_000], b: *fields}
"""
    made = rows.post("/template-sets", content=text, headers={"Content-Type": YAML})

    assert made.status_code == 201, made.text
    document = made.json()["document"]
    assert document["answer"]["choices"] == ["yes", "no", "on", "off", "2020-01-01", "1:30", "0x1F"]
    assert document["example"] == {
        "a": [1e-4, 17, 0.5, -3, None, True, "true", "1_000"], "b": {"text": "text"},
    }  # fmt: skip
