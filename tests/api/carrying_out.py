"""Carrying out the examples of the reference."""

import json
import re
from typing import Any

from fastapi.testclient import TestClient
from httpx import Response

from api.examples import EXAMPLES, JOB_ID, KEY_ID, SHOWN_SECRET
from tests.api.world import World

# Which job an example speaks of: the reference shows one id, the world has a job for each.
JOB_OF = {
    "get_job": "tuned",
    "cancel_job": "running",
    "pause_job": "queued",
    "resume_job": "paused",
    "retry_job": "failed",
    "list_job_events": "tuned",
    "list_job_metrics": "tuned",
    "list_job_checkpoints": "tuned",
    "list_job_attempts": "failed",
    "read_job_log": "tuned",
    "get_job_results": "evaluated",
    "list_job_samples": "evaluated",
    "list_job_children": "sweep",
    "get_report": "evaluated",
}


def operations(document: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Operation id → method, path and declaration, of an OpenAPI document."""
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def carry_out(
    client: TestClient, world: World, method: str, path: str, operation: dict[str, Any]
) -> Response:
    """Send an operation's documented example."""
    example = EXAMPLES[operation["operationId"]]
    query = {}
    for parameter in operation.get("parameters", []):
        if "example" not in parameter:
            continue
        value = parameter["example"]
        if value in (JOB_ID, [JOB_ID]):
            value = getattr(world, JOB_OF[operation["operationId"]])
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(value))
        elif parameter["in"] == "query":
            query[parameter["name"]] = value
    assert "{" not in path, f"{operation['operationId']}: {path} has a parameter without an example"
    headers, content = dict(example.headers), None
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        if "example" in body:
            shown = body["example"]
            content = shown if isinstance(shown, str) else json.dumps(shown)
            headers["Content-Type"] = media_type
    return client.request(method, path, params=query, content=content, headers=headers)


def with_shown_ids(value: Any) -> Any:
    """`value` with job ids and keys as the reference shows them."""
    text = re.sub(r"job_[0-9a-z]{26}", JOB_ID, json.dumps(value))
    return json.loads(re.sub(r"flan_[0-9a-f]{12}_[0-9a-f]{64}", f"flan_{KEY_ID}_{SHOWN_SECRET}", text))
