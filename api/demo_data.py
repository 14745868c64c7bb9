"""`flan demo-data`: a platform that has seen some use, made through its public API alone.

Datasets, template sets in versions, and a job of every kind in every state, on tiny models: minutes on two cores. One
job is left running, one serving and one waiting, so that there is something to watch, to ask and to cancel.
"""

import json
from typing import Any, ClassVar

from api.client import Client
from api.commands.output import console
from flan.errors import FlanError

Spec = dict[str, Any]

_DINNERS = (
    ("Lovely place, warm soup.", "good"),
    ("Cold food and a rude waiter.", "bad"),
    ("We waited an hour for a dry roll.", "bad"),
    ("The fish was fresh and the bill was fair.", "good"),
    ("I would walk across the town for that cake.", "good"),
    ("The plates were dirty, and so were the floors.", "bad"),
)
_DINNER_SET = {
    "name": "dinners",
    "cluster": "sentiment",
    "description": "What guests wrote after dinner, and whether they liked it.",
    "source": {"kind": "dataset", "name": "dinners"},
    "fields": {"text": "text"},
    "answer": {"column": "label", "choices": ["bad", "good"]},
    "metrics": ["accuracy"],
}
_DINNER_TEMPLATES = (
    {"input": "{text}\n\nHow was the dinner?\n\n{options_}"},
    {"input": "A guest wrote: {text}\nWould this guest come back?\n{options_}"},
    {"input": "{options_}\n\nWhich word fits this note from a guest?\n\n{text}"},
)
_REVIEW_SET = {
    "name": "plain-reviews",
    "extends": "shop_reviews",
    "description": "More ways to ask how a customer felt.",
}
_REVIEW_TEMPLATES = (
    {"input": "{review}\n\nDid this shopper leave happy?\n\n{options_}"},
    {"input": "Sum up the verdict in one word: {review}\n{options_}"},
)
_TUNE: Spec = {
    "kind": "tune",
    "base": "preset:nano",
    "tokens_per_step": 1_280,
    "input_length": 192,
    "target_length": 32,
    "precision": "fp32",
    "optimizer": {"name": "adamw", "learning_rate": 4e-3, "schedule": "linear", "warmup_steps": 10},
    "log_every": 1,
    "resources": {"device": "cpu"},
}
_SEEN = ["shop_reviews", "question_kinds", "word_senses", "headline_topics", "rule_pairs"]
_MIXTURE = {"collection": "synthetic", "tasks": _SEEN, "hold_out": {"clusters": ["entailment"]}}
_PARTS = {
    "parts": [
        {"weight": 3, "collection": "synthetic", "tasks": ["cluster:sentiment", "plain-reviews"]},
        {"weight": 1, "collection": "synthetic", "tasks": ["cluster:math", "dinners"]},
    ],
    "hold_out": {"clusters": ["entailment"]},
}
_EVALUATE: Spec = {
    "kind": "evaluate",
    "collection": "synthetic",
    "tasks": ["cluster:entailment", "shop_reviews", "question_kinds"],
    "limit": 24,
    "templates_per_task": 4,
    "input_length": 192,
    "max_new_tokens": 8,
}


class NotAsMeant(FlanError):
    """A job of the demonstration ended in another state than it was made for."""

    code: ClassVar[str] = "demo_data_failed"
    blame = "system"


def demo_data(client: Client, *, steps: int) -> None:
    """Fill the platform: what is tuned takes `steps` steps. Raises NotAsMeant, and whatever the server refuses."""
    _upload(client)
    tuned = _tune(client, steps)
    _evaluate(client, tuned)
    _name_and_serve(client, tuned)
    _sweep(client, steps)
    _stop_halfway(client)
    console.print(
        f"\nLook at it: {client.address}/   (the jobs overnight and too-wide stay until they are cancelled)"
    )


def _upload(client: Client) -> None:
    """Rows, and templates over them: a set of its own and one that extends another, each twice."""
    console.print("datasets and template sets")
    rows = {"train": _DINNERS * 4, "validation": _DINNERS}
    for split, found in rows.items():
        lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in found)
        _push(client, "dinners", split, lines)
    stories = "".join(
        json.dumps({"story": f"Once there was a dog called {name}. It ran to the river and back again."})
        + "\n"
        for name in ("Bo", "Ada", "Rex", "Lia", "Max", "Nia")
        for _ in range(40)
    )
    _push(client, "stories", "train", stories)
    for count in (2, 3):
        client.send(
            "POST", "/template-sets", json_body=_DINNER_SET | {"templates": _DINNER_TEMPLATES[:count]}
        )
    more = {"input": "{review}\nThumbs up or thumbs down?\n{options_}"}
    for templates in (_REVIEW_TEMPLATES, (*_REVIEW_TEMPLATES, more)):
        client.send("POST", "/template-sets", json_body=_REVIEW_SET | {"templates": templates})


def _push(client: Client, name: str, split: str, lines: str) -> None:
    params = {"name": name, "split": split, "format": "jsonl"}
    client.send("POST", "/datasets", params=params, content=lines)


