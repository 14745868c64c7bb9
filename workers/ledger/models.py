"""Models by name: versions, aliases, and where they are served.

A reference is `name` (the newest version), `name@3` or `name@alias`. The weights lie in the artifact store
under `digest`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from flan.card import ModelCard
from flan.errors import Conflict, FlanError, NotFound
from flan.rundir import TOKEN
from flan.spec import parse
from workers.ledger.states import ENDED, shown
from workers.ledger.tables import Attempt, Job, ModelAlias, ModelVersion

PAGE = 200
ReplicaState = Literal["queued", "restarting", "starting", "answering", "pausing", "paused", "cancelling"]


class ModelNotFound(NotFound):
    """No model goes by this reference."""

    code: ClassVar[str] = "model_not_found"


class AliasMoved(Conflict):
    """The alias does not point where the caller believed."""

    code: ClassVar[str] = "alias_moved"


class BadAlias(FlanError):
    """The alias could be taken for a version."""

    code: ClassVar[str] = "bad_alias"
    blame = "user"


class NewModel(NamedTuple):
    """A model in the store that a job made."""

    name: str
    role: Literal["tuned", "base"]
    digest: str
    card: ModelCard


class Served(NamedTuple):
    """A served model: where it answers and which token it wants."""

    job_id: str
    name: str
    """Of the deployment: the name of the serve job."""
    digest: str | None
    """Of the weights."""
    url: str
    token_path: Path


def register(session: Session, model: NewModel, *, job_id: str | None = None) -> ModelVersion:
    """Give a model in the store a version. The same bytes under the same name are the same version."""
    # One at a time for each name: versions count without gaps.
    session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"model:{model.name}"}
    )
    known = select(ModelVersion).where(ModelVersion.name == model.name, ModelVersion.digest == model.digest)
    if (version := session.scalars(known).one_or_none()) is not None:
        return version
    newest = (
        session.scalar(select(func.max(ModelVersion.version)).where(ModelVersion.name == model.name)) or 0
    )
    version = ModelVersion(
        name=model.name,
        version=newest + 1,
        digest=model.digest,
        card=model.card.model_dump(mode="json"),
        role=model.role,
        job_id=job_id,
    )
    session.add(version)
    session.flush()
    session.refresh(version)
    return version


def find(session: Session, reference: str) -> ModelVersion:
    """The version that `name`, `name@3` or `name@alias` means now. Raises ModelNotFound."""
    name, _, which = reference.partition("@")
    wanted = select(ModelVersion).where(ModelVersion.name == name)
    if which.isdecimal():
        wanted = wanted.where(ModelVersion.version == int(which))
    elif which:
        wanted = wanted.join(
            ModelAlias,
            (ModelAlias.model_name == ModelVersion.name) & (ModelAlias.version == ModelVersion.version),
        ).where(ModelAlias.alias == which)
    version = session.scalars(wanted.order_by(ModelVersion.version.desc()).limit(1)).one_or_none()
    if version is None:
        raise ModelNotFound(f"there is no model {reference!r}")
    return version


def card_of(version: ModelVersion) -> ModelCard:
    """flan.json of a registered model."""
    return parse(ModelCard, version.card)


def page(session: Session, *, after: str | None = None, limit: int = 20) -> Sequence[ModelVersion]:
    """The newest version of every model, by name, behind the name `after`."""
    newest = select(ModelVersion).ext(distinct_on(ModelVersion.name))
    if after is not None:
        newest = newest.where(ModelVersion.name > after)
    ordered = newest.order_by(ModelVersion.name, ModelVersion.version.desc())
    return session.scalars(ordered.limit(min(limit, PAGE))).all()


def versions(session: Session, name: str) -> Sequence[ModelVersion]:
    """Every version of a model, newest first. Raises ModelNotFound."""
    wanted = select(ModelVersion).where(ModelVersion.name == name).order_by(ModelVersion.version.desc())
    found = session.scalars(wanted).all()
    if not found:
        raise ModelNotFound(f"there is no model {name!r}")
    return found


def aliases(session: Session, name: str) -> dict[str, int]:
    """Alias → version of a model."""
    wanted = select(ModelAlias.alias, ModelAlias.version).where(ModelAlias.model_name == name)
    return dict(session.execute(wanted.order_by(ModelAlias.alias)).all())


def put_alias(
    session: Session, name: str, alias: str, version: int, *, expected: int | Literal["any"] | None = "any"
) -> None:
    """Point an alias at a version. `expected` is where it must point before (None = nowhere yet).

    Raises ModelNotFound, BadAlias, AliasMoved.
    """
    if alias.isdecimal():
        raise BadAlias(f"an alias cannot be a number: {name}@{alias} is version {alias}")
    find(session, f"{name}@{version}")
    lock = {"key": f"alias:{name}@{alias}"}
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), lock)
    row = session.get(ModelAlias, (name, alias), populate_existing=True)
    now = row.version if row else None
    if expected not in ("any", now):
        raise AliasMoved(
            f"{name}@{alias} points at {now or 'nothing'}, not at {expected or 'nothing'}", version=now
        )
    if row is None:
        session.add(ModelAlias(model_name=name, alias=alias, version=version))
    else:
        row.version = version
    session.flush()


def drop_alias(session: Session, name: str, alias: str) -> None:
    """Forget an alias. Raises ModelNotFound."""
    row = session.get(ModelAlias, (name, alias))
    if row is None:
        raise ModelNotFound(f"there is no alias {name}@{alias}")
    session.delete(row)
    session.flush()


def all_served(session: Session) -> list[Served]:
    """Every model that answers now and is to go on answering, oldest deployment first."""
    answering = (
        select(Job.id, Job.name, Job.model_digest, Job.url, Attempt.run_directory)
        .join(Attempt, (Attempt.job_id == Job.id) & (Attempt.number == Job.attempt))
        .where(Job.state == "running", Job.wish == "run", Job.kind == "serve", Job.url.is_not(None))
        .order_by(Job.id)
    )
    return [
        Served(job_id, name, digest, str(url), Path(run_directory or "") / TOKEN)
        for job_id, name, digest, url, run_directory in session.execute(answering)
    ]


def serving(session: Session) -> list[Job]:
    """Every serve job that has not ended, oldest first: what answers, what is to, and what stops."""
    wanted = select(Job).where(Job.kind == "serve", Job.state.not_in(ENDED)).order_by(Job.id)
    return [*session.scalars(wanted)]


def replica_state(job: Job) -> ReplicaState:
    """How far a serve job that has not ended is: as its state is shown, told apart by whether it answers."""
    match shown(job.state, job.wish):
        case "running":
            return "answering" if job.url is not None else "starting"
        case "queued":
            return "restarting" if job.attempt > 0 else "queued"
        case "pausing":
            return "pausing"
        case "paused":
            return "paused"
        case state:
            assert state == "cancelling", f"{job.id} has ended: {state}"
            return "cancelling"


def find_served(session: Session, reference: str) -> list[Served]:
    """The replicas that a request for `reference` may go to, oldest first.

    Deployments of that name, as far as they serve the same weights as the newest of them; else those of the model that
    it means. Raises ModelNotFound, listing what is served.
    """
    served = all_served(session)
    named = [deployment for deployment in served if deployment.name == reference]
    if named:
        return [deployment for deployment in named if deployment.digest == named[-1].digest]
    try:
        digest = find(session, reference).digest
    except ModelNotFound:
        digest = None
    same = [deployment for deployment in served if digest is not None and deployment.digest == digest]
    if same:
        return same
    names = sorted({deployment.name for deployment in served})
    what = "is not served" if digest else "is unknown"
    hint = f"served are: {', '.join(names)}" if names else "deploy a model with a serve job first"
    raise ModelNotFound(f"model {reference!r} {what}", hint=hint, served=names)


def find_default_served(session: Session) -> list[Served]:
    """The replicas that answer when a request names no model: of the only one, or of the one aliased `default`.

    Empty where it cannot be told which is meant.
    """
    served = all_served(session)
    if len({(deployment.name, deployment.digest) for deployment in served}) <= 1:
        return served
    default = (
        select(ModelVersion.digest)
        .join(
            ModelAlias,
            (ModelAlias.model_name == ModelVersion.name) & (ModelAlias.version == ModelVersion.version),
        )
        .where(ModelAlias.alias == "default")
    )
    digests = set(session.scalars(default))
    marked = [deployment for deployment in served if deployment.digest in digests]
    return marked if len({deployment.digest for deployment in marked}) == 1 else []
