"""How long a tune job may take, by how fast others like it went."""

from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flan.spec.tune import TuneSpec
from workers.ledger.tables import Job, Metric

_ALIKE = {
    "base", "objective", "method", "precision", "zero_stage", "gradient_checkpointing", "compile", "resources",
}  # fmt: skip
"""What else a spec says hardly changes how long a token takes."""
_FIGURES = 100
"""The newest of the job's figures that are averaged."""


class Pace(NamedTuple):
    """How fast a job went."""

    job_id: str
    seconds_per_token: float
    """Of `tokens_per_step`."""

    def seconds(self, spec: TuneSpec) -> float:
        """What all steps of a job like it would take."""
        return spec.steps * spec.tokens_per_step * self.seconds_per_token


def pace_of_alike(session: Session, spec: TuneSpec) -> Pace | None:
    """Of the newest job that tuned the same base in the same way on as many ranks; None where none has."""
    asked = spec.model_dump(mode="json", include=_ALIKE)
    figures = select(Metric.value).where(Metric.job_id == Job.id, Metric.name == "train/seconds_per_step")
    alike = (
        select(Job.id, Job.spec["tokens_per_step"].as_integer())
        .where(Job.kind == "tune", Job.spec.contains(asked), figures.exists())
        .order_by(Job.id.desc())
        .limit(1)
    )
    if (found := session.execute(alike).one_or_none()) is None:
        return None
    job_id, tokens_per_step = found
    newest = figures.where(Job.id == job_id).order_by(Metric.step.desc()).limit(_FIGURES).subquery()
    return Pace(job_id, session.scalars(select(func.avg(newest.c.value))).one() / tokens_per_step)
