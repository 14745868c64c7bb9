"""How long a tune job may take, by how fast others like it went."""

from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flan.spec.tune import TuneSpec
from workers.ledger.tables import Job, Metric

_ALIKE = {
    "kind", "base", "objective", "method", "precision", "zero_stage", "gradient_checkpointing", "compile", "resources",
}  # fmt: skip
"""What else a spec says hardly changes how long a token takes."""
_RECENT = 20
"""Jobs that are looked at, the newest first; not all of them have come far enough to have a pace."""
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
    alike = select(Job).where(Job.spec.contains(asked)).order_by(Job.id.desc()).limit(_RECENT)
    for job in session.scalars(alike):
        of_job = (Metric.job_id == job.id, Metric.name == "train/seconds_per_step")
        newest = select(Metric.value).where(*of_job).order_by(Metric.step.desc()).limit(_FIGURES).subquery()
        if (seconds := session.scalar(select(func.avg(newest.c.value)))) is not None:
            return Pace(job.id, seconds / job.spec["tokens_per_step"])
    return None
