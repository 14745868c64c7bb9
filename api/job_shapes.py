"""Shapes of jobs and what they leave behind."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from api.schemas import seconds, seconds_or_none
from flan.data.plan import Plan
from workers.ledger import states
from workers.ledger.nodes import NodeStatus
from workers.ledger.tables import Attempt, Checkpoint, Event, Job, Metric


class FailureShape(BaseModel):
    """Why a job failed, or is tried again."""

    code: str
    blame: Literal["user", "system", "infra"]
    message: str
    hint: str | None = None
    values: dict[str, Any] = {}
    rank: int | None = None
    log: list[str] = []
    """The last lines the rank wrote."""


class QueueShape(BaseModel):
    """What a queued job waits for."""

    needs: int
    free: int
    """The most that any node could give to it now."""


class MadeModelShape(BaseModel):
    """A model that a job made."""

    id: str
    """name@version"""
    role: Literal["tuned", "base"]
    digest: str


class JobShape(BaseModel):
    """A job: what was asked, and how far it is."""

    object: Literal["job"] = "job"
    id: str
    name: str
    kind: Literal["tune", "evaluate", "serve"]
    state: states.Shown
    stage: str | None
    attempt: int
    created_at: int
    started_at: int | None
    finished_at: int | None
    not_before: int
    """A queued job is not started before this: retries wait."""
    progress: dict[str, Any] | None
    checkpoint_step: int | None
    """Step of the newest checkpoint it could be resumed from."""
    models: list[MadeModelShape]
    """What it made. Bytes that were known under the name keep the version they had."""
    error: FailureShape | None
    queue: QueueShape | None = None
    num_events: int
    spec_digest: str
    spec: dict[str, Any]

    @classmethod
    def of(cls, job: Job, nodes: Sequence[NodeStatus] = ()) -> "JobShape":
        """What is shown of a stored job."""
        return cls(
            id=job.id,
            name=job.name,
            kind=job.kind,
            state=states.shown(job.state, job.wish),
            stage=job.stage if job.state == "running" else None,
            attempt=job.attempt,
            created_at=seconds(job.created_at),
            started_at=seconds_or_none(job.started_at),
            finished_at=seconds_or_none(job.finished_at),
            not_before=seconds(job.not_before),
            progress=job.progress,
            checkpoint_step=job.checkpoint_step,
            models=[
                MadeModelShape(
                    id=f"{made['name']}@{made['version']}", role=made["role"], digest=made["digest"]
                )
                for made in job.models
            ],
            error=FailureShape.model_validate(job.error) if job.error else None,
            queue=_queue(job, nodes) if job.state == "queued" else None,
            num_events=job.event_seq,
            spec_digest=job.spec_digest,
            spec=job.spec,
        )


class PlanShape(BaseModel):
    """What a job would do: the answer of POST /jobs?dry_run=true."""

    object: Literal["plan"] = "plan"
    spec: dict[str, Any]
    spec_digest: str
    plan: Plan


class AttemptShape(BaseModel):
    """One try at a job."""

    object: Literal["job.attempt"] = "job.attempt"
    id: str
    job_id: str
    number: int
    node: str
    resumed_from: int | None
    started_at: int
    ended_at: int | None
    ending: str | None
    error: FailureShape | None

    @classmethod
    def of(cls, attempt: Attempt) -> "AttemptShape":
        """What is shown of a stored attempt."""
        return cls(
            id=str(attempt.number),
            job_id=attempt.job_id,
            number=attempt.number,
            node=attempt.node,
            resumed_from=attempt.resumed_from,
            started_at=seconds(attempt.started_at),
            ended_at=seconds_or_none(attempt.ended_at),
            ending=attempt.ending,
            error=FailureShape.model_validate(attempt.error) if attempt.error else None,
        )


class EventShape(BaseModel):
    """One thing that happened; `seq` counts from 1 in each job, without gaps."""

    object: Literal["job.event"] = "job.event"
    id: str
    job_id: str
    seq: int
    attempt: int | None
    created_at: int
    type: str
    data: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> "EventShape":
        """What is shown of a stored event."""
        return cls(
            id=str(event.seq),
            job_id=event.job_id,
            seq=event.seq,
            attempt=event.attempt,
            created_at=seconds(event.at),
            type=event.type,
            data=event.data,
        )


class MetricShape(BaseModel):
    """One figure of one step."""

    object: Literal["job.metric"] = "job.metric"
    id: str
    step: int
    name: str
    value: float | None
    """None = not a finite number."""

    @classmethod
    def of(cls, metric: Metric) -> "MetricShape":
        """What is shown of a stored figure."""
        return cls(id=f"{metric.step}/{metric.name}", step=metric.step, name=metric.name, value=metric.value)


class CheckpointShape(BaseModel):
    """A state a job could be resumed from; it counts once it is `published`."""

    object: Literal["job.checkpoint"] = "job.checkpoint"
    id: str
    job_id: str
    step: int
    attempt: int
    state: Literal["written", "published", "corrupt", "deleted"]
    size_bytes: int
    manifest_sha256: str
    created_at: int

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "CheckpointShape":
        """What is shown of a stored checkpoint."""
        return cls(
            id=checkpoint.name,
            job_id=checkpoint.job_id,
            step=checkpoint.step,
            attempt=checkpoint.attempt,
            state=checkpoint.state,
            size_bytes=checkpoint.size_bytes,
            manifest_sha256=checkpoint.manifest_sha256,
            created_at=seconds(checkpoint.written_at),
        )


class LogShape(BaseModel):
    """A piece of what a rank wrote. Read on with `offset=next_offset`."""

    object: Literal["job.log"] = "job.log"
    job_id: str
    attempt: int
    rank: int
    offset: int
    next_offset: int
    size_bytes: int
    text: str


class ResultsShape(BaseModel):
    """What a job found out."""

    object: Literal["job.results"] = "job.results"
    job_id: str
    results: dict[str, Any]


def _queue(job: Job, nodes: Sequence[NodeStatus]) -> QueueShape:
    free = [
        len(node.free.gpus) if node.gpus and job.device != "cpu" else node.free.cpu
        for node in nodes
        if node.is_here
    ]
    return QueueShape(needs=job.num_ranks, free=max(free, default=0))
