"""Shapes of jobs and what they leave behind."""

import math
from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel

from api.schemas import seconds, seconds_or_none
from flan.data.plan import Plan
from flan.data.sweep_plan import SweepPlan
from flan.evaluate.publication import Report
from flan.evaluate.samples import Numbered
from workers.ledger import states
from workers.ledger.curves import Point
from workers.ledger.nodes import NodeStatus
from workers.ledger.queue import NO_TURN, Turn
from workers.ledger.sweeps import Listed
from workers.ledger.tables import Attempt, Checkpoint, Event, Job, Metric


class FailureShape(BaseModel):
    """Why a job failed, or is tried again."""

    code: str
    """What kind of failure it is, for programs."""
    blame: Literal["user", "system", "infra"]
    """Who can mend it: user, the request must change; system, our bug; infra, the machine."""
    message: str
    """What happened."""
    hint: str | None = None
    """The way out, where one is known."""
    values: dict[str, Any] = {}
    """Figures that go with it."""
    rank: int | None = None
    """The process that failed."""
    log: list[str] = []
    """The last lines the rank wrote."""


class QueueShape(BaseModel):
    """What a queued job waits for."""

    needs: int
    """Slots it needs on one node: GPUs, or CPU slots where there are none."""
    free: int
    """The most that any node could give to it now."""
    reason: str | None = None
    """What else it waits for: the model of another job, or its turn among the jobs of its sweep."""
    ahead: int
    """Queued jobs that were handed in before it; one that needs less may still be started first."""


class MadeModelShape(BaseModel):
    """A model that a job made."""

    id: str
    """name@version"""
    role: Literal["tuned", "base"]
    """tuned, or base: the model as it was at step 0."""
    digest: str
    """Of the directory in the artifact store."""


class JobShape(BaseModel):
    """A job: what was asked, and how far it is."""

    object: Literal["job"] = "job"
    id: str
    """Begins with job_; ids sort by time."""
    name: str
    """As the spec says."""
    kind: Literal["tune", "evaluate", "serve", "sweep"]
    """What kind of job it is."""
    state: states.Shown
    """How it stands; cancelling and pausing end by themselves."""
    stage: str | None
    """What a running job is at."""
    attempt: int
    """How often it was started."""
    created_at: int
    """When it was handed in, in Unix seconds."""
    started_at: int | None
    """When it was first started, in Unix seconds."""
    heard_at: int | None
    """When whoever runs it last said that it is alive, in Unix seconds; null while nobody does."""
    finished_at: int | None
    """When it ended, in Unix seconds."""
    not_before: int
    """A queued job is not started before this: retries wait."""
    progress: dict[str, Any] | None
    """How far it is, as its rank 0 said last; what is in it depends on the kind of job."""
    checkpoint_step: int | None
    """Step of the newest checkpoint it could be resumed from."""
    models: list[MadeModelShape]
    """What it made. Bytes that were known under the name keep the version they had."""
    error: FailureShape | None
    """Why it failed, or why it is tried again."""
    queue: QueueShape | None = None
    """What it waits for, while it is queued."""
    sweep: str | None
    """The sweep that handed it in; its id."""
    needs: str | None
    """The job whose model it starts from; its id. Only of a sweep's."""
    num_events: int
    """How many events it has; the newest has this number."""
    spec_digest: str
    """sha256 of the resolved spec: same digest, same job."""
    spec: dict[str, Any]
    """What was asked, with the pins of its names."""

    @classmethod
    def of(cls, job: Job, nodes: Sequence[NodeStatus] = (), turn: Turn = NO_TURN) -> "JobShape":
        """What is shown of a stored job; of one that is queued, when its turn is."""
        return cls(
            id=job.id,
            name=job.name,
            kind=job.kind,
            state=states.shown(job.state, job.wish),
            stage=job.stage if job.state == "running" else None,
            attempt=job.attempt,
            created_at=seconds(job.created_at),
            started_at=seconds_or_none(job.started_at),
            heard_at=seconds_or_none(job.heard_at) if job.state == "running" else None,
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
            queue=_queue(job, nodes, turn) if job.state == "queued" and job.kind != "sweep" else None,
            sweep=job.sweep_id,
            needs=job.needs_id,
            num_events=job.event_seq,
            spec_digest=job.spec_digest,
            spec=job.spec,
        )


class EstimateShape(BaseModel):
    """How long a tune job would run once it has begun to train, if it goes as fast as another did."""

    seconds: float
    """Of training alone: not of reading the data, nor of writing the model."""
    job_id: str
    """The newest job that tuned the same base in the same way on as many ranks."""


class PlanShape(BaseModel):
    """What a job would do: the answer of POST /jobs?dry_run=true."""

    object: Literal["plan"] = "plan"
    spec: dict[str, Any]
    """The spec with the pins of its names."""
    spec_digest: str
    """The digest that the job would have."""
    plan: Plan | SweepPlan
    """What the job would do; of a sweep, what each of its jobs would take, and all together."""
    estimate: EstimateShape | None = None
    """How long it would train; null where no job like it has trained here, and for other kinds."""


class ChildShape(BaseModel):
    """A job of a sweep, as the sweep sees it."""

    object: Literal["job.child"] = "job.child"
    id: str
    """Its name in the sweep, with the digest of what it does."""
    job_id: str
    """The job that it is."""
    job: str
    """Which of the sweep's jobs it is."""
    kind: Literal["tune", "evaluate"]
    """What kind of job it is."""
    labels: dict[str, str]
    """Axis → setting, for the axes that shape it."""
    state: states.Shown
    """How it stands."""
    needs: str | None
    """The job whose model it starts from; its id."""
    is_reused: bool
    """Whether another had handed it in already: what it does is done once."""
    error: FailureShape | None
    """Why it failed."""

    @classmethod
    def of(cls, listed: Listed) -> "ChildShape":
        """What is shown of a child."""
        entry, job = listed
        return cls(
            id=entry.name,
            job_id=job.id,
            job=entry.job,
            kind=job.kind,
            labels=entry.labels,
            state=states.shown(job.state, job.wish),
            needs=job.needs_id,
            is_reused=not listed.is_own,
            error=FailureShape.model_validate(job.error) if job.error else None,
        )


