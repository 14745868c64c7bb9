"""The HTTP face of a served model: a real server, a real client."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import torch

from flan.serve.engine import Engine
from flan.serve.messages import ScoreRequest
from flan.serve.plans import plan_score
from flan.serve.wire import CALLER_HEADER
from tests.model import naive
from tests.serve.lively import (
    PROMPTS,
    TOKEN,
    endless_model,
    gate,
    lively_model,
    prompt_ids,
    server_of,
    wait_until,
)

BLOCK = "Is the film good?\n\nOPTIONS:\n- yes\n- no\n- it is not possible to tell"
Served = tuple[httpx.Client, Engine]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """One server for all tests that only ask."""
    with server_of(lively_model()) as running:
        yield running


def _events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def _stream(client: httpx.Client, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    with client.stream("POST", "/generate", json=body | {"stream": True}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(_events(response.iter_lines()))


def _stable(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in ("id", "created", "timing")}


def test_a_sampled_answer_reports_how_it_was_made(served: Served) -> None:
    """Everything needed to get it again, and the contract under which text became ids."""
    client, _ = served
    request = {"prompt": PROMPTS[1], "n": 2, "seed": 3, "logprobs": True}
    answer = client.post("/generate", json=request).raise_for_status().json()

    card = lively_model().card
    assert answer["object"] == "generation"
    assert (answer["mode"], answer["model"], answer["contract"]) == (
        "sample",
        card.name,
        card.contract.digest(),
    )
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert answer["seed"] == 3
    assert answer["parameters"]["top_k"] == {"value": 40, "source": "default"}
    tokens = [choice["logprobs"]["token_ids"] for choice in answer["choices"]]
    num_prompt, num_written = len(prompt_ids(lively_model(), PROMPTS[1])), sum(map(len, tokens))
    assert answer["usage"] == {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_written,
        "total_tokens": num_prompt + num_written,
    }
    again = client.post("/generate", json=request).raise_for_status().json()
    assert _stable(again) == _stable(answer)


def test_a_drawn_seed_gives_the_answer_again(served: Served) -> None:
    """An answer asked for without a seed can be repeated with the one it reports."""
    client, _ = served
    first = client.post("/generate", json={"prompt": PROMPTS[0]}).json()
    other = client.post("/generate", json={"prompt": PROMPTS[0]}).json()
    again = client.post("/generate", json={"prompt": PROMPTS[0], "seed": first["seed"]}).json()

    assert again["choices"] == first["choices"]
    assert other["choices"] != first["choices"]


def test_a_stream_is_the_answer_in_pieces(served: Served) -> None:
    """Its pieces make up each text; its last event is the whole answer."""
    client, _ = served
    request = {"prompt": PROMPTS[2], "n": 3, "seed": 5, "stop": ["q"], "max_new_tokens": 40}
    whole = client.post("/generate", json=request).raise_for_status().json()
    *tokens, (last, done) = _stream(client, request)

    assert {name for name, _ in tokens} == {"token"}
    assert last == "done"
    assert _stable(done) == _stable(whole)
    for choice in whole["choices"]:
        own = [token["text"] for _, token in tokens if token["index"] == choice["index"]]
        assert "".join(own) == choice["text"]


def test_a_classification_is_the_naive_one(served: Served) -> None:
    """Scores with the end of answer, probabilities among the options, the same by both endpoints."""
    client, _ = served
    model = lively_model()
    answer = client.post("/classify", json={"prompt": BLOCK}).raise_for_status().json()
    by_generate = client.post("/generate", json={"prompt": BLOCK}).raise_for_status().json()

    options = ("yes", "no", "it is not possible to tell")
    plan = plan_score(model, ScoreRequest(prompt=BLOCK, continuations=options))
    expected = [float(naive.target_logprobs(model, plan.prompt, target).sum()) for target in plan.targets]
    assert [score["option"] for score in answer["scores"]] == list(options)
    assert [score["logprob"] for score in answer["scores"]] == pytest.approx(expected, abs=1e-3)
    assert answer["choice"] == options[expected.index(max(expected))]
    assert sum(score["probability"] for score in answer["scores"]) == pytest.approx(1)
    assert by_generate["mode"] == "classify"
    assert by_generate["choices"][0]["text"] == answer["choice"]
    again = by_generate["classification"]["scores"]
    # The second time the prompt's beginning is known, so the rest is read in another shape: rounding may differ.
    assert [score["logprob"] for score in again] == pytest.approx(
        [score["logprob"] for score in answer["scores"]], abs=1e-4
    )
    assert by_generate["seed"] is None


def test_a_ranked_request_says_what_had_no_effect(served: Served) -> None:
    """A seed means nothing to a classification; that is not kept quiet."""
    client, _ = served
    answer = client.post("/generate", json={"prompt": BLOCK, "seed": 4, "max_new_tokens": 3}).json()

    assert answer["unused"] == ["max_new_tokens", "seed"]


def test_scores_are_given_token_by_token(served: Served) -> None:
    """Each continuation's tokens add up to its score."""
    client, _ = served
    body = {"prompt": PROMPTS[1], "continuations": ["positive", "", "negative"]}
    answer = client.post("/score", json=body).raise_for_status().json()

    assert [score["continuation"] for score in answer["scores"]] == body["continuations"]
    for score in answer["scores"]:
        assert len(score["token_logprobs"]) == score["num_tokens"]
        assert sum(score["token_logprobs"]) == pytest.approx(score["logprob"], abs=1e-4)


