"""POST → answer: the main job from its first request to the last, by HTTP alone, on a platform that runs."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from flan.card import Contract
from flan.data.rows import Places, open_rows
from flan.data.tokens import fit
from flan.model.load import load_model
from flan.spec import parse
from flan.tasks.render import instance
from flan.tasks.task import load_collection
from tests.kit.platform import Platform
from tests.kit.real_trainer import TUNE
from tests.model.naive import target_logprobs

pytestmark = pytest.mark.timeout(900)
TEMPLATE_SET = {
    "name": "plain-reviews",
    "extends": "shop_reviews",
    "templates": [
        {"input": "{review}\n\nDid this shopper leave happy?\n\n{options_}"},
        {"input": "Sum up the verdict in one word: {review}\n{options_}"},
    ],
}
MODEL, STEPS = "told", 16
SPEC = TUNE | {
    "name": MODEL,
    "mixture": {
        "collection": "synthetic",
        "tasks": ["plain-reviews@1", "question_kinds", "rule_pairs", "question_twins"],
        "hold_out": {"clusters": ["entailment"]},
    },
    "steps": STEPS,
    "checkpoint_every": STEPS,
}
EVALUATE = {
    "kind": "evaluate",
    "name": "told-measured",
    "model": f"{MODEL}@1",
    "collection": "synthetic",
    "tasks": ["cluster:entailment", "question_kinds"],
    "limit": 12,
    "templates_per_task": 2,
    "input_length": 128,
    "max_new_tokens": 8,
}
SERVE = {"kind": "serve", "name": MODEL, "model": f"{MODEL}@1"}
Frame = tuple[int | None, str, dict[str, Any]]
"""Id, type, data."""


def frames(platform: Platform, job_id: str, after: int | None) -> Iterator[Frame]:
    """One connection to the event stream of a job, as a browser would open it, or come back to it."""
    headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": str(after)})
    with platform.http.stream("GET", f"/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                id_ = int(fields["id"]) if "id" in fields else None
                yield id_, fields["event"], json.loads(fields["data"])
                fields = {}


def followed(platform: Platform, job_id: str) -> list[Frame]:
    """Every frame of a job, over a connection that is cut after five, and taken up where it was."""
    seen = list(itertools.islice(frames(platform, job_id, None), 5))
    return seen + list(frames(platform, job_id, seen[-1][0]))


def answers(platform: Platform) -> bool:
    """Whether the served model does."""
    asked = {"model": MODEL, "prompt": "Is it?", "options": ["yes", "no"]}
    return platform.http.post("/classify", json=asked).status_code == 200


@pytest.fixture(scope="module")
def tuned(platform: Platform) -> list[Frame]:
    """The template set is uploaded, the job handed in once and asked for twice; the frames of its stream."""
    uploaded = platform.post("/template-sets", TEMPLATE_SET)
    assert (uploaded["name"], uploaded["version"]) == ("plain-reviews", 1)

    plan = platform.post("/jobs?dry_run=true", SPEC)
    assert set(plan["spec"]["pins"]["train"]) == {"plain-reviews", "question_kinds"}
    assert plan["spec"]["pins"]["excluded"] == {
        "rule_pairs": "held out: cluster entailment",
        "question_twins": "adjacent to held-out cluster entailment",
    }
    assert platform.get("/jobs", name=MODEL)["data"] == []

    key = {"Idempotency-Key": "told-once"}
    job_id = platform.submit(SPEC, **key)
    assert platform.submit(SPEC, **key) == job_id
    seen = followed(platform, job_id)
    assert len(platform.get("/jobs", name=MODEL)["data"]) == 1
    assert platform.get(f"/jobs/{job_id}")["spec_digest"] == plan["spec_digest"]
    return seen


def test_the_stream_tells_everything_once(tuned: list[Frame]) -> None:
    """Ids without a gap over a lost connection, a loss for each step, and an end that is said."""
    *events, end = tuned

    assert [id_ for id_, _, _ in events] == list(range(1, len(events) + 1))
    assert end == (None, "stream.end", {"state": "succeeded"})
    told = [data["data"] for _, type_, data in events if type_ == "metrics"]
    assert [each["step"] for each in told] == list(range(1, STEPS + 1))
    assert all("train/loss" in each["values"] for each in told)


@pytest.fixture(scope="module")
def results(platform: Platform, tuned: list[Frame]) -> dict[str, Any]:
    """The tuned model on a cluster it never saw, and on a task it did."""
    job_id = platform.submit(EVALUATE)
    platform.until_ended(job_id)
    return dict(platform.get(f"/jobs/{job_id}/results")["results"])


def test_an_evaluation_says_what_was_never_seen(results: dict[str, Any]) -> None:
    """The held-out cluster is proven unseen, a task that was trained on is not; each figure has its n."""
    assert results["verdicts"] == {
        "rule_pairs": "proven",
        "state_pairs": "proven",
        "question_kinds": "violated",
    }
    assert results["unclean"] == {"rule_pairs": 0, "state_pairs": 0, "question_kinds": None}
    for task in results["tasks"]:
        assert task["n"] == 12
        assert [template["n"] for template in task["templates"]] == [12, 12]
        assert 0 <= task["interval"][0] <= task["mean"] <= task["interval"][1] <= 1


@pytest.fixture(scope="module")
def served(platform: Platform, tuned: list[Frame]) -> str:
    """The job that serves the tuned model."""
    job_id = platform.submit(SERVE)
    platform.until_job(job_id, lambda _: answers(platform), "to answer")
    return job_id


PROMPT = "The kettle leaks.\n\nDid this shopper leave happy?\n\nOPTIONS:\n- negative\n- positive"


def test_a_prompt_with_options_is_classified_and_a_sampled_one_repeats(
    platform: Platform, served: str
) -> None:
    """Auto mode chooses among the options of the prompt; the same seed draws the same words."""
    chosen = platform.post("/generate", {"prompt": PROMPT})
    classified = platform.post("/classify", {"prompt": PROMPT})
    ask = {"model": MODEL, "prompt": PROMPT, "temperature": 0.9, "top_k": 40, "seed": 7, "max_new_tokens": 12}
    drawn, again = (platform.post("/generate", ask) for _ in range(2))

    assert chosen["mode"] == "classify"
    assert chosen["choices"][0]["text"] == classified["choice"]
    assert [each["option"] for each in classified["scores"]] == ["negative", "positive"]
    assert sum(each["probability"] for each in classified["scores"]) == pytest.approx(1)
    assert drawn["mode"] == "sample"
    assert drawn["choices"] == again["choices"]
    assert drawn["parameters"]["temperature"] == {"value": 0.9, "source": "request"}


def test_the_stock_openai_client_is_answered(platform: Platform, served: str) -> None:
    """Nothing but its base URL and key is set."""
    key = platform.http.headers["Authorization"].removeprefix("Bearer ")
    with openai.OpenAI(base_url=f"{platform.url}/v1", api_key=key, max_retries=0) as client:
        names = [model.id for model in client.models.list()]
        whole = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=8, seed=3)
        chat = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": PROMPT}], max_tokens=8, seed=3
        )

    assert MODEL in names
    assert whole.usage is not None
    assert whole.usage.completion_tokens <= 8
    assert chat.choices[0].message.content == whole.choices[0].text


def test_ids_are_those_of_training_wherever_a_row_is_read(
    platform: Platform, results: dict[str, Any], served: str
) -> None:
    """One render contract in card, results and answers; a served score is that of the very ids of training."""
    registered = platform.get(f"/models/{MODEL}@1")
    contract = parse(Contract, registered["card"]["contract"])
    model = load_model(platform.machine.store.verify_tree(registered["digest"]))
    task = load_collection("synthetic")["question_kinds"]
    row = open_rows(task, "train", Places(None, None))[5]
    template = task.templates[1]
    trained = fit(task, instance(task, row), template, model.tokenizer, contract, TUNE["input_length"]).tokens

    where = {"task": task.name, "split": "train", "indices": [5], "template": 1}
    (shown,) = platform.post("/render", where)["data"]
    answer = platform.post("/score", {"prompt": shown["input"], "continuations": [shown["target"]]})

    assert contract.digest() == results["contract_digest"] == answer["contract"]
    assert answer["usage"]["prompt_tokens"] == len(trained.input_ids)
    served_logprobs = answer["scores"][0]["token_logprobs"]
    assert served_logprobs == pytest.approx(target_logprobs(model, *trained).tolist(), abs=1e-4)


def test_ctrl_c_stops_everything_and_a_start_brings_it_back(platform: Platform, served: str) -> None:
    """No process stays; started again, the model answers as before, until it is undeployed.

    To rounding: before, it had read this prompt already, now it reads it whole.
    """
    asked = {"model": MODEL, "prompt": PROMPT}
    before = platform.post("/classify", asked)

    assert platform.stop() == 0
    assert platform.left() == []
    platform.start()
    platform.until_job(served, lambda _: answers(platform), "to answer again")
    after = platform.post("/classify", asked)
    assert after["choice"] == before["choice"]
    assert [each["logprob"] for each in after["scores"]] == pytest.approx(
        [each["logprob"] for each in before["scores"]], abs=1e-4
    )

    platform.post(f"/jobs/{served}/cancel")
    platform.until_job(served, lambda job: job["state"] == "cancelled", "to be undeployed")
    gone = platform.http.post("/classify", json=asked)
    assert gone.status_code == 404
    assert gone.json()["code"] == "model_not_found"
    assert [tried["ending"] for tried in platform.get(f"/jobs/{served}/attempts")["data"]] == [
        "preempted",
        "cancelled",
    ]
    assert platform.machine.processes(served) == []
