"""Questions to served models, through the platform: to the right one, whole or in a stream, for any client."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from api.app import create_app
from api.client import Client
from api.settings import Settings
from flan.spec import ServeSpec, parse
from tests.api.conftest import make_key
from tests.api.live import listening
from tests.api.world import DIGEST, NODE, claim, finish, serving
from tests.serve.lively import TOKEN, gate, lively_model, wait_until
from workers.ledger import jobs, models, nodes
from workers.ledger.leases import Ending, Failure
from workers.ledger.models import NewModel


@pytest.fixture
def served(client: TestClient, sessions: sessionmaker[Session], tmp_path: Path) -> Iterator[TestClient]:
    """A platform that serves one model, as `movies`."""
    with serving(sessions, tmp_path):
        yield client


@pytest.fixture
def live(settings: Settings, sessions: sessionmaker[Session], tmp_path: Path) -> Iterator[Client]:
    """The same behind a real port."""
    here = settings.model_copy(update={"allowed_hosts": ("127.0.0.1",)})
    with serving(sessions, tmp_path), listening(create_app(here)) as url:
        client = Client(url, make_key(sessions, ["generate"]))
        yield client
        client.close()


def test_the_only_served_model_answers_when_none_is_named(served: TestClient) -> None:
    """By the deployment's name, the model's, its version's or an alias it is the same one."""
    asked = {"prompt": "hi", "seed": 1, "max_new_tokens": 8}
    names = [None, "movies", "movies@1", "movies@default"]
    texts = {
        served.post("/generate", json={**asked, "model": name}).json()["choices"][0]["text"] for name in names
    }

    assert len(texts) == 1


def test_an_unknown_model_is_refused_with_the_names_that_are_served(served: TestClient) -> None:
    """404, as OpenAI's clients expect it; the code and /model tell it from an address that is not there."""
    answer = served.post("/classify", json={"prompt": "x", "model": "movie", "options": ["a", "b"]})

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (404, "/model")
    assert "movies" in answer.json()["hint"]


def test_an_unknown_model_is_told_apart_from_one_that_is_not_deployed(
    served: TestClient, sessions: sessionmaker[Session]
) -> None:
    """The hint says what is served, and what of what is registered was probably meant."""
    with sessions.begin() as session:
        models.register(session, NewModel("poems", "tuned", "6" * 64, lively_model().card))

    def hint(model: str) -> str:
        answer = served.post("/generate", json={"prompt": "hi", "model": model})
        assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")
        return answer.json()["hint"]

    assert hint("poem") == "served are: movies; did you mean 'poems'?"
    assert hint("poems") == "served are: movies; 'poems' is registered: deploy it with a serve job"
    assert hint("xyz") == "served are: movies"


