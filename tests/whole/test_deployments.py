"""Deployments on a platform that runs, while questions come without a pause: what stops, dies or moves drops none."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import httpx
import pytest

from flan import rundir
from tests.kit.killing import kill_rank
from tests.kit.platform import Platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ASKERS = 4
QUESTION = {"prompt": "A warm film.\nIs it good?", "max_new_tokens": 256, "seed": 1}
"""Of a length that keeps a rank busy for a good part of a second."""


class Answered(NamedTuple):
    """What became of a question."""

    status: int
    body: dict[str, Any]
    retry_after: str | None


class Load:
    """Questions, one after the other from each of a few askers, until it is over."""

    def __init__(self, platform: Platform, model: str) -> None:
        self._platform, self._question = platform, QUESTION | {"model": model}
        self._is_over = threading.Event()
        self.answered: list[list[Answered]] = [[] for _ in range(ASKERS)]

    def ask_on(self, asker: int) -> None:
        """A connection that breaks ends the test."""
        headers = {"Authorization": self._platform.http.headers["Authorization"]}
        with httpx.Client(base_url=self._platform.url, headers=headers, timeout=240) as client:
            while not self._is_over.is_set():
                answer = client.post("/generate", json=self._question)
                found = Answered(answer.status_code, answer.json(), answer.headers.get("retry-after"))
                self.answered[asker].append(found)

    def end(self) -> None:
        """No more questions."""
        self._is_over.set()

    def until(self, more: int, status: int = 200) -> None:
        """Returns when so many more were answered so."""
        wanted = self._count(status) + more
        self._platform.until(lambda: self._count(status) >= wanted, f"{more} answers of {status}")

    def _count(self, status: int) -> int:
        return sum(each.status == status for asker in self.answered for each in asker)

    @property
    def others(self) -> list[Answered]:
        """All that was not answered."""
        return [each for asker in self.answered for each in asker if each.status != 200]


@contextmanager
def under_load(platform: Platform, model: str) -> Iterator[Load]:
    """Within, the model is asked; at the end every asker has had its last answer."""
    load = Load(platform, model)
    with ThreadPoolExecutor(ASKERS) as pool:
        asking: list[Future[None]] = [pool.submit(load.ask_on, asker) for asker in range(ASKERS)]
        try:
            load.until(2 * ASKERS)
            yield load
        finally:
            load.end()
        for each in asking:
            each.result()


@pytest.fixture(scope="module")
def tuned(platform: Platform) -> str:
    """A model of two versions."""
    spec = {"kind": "tune", "name": "moving", "base": "preset:nano", "mixture": {"collection": "synthetic"}}
    for seed in (1, 2):
        platform.until_ended(platform.submit(spec | {"steps": 1, "seed": seed}))
    return "moving"


def _deploy(platform: Platform, name: str, model: str) -> str:
    spec = {"kind": "serve", "name": name, "model": model, "cache_bytes": 2**24}
    job_id = platform.submit(spec)
    platform.until(lambda: _state(platform, name, job_id) == "answering", f"{name} to answer")
    return job_id


def _state(platform: Platform, name: str, job_id: str) -> str | None:
    """How a replica is shown; None where it is not, any more."""
    for deployment in platform.get("/deployments", limit=100)["data"]:
        for replica in deployment["replicas"]:
            if deployment["id"] == name and replica["job_id"] == job_id:
                return str(replica["state"])
    return None


def _text(platform: Platform, model: str) -> str:
    """What it says to the question, the same whenever it is asked."""
    return str(platform.post("/generate", QUESTION | {"model": model})["choices"][0]["text"])


def _undeploy(platform: Platform, job_id: str) -> None:
    platform.post(f"/jobs/{job_id}/cancel")


def _undeploy_while_it_answers(platform: Platform, job_id: str) -> None:
    """The rank stands still until it is wished to stop: what it has been asked is unanswered then."""
    rank = platform.machine.rank(job_id, 0)
    rank.suspend()
    try:
        _undeploy(platform, job_id)
        directory = platform.home / "runs" / job_id / "attempt-1"
        platform.until(lambda: rundir.read_wish(directory) == "cancel", "the wish to reach the rank")
    finally:
        rank.resume()


def _is_gone(platform: Platform, job_id: str) -> bool:
    job = platform.job(job_id)
    return job is not None and job["state"] == "cancelled"


def test_a_replica_stops_or_dies_and_nobody_notices(platform: Platform, tuned: str) -> None:
    """kill −9, and undeploying: questions go to the other one, and the killed one comes back.

    Only what had begun to leave a killed one can be lost, and is told to be worth asking again.
    """
    one, other = (_deploy(platform, "pair", f"{tuned}@1") for _ in range(2))
    with under_load(platform, "pair") as load:
        kill_rank(platform.machine, one)
        load.until(4 * ASKERS)
        platform.until_job(one, lambda job: job["attempt"] == 2, "to be started again")
        platform.until(lambda: _state(platform, "pair", one) == "answering", "it to answer again")
        load.until(2 * ASKERS)
        _undeploy(platform, other)
        platform.until(lambda: _is_gone(platform, other), "the other to be gone")
        load.until(2 * ASKERS)
    _undeploy(platform, one)

    assert len(load.others) <= ASKERS
    assert all((each.status, each.body["code"]) == (503, "model_unreachable") for each in load.others)
    assert all(each.body["retryable"] and each.retry_after for each in load.others)


def test_the_last_replica_answers_what_it_has_and_refuses_the_rest_with_a_reason(
    platform: Platform, tuned: str
) -> None:
    """Whoever is refused once is refused for good; what was let in is answered whole."""
    only = _deploy(platform, "only", f"{tuned}@1")
    with under_load(platform, "only") as load:
        _undeploy_while_it_answers(platform, only)
        load.until(4 * ASKERS, status=404)
        platform.until(lambda: _is_gone(platform, only), "it to be gone")
        load.until(2 * ASKERS, status=404)

    assert {(each.status, each.body["code"]) for each in load.others} == {(404, "model_not_found")}
    assert all("'only' is unknown" in each.body["detail"] for each in load.others)
    for asker in load.answered:
        assert all(before.status == 200 or after.status != 200 for before, after in pairwise(asker))
        assert all(each.body["choices"][0]["finish_reason"] for each in asker if each.status == 200)


def test_an_alias_moves_between_deployments(platform: Platform, tuned: str) -> None:
    """To and fro, until the version that it leaves behind is undeployed: from a move on, the new one answers."""
    old = _deploy(platform, "old", f"{tuned}@1")
    new = _deploy(platform, "new", f"{tuned}@2")
    texts = {1: _text(platform, "old"), 2: _text(platform, "new")}
    alias = f"/models/{tuned}/aliases/live"
    moves, said = (2, 1, 2, 1, 2), []

    def point_at(version: int) -> None:
        moved = platform.http.put(alias, json={"version": version}, headers={"If-Match": "*"})
        assert moved.is_success, moved.text

    platform.http.put(alias, json={"version": 1}).raise_for_status()
    with under_load(platform, f"{tuned}@live") as load:
        for version in moves:
            point_at(version)
            said.append(_text(platform, f"{tuned}@live"))
            load.until(ASKERS)
        _undeploy(platform, old)
        platform.until(lambda: _is_gone(platform, old), "the old one to be gone")
        load.until(ASKERS)
    _undeploy(platform, new)

    assert load.others == []
    assert texts[1] != texts[2]
    assert said == [texts[version] for version in moves]