@pytest.mark.parametrize("text", ["Grüße, 世界! 🙂", "a\x00b", "tab\tand\nlines", "</s><s><pad>"])
def test_any_text_is_read_as_it_is(served: Served, text: str) -> None:
    """Unicode, control characters and special tokens spelled out: text is text."""
    client, _ = served
    answer = client.post("/generate", json={"prompt": text, "max_new_tokens": 1}).raise_for_status().json()

    model = lively_model()
    assert answer["usage"]["prompt_tokens"] == len(prompt_ids(model, text))
    assert client.post(
        "/classify", json={"prompt": "?", "options": [text.replace("\n", " "), "b"]}
    ).is_success


def _problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["request_id"] == response.headers["x-request-id"]
    return body


def test_only_the_token_opens_the_door(served: Served) -> None:
    """Missing, wrong or in another scheme: 401. Health needs none."""
    client, _ = served
    for given in (None, "Bearer wrong", "Basic a-token-of-the-test", "Bearer", "Bearer é"):
        headers = {} if given is None else {"Authorization": given.encode("latin-1")}
        for method, path in (
            ("POST", "/generate"),
            ("POST", "/classify"),
            ("POST", "/score"),
            ("GET", "/model"),
        ):
            response = httpx.request(method, f"{client.base_url}{path}", headers=headers)
            _problem(response, 401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
    for path in ("/healthz", "/readyz"):
        assert httpx.get(f"{client.base_url}{path}").is_success


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"{", 400, "bad_request"),
        (b'{"prompt": "a", "temperature": NaN}', 422, "invalid_document"),
        (b"[" * 100_000, 400, "bad_request"),
        (b'{"prompt": "\\ud800"}', 422, "invalid_document"),
        (b"\xff\xfe", 400, "bad_request"),
        (b"[]", 422, "invalid_document"),
        (b'"text"', 422, "invalid_document"),
        (b'{"prompt": "a", "seed": 1e400}', 422, "invalid_document"),
        (b'{"prompt": 5}', 422, "invalid_document"),
        (b'{"prompt": "a", "mode": "classify"}', 422, "invalid_document"),
        (b'{"prompt": "a", "max_new_tokens": 8192}', 422, "context_exceeded"),
        (b'{"prompt": "' + b"a" * 2**22 + b'"}', 413, "too_large"),
    ],
)
def test_bad_bodies_are_the_clients_fault(served: Served, body: bytes, status: int, code: str) -> None:
    """Nothing that is sent makes the server fail; it says what is wrong."""
    client, engine = served
    _problem(client.post("/generate", content=body), status, code)

    assert engine.status().is_alive


def test_an_endless_body_is_cut_off(served: Served) -> None:
    """A body without a declared length is refused as soon as it is too long."""
    client, _ = served

    def endless() -> Iterator[bytes]:
        for _ in range(80):
            yield b" " * 2**16

    _problem(client.post("/generate", content=endless()), 413, "too_large")


def test_a_problem_points_at_the_field(served: Served) -> None:
    """With what was meant, where we have an idea."""
    client, _ = served
    response = client.post(
        "/generate", json={"prompt": "a", "temprature": 1}, headers={"X-Request-Id": "mine"}
    )
    body = _problem(response, 422, "invalid_document")

    assert body["errors"][0]["pointer"] == "/temprature"
    assert "temperature" in body["errors"][0]["hint"]
    assert body["request_id"] == "mine"


def test_unknown_paths_are_problems_too(served: Served) -> None:
    """Also a known path with another method."""
    client, _ = served
    _problem(client.get("/nothing"), 404, "not_found")
    assert client.get("/generate").status_code == 405