def test_a_model_that_is_not_up_yet_is_a_503_that_names_its_job(
    client: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Queued, starting, paused, restarting: by the deployment's name or the model's, also when none is named."""
    with sessions.begin() as session:
        models.register(session, NewModel("movies", "tuned", DIGEST, lively_model().card))
        pins = {"tasks": {}, "model": DIGEST}
        spec = {"kind": "serve", "name": "films", "model": "movies", "pins": pins}
        job = jobs.submit(session, parse(ServeSpec, spec)).id
        nodes.report(session, NODE, cpu_slots=8, gpus=[])

    def state() -> str:
        states = set()
        for path, model in (("/generate", "films"), ("/v1/completions", "movies@1"), ("/generate", None)):
            asked = {"prompt": "hi"} | ({"model": model} if model else {})
            answer = client.post(path, json=asked)
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (503, "model_starting"), answer.text
            assert answer.headers["retry-after"] == "5"
            assert (problem["retryable"], problem["values"]["job"]) == (True, job)
            states.add(problem["values"]["state"])
            assert problem["detail"].endswith(f"job {job} is {problem['values']['state']}")
        return states.pop() if len(states) == 1 else str(states)

    assert state() == "queued"
    client.post(f"/jobs/{job}/pause")
    assert state() == "paused"
    client.post(f"/jobs/{job}/resume")
    lease = claim(sessions, tmp_path)
    assert state() == "starting"
    fault = Failure(code="rank_lost", blame="infra", message="a rank ended")
    finish(sessions, lease, Ending("fault", fault))
    assert state() == "restarting"
    client.post(f"/jobs/{job}/cancel")
    assert client.post("/generate", json={"prompt": "hi", "model": "films"}).status_code == 404


def test_with_two_served_models_one_must_be_named_or_be_the_default(
    served: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """The alias `default` decides; without it the names are listed."""
    with serving(sessions, tmp_path / "second", "films"):
        assert served.post("/generate", json={"prompt": "hi"}).status_code == 200
        with sessions.begin() as session:
            models.drop_alias(session, "movies", "default")
        answer = served.post("/generate", json={"prompt": "hi"})

    assert (answer.status_code, answer.json()["code"]) == (422, "model_needed")
    assert "films, movies" in answer.json()["hint"]


def test_a_fault_of_a_question_is_named_before_it_is_sent(served: TestClient) -> None:
    """And one that only the model can find comes back as it says it."""
    misspelt = served.post("/generate", json={"prompt": "hi", "temprature": 1})
    no_options = served.post("/classify", json={"prompt": "hi"})

    assert misspelt.json()["errors"][0]["hint"] == "did you mean 'temperature'?"
    assert (no_options.status_code, no_options.headers["content-type"]) == (422, "application/problem+json")


def test_a_stream_comes_through_as_it_is_written(live: Client) -> None:
    """The first token is here while the model still waits to write the second."""
    with gate(lively_model(context=512)) as let_pass:
        stream = live.stream(
            "POST", "/generate", {"prompt": "hi", "stream": True, "temperature": 0, "max_new_tokens": 6}
        )
        let_pass(1)
        first = next(event for event in stream if event.type == "token")
        let_pass(1_000)
        rest = list(stream)

    assert first.data["text"]
    assert rest[-1].type == "done"
    assert (
        first.data["text"] + "".join(e.data["text"] for e in rest[:-1]) == rest[-1].data["choices"][0]["text"]
    )


@pytest.mark.parametrize("stream", [True, False])
def test_a_question_whose_client_goes_away_is_taken_back(
    settings: Settings, sessions: sessionmaker[Session], tmp_path: Path, stream: bool
) -> None:
    """The model's slot is free again at once, streaming or not."""
    here = settings.model_copy(update={"allowed_hosts": ("127.0.0.1",)})
    key = make_key(sessions, ["generate"])
    body = json.dumps({"prompt": "hi", "stream": stream, "max_new_tokens": 400})
    head = f"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
    question = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    with (
        serving(sessions, tmp_path) as rank,
        listening(create_app(here)) as url,
        gate(lively_model(context=512)) as let_pass,
    ):

        def num_active() -> int:
            figures = rank.get("/readyz").json()
            return int(figures["active"] + figures["waiting"])

        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
            connection.sendall(question.encode())
            let_pass(3)
            wait_until(lambda: num_active() == 1)
        let_pass(5)
        wait_until(lambda: num_active() == 0)
        assert rank.get("/readyz").status_code == 200


def test_a_model_that_is_gone_is_a_503_that_may_be_retried(
    client: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Its job still counts as running: the lease has not ended yet."""
    with serving(sessions, tmp_path):
        pass
    answer = client.post("/generate", json={"prompt": "hi"})

    assert (answer.status_code, answer.json()["code"]) == (503, "model_unreachable")
    assert answer.json()["retryable"] is True


def test_an_undeployed_model_is_not_served(served: TestClient, sessions: sessionmaker[Session]) -> None:
    """Its name is unknown as soon as its job has ended."""
    job = served.get("/jobs?kind=serve").json()["data"][0]["id"]
    assert served.post(f"/jobs/{job}/cancel").json()["state"] == "cancelling"
    with sessions.begin() as session:
        assert jobs.get(session, job).wish == "cancel"


def test_openais_client_works_unchanged(live: Client) -> None:
    """Models, completions and chats, whole and streamed, with usage."""
    client = openai.OpenAI(base_url=f"{live.address}/v1", api_key=live._http.headers["authorization"][7:])
    asked = {"model": "movies", "seed": 3, "max_tokens": 8}
    with client:
        names = [model.id for model in client.models.list()]
        whole = client.completions.create(prompt="hi", **asked)
        pieces = list(client.completions.create(prompt="hi", stream=True, **asked))
        chat = client.chat.completions.create(messages=[{"role": "user", "content": "hi"}], **asked)
        chunks = list(
            client.chat.completions.create(
                messages=[{"role": "user", "content": "hi"}],
                stream=True,
                stream_options={"include_usage": True},
                **asked,
            )
        )

    assert names == ["movies"]
    assert whole.choices[0].text == "".join(piece.choices[0].text for piece in pieces)
    assert whole.choices[0].finish_reason == pieces[-1].choices[0].finish_reason
    assert chat.choices[0].message.content == whole.choices[0].text
    assert chat.choices[0].message.content == "".join(
        chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices
    )
    assert chunks[-1].usage == chat.usage
    assert whole.usage is not None


def test_openais_client_reads_our_errors(live: Client) -> None:
    """A problem document becomes the exception its users know, with the words they need."""
    key = live._http.headers["authorization"][7:]
    with openai.OpenAI(base_url=f"{live.address}/v1", api_key=key, max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match="movies"):
            client.completions.create(model="none", prompt="hi")
        with pytest.raises(openai.UnprocessableEntityError, match="suffix"):
            client.completions.create(model="movies", prompt="hi", suffix="!")
        with pytest.raises(openai.UnprocessableEntityError, match="shorten the prompt"):
            client.completions.create(model="movies", prompt="hi " * 5_000)
    with (
        openai.OpenAI(base_url=f"{live.address}/v1", api_key="flan_a_b", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_the_token_of_a_rank_never_leaves_the_platform(served: TestClient) -> None:
    """Neither in a job, nor in its events, nor in an answer."""
    job = served.get("/jobs?kind=serve").json()["data"][0]
    everything = [job, served.get(f"/jobs/{job['id']}/events").json(), served.get("/nodes").json()]
    assert TOKEN not in json.dumps(everything)