class AttemptShape(BaseModel):
    """One try at a job."""

    object: Literal["job.attempt"] = "job.attempt"
    id: str
    """Its number, as text."""
    job_id: str
    """Of which job."""
    number: int
    """Counts from 1."""
    node: str
    """Where it ran."""
    resumed_from: int | None
    """Step of the checkpoint it went on from; null = it began anew."""
    started_at: int
    """Unix seconds."""
    ended_at: int | None
    """Unix seconds; null = it runs."""
    ending: str | None
    """How it ended."""
    error: FailureShape | None
    """Why it failed."""

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
    """Its number, as text; a stream goes on after it."""
    job_id: str
    """Of which job."""
    seq: int
    """Counts from 1 in each job, without gaps."""
    attempt: int | None
    """During which attempt; null = outside of any."""
    created_at: int
    """When it was entered, in Unix seconds."""
    type: str
    """What happened, for programs."""
    data: dict[str, Any]
    """What goes with it."""

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
    """Step and name."""
    step: int
    """After which step."""
    name: str
    """What was measured: train/loss, train/learning_rate …"""
    value: float | None
    """None = not a finite number."""

    @classmethod
    def of(cls, metric: Metric | Point) -> "MetricShape":
        """What is shown of a stored figure."""
        value = metric.value if math.isfinite(metric.value) else None
        return cls(id=f"{metric.step}/{metric.name}", step=metric.step, name=metric.name, value=value)


class CheckpointShape(BaseModel):
    """A state a job could be resumed from; it counts once it is `published`."""

    object: Literal["job.checkpoint"] = "job.checkpoint"
    id: str
    """Name of its directory."""
    job_id: str
    """Of which job."""
    step: int
    """After which step."""
    attempt: int
    """Which attempt wrote it."""
    state: Literal["written", "published", "corrupt", "deleted"]
    """written: not verified yet. published: the job can be resumed from it."""
    size_bytes: int
    """Of all its files."""
    manifest_sha256: str
    """Digest of its list of files and their digests."""
    created_at: int
    """When it was written, in Unix seconds."""

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
    """Of which job."""
    attempt: int
    """Of which attempt."""
    rank: int
    """Of which process."""
    offset: int
    """Where `text` begins, in bytes."""
    next_offset: int
    """Where it ends, in bytes."""
    size_bytes: int
    """How long the log is now."""
    text: str
    """What was written."""


class ResultsShape(BaseModel):
    """What a job found out."""

    object: Literal["job.results"] = "job.results"
    job_id: str
    """Of which job."""
    partial: bool = False
    """Of a sweep: whether an evaluation is still to come, or failed."""
    results: dict[str, Any]
    """The document that the job wrote: for an evaluation, every metric with its n and spread; for a tune job, the
    asked and the realised shares of its mixture; for a sweep, what its evaluations have found out so far."""


class ReportShape(BaseModel):
    """Evaluations side by side."""

    object: Literal["report"] = "report"
    sources: list[dict[str, str]]
    """Of each column: task → the job that measured it, whose results and samples say more."""
    report: Report
    """The report: columns, tasks and clusters."""


class SampleShape(BaseModel):
    """One question of an evaluation: what was asked, what came back, and what that is worth."""

    object: Literal["job.sample"] = "job.sample"
    id: str
    """Its number among the job's questions, from 0."""
    task: str
    """Of which task."""
    split: str
    """Whose row."""
    row: int
    """Number of the row in the split."""
    template: int
    """Place of the template in the task's set."""
    prompt: str
    """What the model read."""
    was_cut: bool
    """Whether its long field was cut to fit."""
    num_exemplars: int
    """Solved rows in it, before the question."""
    references: list[str]
    """Texts that are right."""
    options: list[str] | None = None
    """Of a rank classification: what was to be chosen from."""
    logprobs: list[float] | None = None
    """The log-probability of each option, its end included."""
    cue_logprobs: list[float] | None = None
    """The same after the bare cue, without the question."""
    num_tokens: list[int] | None = None
    """The length of each option."""
    num_bytes: list[int] | None = None
    """The same in UTF-8."""
    option_mass: float | None = None
    """Probability that the model would write any of the options."""
    is_tied: bool | None = None
    """Whether another option is as good as the one that was chosen."""
    choice: str | None = None
    """The option that was chosen, the first of equals."""
    output: str | None = None
    """What the model wrote, as it wrote it."""
    is_finished: bool | None = None
    """Whether it came to an end by itself."""
    is_right: bool
    """Whether the choice is the right one, or the text one of the references."""
    metrics: dict[str, float]
    """What it is worth in each metric that is a mean over rows."""

    @classmethod
    def of(cls, numbered: Numbered) -> Self:
        """A question in its place."""
        known = {name: value for name, value in numbered.sample.items() if name in cls.model_fields}
        return cls(id=str(numbered.number), **known)


def _queue(job: Job, nodes: Sequence[NodeStatus], turn: Turn) -> QueueShape:
    free = [
        len(node.free.gpus) if node.gpus and job.device != "cpu" else node.free.cpu
        for node in nodes
        if node.is_here
    ]
    return QueueShape(needs=job.num_ranks, free=max(free, default=0), reason=turn.reason, ahead=turn.ahead)