def test_health_is_a_token_that_the_model_writes(served: Served) -> None:
    """Not only a process that listens; it counts as a request, and says how long it took."""
    client, engine = served
    before = engine.status().requests
    answer = client.get("/health").raise_for_status().json()

    assert answer["status"] == "ok"
    assert answer["timing"]["total_s"] >= answer["timing"]["queue_s"] >= 0
    assert engine.status().requests == before + 1


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    """504, streaming or not, and its rows are free; the deployment's own limit is the longest."""
    body = {"prompt": "hi", "max_new_tokens": 8_000, "seed": 1, "timeout_s": 0.05}
    with server_of(endless_model()) as (client, engine):
        _problem(client.post("/generate", json=body), 504, "deadline_exceeded")
        *_, (name, problem) = _stream(client, body)
        wait_until(lambda: engine.status().active == 0)
        assert client.get("/readyz").json()["inside"] == 0

    assert (name, problem["code"]) == ("error", "deadline_exceeded")


COMPLETION = {"model": "m", "seed": 1, "temperature": 0, "max_tokens": 4}


def test_echoed_tokens_are_those_that_were_sent(served: Served) -> None:
    """Text or ids, one or several: each with what the model expected there, as lm-evaluation-harness asks for it."""
    client, _ = served
    model = lively_model()
    texts = [PROMPTS[1], PROMPTS[3]]
    ids = [model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    asked = COMPLETION | {"max_tokens": 1, "logprobs": 1, "echo": True}
    by_ids = client.post("/v1/completions", json=asked | {"prompt": ids}).raise_for_status().json()
    by_text = client.post("/v1/completions", json=asked | {"prompt": texts}).raise_for_status().json()

    assert by_ids["choices"] == by_text["choices"]
    for own, text, choice in zip(ids, texts, by_ids["choices"], strict=True):
        found = choice["logprobs"]
        logits = model.network(torch.tensor([own])).logits[0].log_softmax(-1)
        expected = logits[:-1].gather(-1, torch.tensor(own)[1:, None])[:, 0].tolist()
        assert choice["text"].startswith(text)
        assert found["token_logprobs"][0] is None and found["top_logprobs"][0] is None
        assert found["token_logprobs"][1:-1] == pytest.approx(expected, abs=1e-3)
        best = [max(top.values()) for top in found["top_logprobs"][1:]]
        assert best[:-1] == pytest.approx(logits[:-1].amax(-1).tolist(), abs=1e-3)
        # The one token that was written is the most probable one, and is told to be exactly that.
        assert found["token_logprobs"][-1] == best[-1]
        assert len(found["tokens"]) == len(own) + 1
        assert "".join(found["tokens"][:-1]) == text


def test_completions_are_what_generate_gives(served: Served) -> None:
    """By text or by ids, several at a time; with log-probabilities where they are asked for, those of the contract."""
    client, _ = served
    model = lively_model()
    ids = model.tokenizer(PROMPTS[1], add_special_tokens=False)["input_ids"]
    body = {"prompt": PROMPTS[1], "seed": 1, "temperature": 0, "max_new_tokens": 4, "logprobs": True}
    native = client.post("/generate", json=body).raise_for_status().json()["choices"][0]
    asked = COMPLETION | {"logprobs": 2}
    found = client.post("/v1/completions", json=asked | {"prompt": [PROMPTS[1], PROMPTS[1]]}).json()
    by_ids = client.post("/v1/completions", json=asked | {"prompt": ids}).json()
    plain = client.post("/v1/completions", json=asked | {"prompt": PROMPTS[1], "logprobs": 0}).json()

    assert [choice["index"] for choice in found["choices"]] == [0, 1]
    for choice in (*found["choices"], *by_ids["choices"], *plain["choices"]):
        assert choice["text"] == native["text"]
        logprobs = choice["logprobs"]["token_logprobs"]
        assert logprobs == pytest.approx(native["logprobs"]["token_logprobs"], abs=1e-3)
    assert [len(top) for top in by_ids["choices"][0]["logprobs"]["top_logprobs"]] == [2] * len(logprobs)
    assert plain["choices"][0]["logprobs"]["top_logprobs"] is None


def test_an_encoder_decoder_says_that_it_cannot_echo() -> None:
    """It has nothing to say about what it reads."""
    with server_of(lively_model("encoder_decoder")) as (client, _):
        asked = COMPLETION | {"prompt": "hi"}
        _problem(client.post("/v1/completions", json=asked | {"echo": True}), 422, "decoder_needed")
        assert client.post("/v1/completions", json=asked | {"logprobs": 0}).is_success


def test_the_model_describes_itself(served: Served) -> None:
    """Its card, its contract and the defaults of its deployment."""
    client, _ = served
    answer = client.get("/model").raise_for_status().json()

    assert answer["card"]["lineage"]["tasks_seen"] == []
    assert answer["contract"] == lively_model().card.contract.digest()
    assert answer["sampling"]["max_new_tokens"] == 16


@pytest.mark.parametrize("is_streaming", [True, False])
def test_a_client_that_goes_away_frees_its_rows(is_streaming: bool) -> None:
    """Long before the answer would have ended, streaming or not."""
    limits = {"n": 8, "max_new_tokens": 8_000, "seed": 1, "temperature": 2.0}
    with server_of(endless_model()) as (client, engine):
        if is_streaming:
            body = {"prompt": "hi", "stream": True} | limits
            with client.stream("POST", "/generate", json=body) as response:
                next(response.iter_lines())
                assert engine.status().active == 8
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post("/generate", json={"prompt": "hi"} | limits, timeout=httpx.Timeout(60, read=0.5))
        wait_until(lambda: engine.status().active == 0)

        assert 0 < engine.status().tokens < 8 * 8_000
        assert client.post("/generate", json={"prompt": "hi"}).is_success


def test_the_engine_knows_whose_question_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that callers take turns in it, not only at the door."""
    asked: list[str] = []
    with server_of(lively_model()) as (client, engine):
        for name in ("generate", "score"):
            real = getattr(engine, name)

            def noting(*given: Any, real: Any = real, **how: Any) -> Any:
                asked.append(how["client"])
                return real(*given, **how)

            monkeypatch.setattr(engine, name, noting)
        mine = {CALLER_HEADER: "key_1"}
        assert client.post("/generate", json={"prompt": "hi", "n": 2}, headers=mine).is_success
        chosen = {"prompt": "hi", "options": ["yes", "no"]}
        assert client.post("/classify", json=chosen, headers=mine | {CALLER_HEADER: "key_2"}).is_success

    assert asked == ["key_1", "key_2"]


def test_a_full_server_says_when_to_come_again() -> None:
    """429 with Retry-After, also for a stream and before a body has come; the accepted ones are answered."""
    model = lively_model()
    with gate(model) as let_pass, server_of(model, max_batch=1, max_waiting=0) as (client, engine):
        let_pass(3)
        with client.stream("POST", "/generate", json={"prompt": "hi", "stream": True, "seed": 1}) as running:
            assert running.status_code == 200
            wait_until(lambda: engine.status().active == 1)
            for body in ({"prompt": "hi"}, {"prompt": "hi", "stream": True}):
                refused = client.post("/generate", json=body)
                assert _problem(refused, 429, "overloaded")["retryable"]
                assert refused.headers["retry-after"] == "1"
            with socket.create_connection((client.base_url.host, client.base_url.port or 80), 60) as unread:
                head = f"Host: here\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 4000000\r\n\r\n"
                unread.sendall(f"POST /generate HTTP/1.1\r\n{head}".encode())
                assert unread.recv(12) == b"HTTP/1.1 429"
            let_pass(100)
            assert list(_events(running.iter_lines()))[-1][0] == "done"


def test_a_dead_engine_shows() -> None:
    """Health of the process is one thing, of the engine another: no answer, and not ready."""
    model = lively_model()

    def fail(*_: object) -> None:
        raise RuntimeError("secret: /home/of/model")

    with server_of(model) as (client, _):
        assert client.get("/readyz").json()["status"] == "ready"
        handle = model.network.get_input_embeddings().register_forward_pre_hook(fail)
        try:
            answer = client.post("/generate", json={"prompt": "hi"})
        finally:
            handle.remove()
        assert _problem(answer, 503, "engine_stopped")["retryable"]
        assert "secret" not in answer.text
        _problem(client.get("/readyz"), 503, "engine_stopped")
        assert client.get("/healthz").is_success


def test_an_error_in_the_middle_of_a_stream_is_an_event() -> None:
    """A status cannot change any more; the client still learns that the answer is not whole."""
    model = lively_model()
    with gate(model) as let_pass, server_of(model) as (client, engine):
        let_pass(4)
        with client.stream("POST", "/generate", json={"prompt": "hi", "stream": True, "seed": 1}) as response:
            wait_until(lambda: engine.status().active == 1)
            handle = model.network.get_input_embeddings().register_forward_hook(lambda *_: 1 / 0)
            try:
                let_pass(1)
                *_, (name, problem) = _events(response.iter_lines())
            finally:
                handle.remove()

    assert (name, problem["status"], problem["code"]) == ("error", 503, "engine_stopped")


def test_what_breaks_inside_says_no_more_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths and values of an unforeseen error stay in the log."""

    def fail(*_: object) -> None:
        raise RuntimeError("secret: /home/of/model")

    monkeypatch.setattr("flan.serve.server.plan_generate", fail)
    with server_of(lively_model()) as (client, _):
        answer = client.post("/generate", json={"prompt": "hi"})

    assert _problem(answer, 500, "internal")["detail"] == "Something broke on our side"
    assert "secret" not in answer.text
