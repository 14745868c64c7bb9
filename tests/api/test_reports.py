"""GET /report: evaluations side by side, and the evaluations of a sweep put together to columns."""

import copy
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session, sessionmaker

from flan.evaluate.samples import SamplesWriter
from flan.spec import EvaluateSpec, parse
from flan.store import Store
from tests.api.test_sweeps import PRESET, worked
from tests.api.world import NODE, RESULTS, SAMPLE, claim, submit, tune
from workers.ledger import leases, nodes
from workers.ledger.leases import Ending
from workers.ledger.tables import Job


def evaluated(sessions: sessionmaker[Session], folder: Path, name: str, mean: float) -> str:
    """An evaluation that succeeded, with this figure through its only template."""
    results: dict[str, Any] = copy.deepcopy(RESULTS) | {"model": name}
    task = results["tasks"][0]
    task["mean"] = mean
    task["templates"] = [
        {"index": i, "metric_value": value, "n": 200, "metrics": {"accuracy": value}}
        for i, value in enumerate((mean - 0.1, mean + 0.1))
    ]
    spec = {
        "kind": "evaluate",
        "name": name,
        "model": name,
        "collection": "synthetic",
        "tasks": ["rule_pairs"],
    }
    with sessions.begin() as session:
        nodes.report(session, NODE, cpu_slots=4, gpus=[])
    job = submit(sessions, parse(EvaluateSpec, spec))
    lease = claim(sessions, folder)
    with sessions.begin() as session:
        leases.end(session, lease, Ending("done", results=results), retry_base_s=1)
    return job


def test_evaluations_stand_side_by_side_and_say_where_figures_are_from(
    client: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """A column each, in the order asked for; mean and spread over templates; task → job of every column."""
    base = evaluated(sessions, tmp_path, "base", 0.5)
    tuned = evaluated(sessions, tmp_path, "tuned", 0.6)
    found = client.get("/report", params={"job": [base, tuned]}).json()

    report = found["report"]
    assert [column["label"] for column in report["columns"]] == ["base", "tuned"]
    assert found["sources"] == [{"rule_pairs": base}, {"rule_pairs": tuned}]
    (line,) = report["tasks"]
    assert [round(each["over_templates"]["mean"], 6) for each in line["figures"]] == [0.5, 0.6]
    assert all(round(each["over_templates"]["spread"], 4) == 0.1414 for each in line["figures"])
    assert [each["verdict"] for each in line["figures"]] == ["proven", "proven"]
    assert [cluster["cluster"] for cluster in report["clusters"]] == ["entailment"]


def test_a_report_is_taken_away_as_a_table(
    client: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Markdown, LaTeX and CSV say the same figures."""
    job = evaluated(sessions, tmp_path, "tuned", 0.6)
    answers = {
        kind: client.get("/report", params={"job": job, "format": kind})
        for kind in ("markdown", "latex", "csv")
    }

    assert [answer.headers["content-type"].partition(";")[0] for answer in answers.values()] == [
        "text/markdown", "application/x-tex", "text/csv",
    ]  # fmt: skip
    assert "60.0 ± 14.1" in answers["markdown"].text
    assert r"\begin{tabular}" in answers["latex"].text
    assert "tuned,rule_pairs,entailment" in answers["csv"].text
    picture = client.get("/report", params={"job": job, "format": "svg"})
    assert (picture.headers["content-type"], picture.text.count("<svg ")) == ("image/svg+xml", 1)


def test_questions_are_found_by_template_and_by_how_they_were_answered(
    client: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Filters hold together, and pages go on behind the last question that fits."""
    assert isinstance(client.app, FastAPI)
    store: Store = client.app.state.platform.store
    job = evaluated(sessions, tmp_path, "asked", 0.6)
    with SamplesWriter(tmp_path / "samples") as samples:
        samples.write(SAMPLE | {"row": i, "template": i % 2, "is_right": i < 3} for i in range(6))
    digest = store.put_tree(tmp_path / "samples")
    with sessions.begin() as session:
        found = session.get_one(Job, job)
        found.results = {**(found.results or {}), "samples": digest}
    place = f"/jobs/{job}/results/samples"
    first = client.get(place, params={"template": 0, "limit": 1}).json()
    then = client.get(place, params={"template": 0, "limit": 5, "after": first["last_id"]}).json()
    wrong = client.get(place, params={"template": 1, "is_right": False}).json()

    assert ([each["row"] for each in first["data"]], first["has_more"]) == ([0], True)
    assert ([each["row"] for each in then["data"]], then["has_more"]) == ([2, 4], False)
    assert [each["row"] for each in wrong["data"]] == [3, 5]


def test_a_sweep_is_one_report_and_stands_alone(
    client: TestClient, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    """Its columns are those of its own figure; what has measured nothing, and a sweep among others, is refused."""
    with sessions.begin() as session:
        nodes.report(session, NODE, cpu_slots=4, gpus=[])
    sweep = client.post("/jobs", json=PRESET).json()["id"]
    early = client.get("/report", params={"job": sweep})
    worked(sessions, 8)
    found = client.get("/report", params={"job": sweep}).json()
    job = evaluated(sessions, tmp_path, "alone", 0.6)
    among = client.get("/report", params={"job": [job, sweep]}).json()
    waiting = client.get("/report", params={"job": submit(sessions, tune("waiting"))}).json()

    assert (early.status_code, early.json()["code"]) == (404, "no_results")
    assert [column["label"] for column in found["report"]["columns"]] == ["base", "tuned"]
    children = {each["job_id"] for each in client.get(f"/jobs/{sweep}/children").json()["data"]}
    assert {job for column in found["sources"] for job in column.values()} <= children
    assert (among["code"], among["errors"][0]["parameter"]) == ("invalid_parameter", "job")
    assert "stands alone" in among["detail"]
    assert "has measured nothing" in waiting["detail"]
