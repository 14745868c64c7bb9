"""One example of every operation, by operation id: what is sent, and what comes back.

They are shown in the reference and carried out by a test, against a platform on which the things they speak
of exist. What is sent stands here; what came back was recorded (`python -m tests.api.record_examples`).
"""

import json
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

ANSWERS_FILE = "example_answers.json"
JOB_ID = "job_01k9zv5c3q8r7t6w5x4y3z2a1b"
KEY_ID = "3f9a1c0b7d2e"
SHOWN_SECRET = "0123456789abcdef" * 4
_JOB = {"job_id": JOB_ID}
_REVIEWS = (
    '{"text": "A warm and funny film.", "label": "good"}\n{"text": "Two hours too long.", "label": "bad"}\n'
)
_PROMPT = "Is this review good or bad?\nTwo hours too long.\nOPTIONS:\n- bad\n- good"


class Example(NamedTuple):
    """A request: its parameters, its body (JSON, or text of `media_type`), and the status of its answer."""

    status: int = 200
    parameters: dict[str, Any] = {}
    body: Any = None
    media_type: str = "application/json"
    headers: dict[str, str] = {}


EXAMPLES: dict[str, Example] = {
    "create_template_set": Example(
        201,
        body={
            "name": "movie-mood",
            "extends": "shop_reviews",
            "templates": [
                {"input": "{review}\nIs this good or bad?\n{options_}"},
                {"input": "What does the writer think?\n{review}\n{options_}"},
                {"input": "Write a review that is {answer}.", "target": "{review}", "role": "inverted"},
            ],
        },
    ),
    "list_template_sets": Example(parameters={"limit": 20}),
    "get_template_set": Example(parameters={"name": "shop-mood@1"}),
    "list_template_set_versions": Example(parameters={"name": "shop-mood"}),
    "lint_template_set": Example(parameters={"name": "shop-mood"}, body={"split": "validation", "limit": 50}),
    "diff_template_set": Example(parameters={"name": "shop-mood", "from": 1, "to": 2}),
    "render": Example(
        body={
            "task": "shop-mood",
            "template": 0,
            "rows": [{"text": "Cold soup.", "label": "negative"}],
            "exemplars": [{"text": "Warm soup.", "label": "positive"}],
            "model": "movies",
            "input_length": 128,
            "target_length": 16,
        },
    ),
    "preview_mixture": Example(
        body={
            "mixture": {
                "collection": "synthetic",
                "tasks": ["shop-mood", "diary_moods", "cluster:entailment"],
                "hold_out": {"clusters": ["entailment"]},
            },
            "model": "movies",
            "sample": 1,
            "input_length": 384,
            "target_length": 64,
        },
    ),
    "upload_dataset": Example(
        201,
        parameters={"name": "reviews", "split": "validation", "format": "jsonl"},
        body=_REVIEWS,
        media_type="application/octet-stream",
    ),
    "list_datasets": Example(),
    "get_dataset": Example(parameters={"name": "reviews"}),
    "list_dataset_versions": Example(parameters={"name": "reviews"}),
    "list_tasks": Example(
        parameters={"collection": "synthetic", "cluster": "coreference", "metric": "accuracy"}
    ),
    "get_task": Example(parameters={"name": "shop_reviews"}),
    "list_clusters": Example(parameters={"collection": "synthetic", "limit": 2}),
    "create_job": Example(
        202,
        body={
            "kind": "tune",
            "name": "movies",
            "base": "preset:nano",
            "mixture": {
                "collection": "synthetic",
                "tasks": ["shop-mood", "diary_moods", "cluster:entailment"],
                "hold_out": {"clusters": ["entailment"]},
            },
            "steps": 400,
            "tokens_per_step": 4096,
            "input_length": 384,
            "target_length": 64,
            "optimizer": {"name": "adamw", "learning_rate": 0.001},
            "precision": "fp32",
        },
    ),
    "list_jobs": Example(parameters={"kind": "evaluate", "state": "succeeded"}),
    "get_job": Example(parameters=_JOB),
    "cancel_job": Example(parameters=_JOB),
    "pause_job": Example(parameters=_JOB),
    "resume_job": Example(parameters=_JOB),
    "retry_job": Example(parameters=_JOB),
    "list_job_events": Example(parameters={**_JOB, "after": 0, "limit": 3}),
    "list_job_metrics": Example(parameters={**_JOB, "name": "train/loss"}),
    "list_job_checkpoints": Example(parameters=_JOB),
    "list_job_attempts": Example(parameters=_JOB),
    "read_job_log": Example(parameters={**_JOB, "rank": 0, "offset": 0}),
    "get_job_results": Example(parameters=_JOB),
    "get_report": Example(parameters={"job": [JOB_ID]}),
    "list_job_children": Example(parameters=_JOB | {"limit": 2}),
    "list_published_results": Example(parameters={"task": "rte", "system": "FLAN 137B", "limit": 2}),
    "list_job_samples": Example(parameters=_JOB | {"task": "rule_pairs", "limit": 1}),
    "list_models": Example(),
    "list_deployments": Example(),
    "get_model": Example(parameters={"reference": "movies@default"}),
    "list_model_versions": Example(parameters={"name": "movies"}),
    "list_model_aliases": Example(parameters={"name": "movies"}),
    "get_model_alias": Example(parameters={"name": "movies", "alias": "default"}),
    "put_model_alias": Example(parameters={"name": "movies", "alias": "best"}, body={"version": 1}),
    "delete_model_alias": Example(
        204, parameters={"name": "movies", "alias": "default"}, headers={"If-Match": "*"}
    ),
    "generate": Example(body={"prompt": "Write a review that is good.", "max_new_tokens": 16, "seed": 7}),
    "classify": Example(body={"model": "movies", "prompt": _PROMPT}),
    "score": Example(body={"model": "movies", "prompt": "The film was", "continuations": ["long", "short"]}),
    "openai_list_models": Example(),
    "openai_create_completion": Example(
        body={"model": "movies", "prompt": "Write a review that is good.", "max_tokens": 16, "seed": 7}
    ),
    "openai_create_chat_completion": Example(
        body={
            "model": "movies",
            "messages": [{"role": "user", "content": "Write a review that is good."}],
            "max_tokens": 16,
            "seed": 7,
        }
    ),
    "create_key": Example(201, body={"name": "dashboard", "scopes": ["jobs:read", "generate"]}),
    "list_keys": Example(),
    "sign_in": Example(201, body={"key": f"flan_{KEY_ID}_{SHOWN_SECRET}"}),
    "get_session": Example(),
    "sign_out": Example(204, headers={"Origin": "http://testserver"}),
    "revoke_key": Example(parameters={"key_id": KEY_ID}),
    "get_health": Example(),
    "get_readiness": Example(),
    "get_version": Example(),
    "get_metrics": Example(),
    "list_nodes": Example(),
}


@cache
def recorded_answers() -> dict[str, Any]:
    """Operation id → the answer to its example."""
    text = resources.files("api").joinpath(ANSWERS_FILE).read_text()
    answers: dict[str, Any] = json.loads(text)
    return answers