def _tune(client: Client, steps: int) -> str:
    """Instructions, twice the same name; a mixture in parts; plain text; an adapter; one that fails. The best model."""
    last = {"steps": steps, "checkpoint_every": max(1, steps // 3)}
    few = {"steps": max(1, steps // 4), "checkpoint_every": steps}
    _ended(client, _TUNE | few | {"name": "helper", "mixture": _MIXTURE})
    job = _ended(
        client, _TUNE | last | {"name": "helper", "mixture": _MIXTURE, "metadata": {"for": "the demo"}}
    )
    tuned = next(str(made["id"]) for made in job["models"] if made["role"] == "tuned")
    _ended(client, _TUNE | few | {"name": "in-parts", "mixture": _PARTS})
    corpus = {"texts": [{"uploaded": "stories", "column": "story"}]}
    _ended(client, _TUNE | few | {"name": "storyteller", "objective": "lm", "corpus": corpus})
    lora = {"kind": "lora", "rank": 4}
    _ended(client, _TUNE | few | {"name": "adapted", "base": tuned, "method": lora, "mixture": _MIXTURE})
    hot = {"steps": 30, "optimizer": {"name": "adamw", "learning_rate": 10.0}}
    _ended(client, _TUNE | hot | {"name": "too-hot", "mixture": _MIXTURE}, "job.failed")
    return tuned


def _evaluate(client: Client, tuned: str) -> None:
    """The tuned model and the same network before its first step, on the same rows."""
    for model, name in ((tuned, "helper-measured"), ("helper-base", "base-measured")):
        _ended(client, _EVALUATE | {"name": name, "model": model})
    _ended(client, _EVALUATE | {"name": "helper-few-shot", "model": tuned, "few_shot": {"shots": 2}})


def _name_and_serve(client: Client, tuned: str) -> None:
    """Two aliases, a deployment, and a question to it."""
    name, _, version = tuned.partition("@")
    there = {each["alias"] for each in client.get(f"/models/{name}/aliases")["data"]}
    for alias in ("champion", "default"):
        headers = {"If-Match": "*"} if alias in there else {}
        client.send(
            "PUT", f"/models/{name}/aliases/{alias}", json_body={"version": int(version)}, headers=headers
        )
    job = _hand_in(client, {"kind": "serve", "name": name, "model": f"{name}@champion"})
    _until(client, job, "serve.ready")
    client.send("POST", "/classify", json_body={"model": name, "prompt": "Is it?", "options": ["yes", "no"]})


def _sweep(client: Client, steps: int) -> None:
    """Two learning rates, each tuned and measured."""
    tune = _TUNE | {"steps": max(1, steps // 6), "checkpoint_every": steps, "mixture": _MIXTURE}
    evaluate = _EVALUATE | {"model": "job:tuned", "tasks": ["cluster:entailment"], "limit": 12}
    rates = [{"label": f"{rate:g}", "set": {"/tuned/optimizer/learning_rate": rate}} for rate in (5e-4, 2e-3)]
    sweep = {
        "jobs": {"tuned": tune, "measured": evaluate},
        "axes": [{"name": "learning-rate", "settings": rates}],
    }
    _ended(client, {"kind": "sweep", "name": "rates", **sweep})


def _stop_halfway(client: Client) -> None:
    """One cancelled, one at rest, one that goes on, one that waits for more slots than any node has."""
    endless = _TUNE | {"steps": 100_000, "checkpoint_every": 50, "mixture": _MIXTURE}
    for name, verb, told in (("given-up", "cancel", "job.cancelled"), ("at-rest", "pause", "job.paused")):
        job = _hand_in(client, endless | {"name": name})
        _until(client, job, "metrics")
        client.send("POST", f"/jobs/{job['id']}/{verb}")
        _until(client, job, told)
    _hand_in(client, endless | {"name": "overnight"})
    _hand_in(client, endless | {"name": "too-wide", "resources": {"device": "cpu", "ranks": 64}})


def _hand_in(client: Client, spec: Spec) -> dict[str, Any]:
    job: dict[str, Any] = client.send("POST", "/jobs", json_body=spec)
    console.print(f"  {job['id']}  {spec['kind']} {spec['name']}", highlight=False)
    return job


def _ended(client: Client, spec: Spec, told: str = "job.succeeded") -> dict[str, Any]:
    """The job of `spec`, once it has ended as it should."""
    job = _hand_in(client, spec)
    _until(client, job, told)
    ended: dict[str, Any] = client.get(f"/jobs/{job['id']}")
    return ended


def _until(client: Client, job: dict[str, Any], told: str) -> None:
    """Returns at the first event of type `told`. Raises NotAsMeant where the job ends before."""
    for event in client.follow(job["id"]):
        if event.type == told:
            return
        if event.type == "stream.end":
            said = f"job {job['id']} ({job['name']}) {event.data['state']} before {told}"
            raise NotAsMeant(said, hint=f"flan jobs show {job['id']}")
