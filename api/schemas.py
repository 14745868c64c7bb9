"""Shapes that only an HTTP client sees. Requests are documents (strict); answers may grow."""

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from api.auth import Scope
from api.catalog.tables import ApiKey, DatasetRow, TemplateSetRow
from flan.card import ModelCard
from flan.evaluate.published import PublishedFigure, Source
from flan.spec import Document
from flan.tasks.metric_names import MetricName
from flan.tasks.task import Collection, Task
from workers.ledger.models import ReplicaState, card_of, replica_state
from workers.ledger.nodes import NodeStatus
from workers.ledger.tables import Job, ModelVersion

T = TypeVar("T")
Row = dict[str, Any]


def seconds(moment: datetime) -> int:
    """Unix seconds."""
    return int(moment.timestamp())


def seconds_or_none(moment: datetime | None) -> int | None:
    """Unix seconds of something that may not have happened."""
    return None if moment is None else seconds(moment)


class List(BaseModel, Generic[T]):
    """A page of objects; the next one begins with `after=last_id`."""

    object: Literal["list"] = "list"
    data: list[T]
    """The objects of this page."""
    has_more: bool
    """Whether there are more after them."""
    first_id: str | None
    """Of the first object of the page; null where it is empty."""
    last_id: str | None
    """Of the last one: `after` for the next page."""


class FaultShape(BaseModel):
    """One fault of a request: at a place of the body (`pointer`), in a parameter, or in a line."""

    pointer: str | None = None
    """JSON pointer to the place in the body."""
    parameter: str | None = None
    """The parameter of the address."""
    line: int | None = None
    """The line of an uploaded file, from 1."""
    column: int | None = None
    """The place in the line, from 1."""
    code: str
    """What kind of fault it is, for programs."""
    message: str
    """What is needed, and what was given instead."""
    hint: str | None = None
    """What was probably meant."""


class ProblemShape(BaseModel):
    """RFC 9457 problem document: the shape of every error."""

    type: str
    """A name for this kind of problem: urn:flan:problem:CODE."""
    title: str
    """What the status means here."""
    status: int
    """The HTTP status."""
    code: str
    """What kind of problem it is, for programs; it does not change."""
    detail: str
    """What is wrong, in words."""
    hint: str | None
    """The way out, where one is known."""
    instance: str
    """The path that was asked for."""
    request_id: str
    """Of the request: an operator finds it in the log."""
    retryable: bool
    """Whether the same request may succeed later; Retry-After says when to try."""
    errors: list[FaultShape]
    """Every fault, with its place."""
    values: dict[str, Any]
    """Figures that go with it, for programs."""


class TemplateSetShape(BaseModel):
    """One version of an uploaded template set, as the whole task it stands for."""

    object: Literal["template_set"] = "template_set"
    id: str
    """Begins with tset_."""
    name: str
    """Jobs ask for it by this name: the newest version, or `name@3`."""
    version: int
    """Counts from 1 under each name."""
    sha256: str
    """Digest of the document."""
    created_at: int
    """When it was handed in, in Unix seconds."""
    cluster: str
    """Its cluster: what it is held out with."""
    num_templates: int
    """How many templates it has."""
    document: Task
    """The whole task it stands for."""

    @classmethod
    def of(cls, row: TemplateSetRow) -> "TemplateSetShape":
        """What is shown of a stored version."""
        return cls(
            id=row.id,
            name=row.name,
            version=row.version,
            sha256=row.sha256,
            created_at=seconds(row.created_at),
            cluster=row.document["cluster"],
            num_templates=len(row.document["templates"]),
            document=Task.parse(row.document),
        )


class FindingShape(BaseModel):
    """Something odd about a template set; an error means it should not be used."""

    severity: Literal["error", "warning"]
    """An error means that it should not be used."""
    code: str
    """What kind of fault it is, for programs."""
    message: str
    """What was seen: in how many of the rows, and in the first of them."""
    template: int | None = None
    """Which template, from 0; null where it is not of one."""
    row: int | None = None
    """The first row it was seen in, from 0; null where it is not of the rows."""


class UploadedTemplateSetShape(TemplateSetShape):
    """A template set that was handed in, with what the first rows of its task show about it."""

    findings: list[FindingShape] = []
    """What is odd about it, errors first. None of it keeps a set from being stored."""


class LintShape(BaseModel):
    """What was found."""

    object: Literal["lint"] = "lint"
    name: str
    """Which template set was looked at, or which task that comes with the platform."""
    version: int | None
    """Which version of the set; null = a task that comes with the platform has none."""
    num_rows: int
    """Over how many rows it was rendered."""
    is_clean: bool
    """Whether no error was found; warnings may have been."""
    findings: list[FindingShape]
    """What was found, errors first."""


class TemplateChangeShape(BaseModel):
    """What became of one template between two versions."""

    change: Literal["added", "removed", "changed", "moved"]
    """moved: the same text under another number, which is how results and requests speak of it."""
    before: int | None
    """Its number in the older version; null = it was not there."""
    after: int | None
    """Its number in the newer version; null = it is gone."""
    diff: str
    """Its lines as a unified diff; empty where it only moved."""


class FieldChangeShape(BaseModel):
    """A place of the document that says something else."""

    pointer: str
    """JSON pointer into the document."""
    before: Any
    """What the older version says there; null also where it says nothing."""
    after: Any
    """What the newer version says there."""


class TemplateSetDiffShape(BaseModel):
    """What changed between two versions of a template set."""

    object: Literal["template_set.diff"] = "template_set.diff"
    name: str
    """Of the template set."""
    before: int
    """The version that is compared."""
    after: int
    """The version it is compared with."""
    templates: list[TemplateChangeShape]
    """What became of its templates; those that are the same are left out."""
    fields: list[FieldChangeShape]
    """What else of the document changed."""


class RowsWanted(Document):
    """Which rows: given here, or the first `limit` of a split."""

    rows: list[Row] | None = Field(default=None, min_length=1, max_length=500)
    """The rows themselves, as the dataset would have them; null = rows of a split."""
    split: str | None = Field(default=None, max_length=64)
    """None = the first split of the task."""
    limit: int = Field(default=100, ge=1, le=500)
    """At most this many rows of the split."""


class ColumnShape(BaseModel):
    """What a column holds."""

    types: list[str]
    """JSON types of its values."""
    num_missing: int
    """Rows without a value."""


class SplitShape(BaseModel):
    """A split of a dataset."""

    sha256: str
    """Digest of the file."""
    num_rows: int
    """How many rows it has."""
    size_bytes: int
    """Of the file."""
    columns: dict[str, ColumnShape]
    """Column → what it holds."""


class DatasetShape(BaseModel):
    """One version of an uploaded dataset."""

    object: Literal["dataset"] = "dataset"
    id: str
    """Begins with ds_."""
    name: str
    """Tasks name it as their source: the newest version, or `name@3`."""
    version: int
    """Counts from 1 under each name; each upload of a split is one."""
    format: str
    """Of its files."""
    created_at: int
    """When this version was handed in, in Unix seconds."""
    splits: dict[str, SplitShape]
    """Split → what it holds."""

    @classmethod
    def of(cls, row: DatasetRow) -> "DatasetShape":
        """What is shown of a stored version."""
        splits = {split: SplitShape.model_validate(entry) for split, entry in row.splits.items()}
        return cls(
            id=row.id,
            name=row.name,
            version=row.version,
            format=row.format,
            created_at=seconds(row.created_at),
            splits=splits,
        )


class TaskShape(BaseModel):
    """A task that comes with the platform."""

    object: Literal["task"] = "task"
    id: str
    """Its name."""
    collection: Collection
    """Which collection it belongs to."""
    cluster: str
    """Its cluster: what it is held out with."""
    family: str
    """The dataset it is a variant of: tasks of one family are held out together."""
    has_choices: bool
    """Whether it is answered by choosing an option."""
    metrics: list[MetricName]
    """What it is measured in; the first one is the headline."""
    rows_here: dict[str, int | None]
    """Split → how many of its rows are on this machine; null = they are here, and were not counted. A split that is not
    named here has none: nothing can be trained or measured on it."""
    document: Task
    """The task itself."""


class PublishedShape(BaseModel):
    """A figure that others published."""

    object: Literal["published_result"] = "published_result"
    id: str
    """Table and place in it."""
    source: Source
    """The publication."""
    table: str
    """Which table or figure of it."""
    setting: str
    """How the figures of that table came about."""
    figure: PublishedFigure
    """The number, and what it is of."""


class AkinShape(BaseModel):
    """A task whose rows were made from the same texts."""

    task: str
    """Its name."""
    family: str
    """The dataset it is a variant of."""
    why: str
    """What the two have in common."""


class TaskSplitShape(BaseModel):
    """A split of a task."""

    source: str | None
    """The split of the source, or the part of one, that it is made of; null = rows that are made here."""
    num_rows: int | None
    """Its rows, by the size that the source was published with; null = not known."""


class ClusterShape(BaseModel):
    """Tasks of one kind: the unit of holding out."""

    object: Literal["cluster"] = "cluster"
    id: str
    """Its name in specs."""
    collection: Collection
    """Which collection it belongs to."""
    display_name: str
    """Its name on pages."""
    adjacent: list[str]
    """Its neighbours: held out with it, by the paper's rule."""
    tasks: list[str]
    """Names of its tasks."""


class KeyRequest(Document):
    """A new key."""

    name: str = Field(min_length=1, max_length=64)
    """What you call it."""
    scopes: tuple[Scope, ...] = Field(min_length=1, max_length=6)
    """What it allows; admin allows everything."""
    expires_in_s: int | None = Field(default=None, ge=60, le=10 * 365 * 86_400)
    """After how many seconds it is refused; null = never."""


class KeyShape(BaseModel):
    """A key, without its secret."""

    object: Literal["key"] = "key"
    id: str
    """The public part of the key."""
    name: str
    """What you called it."""
    scopes: list[str]
    """What it allows."""
    created_at: int
    """When it was made, in Unix seconds."""
    expires_at: int | None
    """From when on it is refused, in Unix seconds; null = never."""
    revoked_at: int | None
    """When it was revoked, in Unix seconds; null = it was not."""
    used_at: int | None
    """When it was last used, in Unix seconds; null = never."""

    @classmethod
    def of(cls, key: ApiKey) -> "KeyShape":
        """What is shown of a stored key."""
        return cls(
            id=key.id,
            name=key.name,
            scopes=key.scopes,
            created_at=seconds(key.created_at),
            expires_at=seconds_or_none(key.expires_at),
            revoked_at=seconds_or_none(key.revoked_at),
            used_at=seconds_or_none(key.used_at),
        )


class CreatedKeyShape(KeyShape):
    """A key that was just made; `key` is shown this once."""

    key: str | None = None
    """The whole key: shown this once, null when the request is repeated."""


class SessionRequest(Document):
    """A browser that signs in."""

    key: str = Field(min_length=1, max_length=256)
    """The whole key: flan_…"""


class SessionShape(BaseModel):
    """Whether a browser is signed in."""

    object: Literal["session"] = "session"
    key: KeyShape | None
    """The key it signed in with; null = nobody is signed in."""


class ModelShape(BaseModel):
    """One version of a model: weights under a name, with what they have seen."""

    object: Literal["model"] = "model"
    id: str
    """name@version."""
    name: str
    """What it is asked for by."""
    version: int
    """Counts from 1 under each name."""
    created_at: int
    """When it was registered, in Unix seconds."""
    digest: str
    """Of the directory in the artifact store."""
    role: Literal["tuned", "base"]
    """tuned, or base: the model as it was at step 0."""
    job_id: str | None
    """The job that made it; null = it came from elsewhere."""
    aliases: list[str]
    """Movable names of this version: `name@alias`."""
    served_as: list[str]
    """Names of the deployments that answer with these weights now."""
    card: ModelCard
    """How text becomes its token ids, and what it has been trained on."""

    @classmethod
    def of(cls, version: ModelVersion, *, aliases: list[str], served_as: list[str]) -> "ModelShape":
        """What is shown of a stored version."""
        return cls(
            id=f"{version.name}@{version.version}",
            name=version.name,
            version=version.version,
            created_at=seconds(version.created_at),
            digest=version.digest,
            role=version.role,
            job_id=version.job_id,
            aliases=aliases,
            served_as=served_as,
            card=card_of(version),
        )


class LoadShape(BaseModel):
    """How busy a replica is, as it says itself; counts are since it began to answer."""

    active: int
    """Sequences that are written or scored at this moment."""
    waiting: int
    """Requests that wait for a place in the batch."""
    inside: int
    """Requests that were let in and are not answered yet."""
    refused: int
    """Requests that were refused with 429."""
    requests: int
    """Requests answered."""
    tokens: int
    """Tokens written."""
    read_tokens: int
    """Tokens of prompts that were computed."""
    copied_tokens: int
    """Tokens of prompts that were known already."""
    cache_places: int
    """Tokens whose keys and values have room."""
    cache_used: int
    """Of these, held by what is in flight."""


class ReplicaShape(BaseModel):
    """One process that serves a deployment: a serve job."""

    job_id: str
    """The job."""
    state: ReplicaState
    """answering, or how far it is from it."""
    model: str
    """What the job was asked to serve."""
    digest: str | None
    """Of the weights; null = not settled yet."""
    node: str | None
    """Where it runs."""
    load: LoadShape | None
    """How busy it is; null = it does not answer yet, or did not say in time."""

    @classmethod
    def of(cls, job: Job, load: LoadShape | None) -> "ReplicaShape":
        """What is shown of a serve job that has not ended."""
        return cls(
            job_id=job.id,
            state=replica_state(job),
            model=job.spec["model"],
            digest=(job.spec.get("pins") or {}).get("model"),
            node=job.lease_node,
            load=load,
        )


class DeploymentShape(BaseModel):
    """A name under which questions are answered, by one or several replicas."""

    object: Literal["deployment"] = "deployment"
    id: str
    """The name: `model` of a question."""
    num_answering: int
    """Replicas that answer now; questions are spread over those with the newest one's weights."""
    replicas: list[ReplicaShape]
    """All of them, oldest first."""

    @classmethod
    def of(cls, name: str, replicas: list[ReplicaShape]) -> "DeploymentShape":
        """What is shown of the replicas of one name."""
        num_answering = sum(replica.state == "answering" for replica in replicas)
        return cls(id=name, num_answering=num_answering, replicas=replicas)


class AliasRequest(Document):
    """Where an alias is to point."""

    version: int = Field(ge=1, lt=2**31)
    """The version that the alias is to name."""


class AliasShape(BaseModel):
    """A movable name of one version: `model@alias`."""

    object: Literal["model.alias"] = "model.alias"
    id: str
    """The alias."""
    model: str
    """Name of the model."""
    alias: str
    """The alias."""
    version: int
    """The version that it names now."""


class GpuShape(BaseModel):
    """A GPU of a node."""

    uuid: str
    """As the driver calls it."""
    name: str
    """What it is."""
    memory_bytes: int
    """All of its memory."""
    is_free: bool
    """Whether no job runs on it."""


class DiskShape(BaseModel):
    """A file system."""

    size_bytes: int
    """All of it."""
    free_bytes: int
    """What is free of it."""


class NodeShape(BaseModel):
    """A machine that runs ranks."""

    object: Literal["node"] = "node"
    id: str
    """Its name."""
    is_here: bool
    """Whether it was heard of in the last minute."""
    seen_at: int
    """When it was last heard of, in Unix seconds."""
    cpu_slots: int
    """Ranks it runs at a time where a job uses no GPU."""
    free_cpu_slots: int
    """How many of these no job holds."""
    gpus: list[GpuShape]
    """Its GPUs."""
    disk: DiskShape | None
    """Where it keeps runs and artifacts; null = it has not said."""

    @classmethod
    def of(cls, node: NodeStatus) -> "NodeShape":
        """What is shown of a node."""
        return cls(
            id=node.name,
            is_here=node.is_here,
            seen_at=seconds(node.seen_at),
            cpu_slots=node.cpu_slots,
            free_cpu_slots=node.free.cpu,
            gpus=[GpuShape(**gpu, is_free=gpu["uuid"] in node.free.gpus) for gpu in node.gpus],
            disk=DiskShape(**node.disk._asdict()) if node.disk else None,
        )


class StatusShape(BaseModel):
    """How the API is."""

    status: Literal["ok"] = "ok"
    """All is well; otherwise the answer is a problem."""


class VersionShape(BaseModel):
    """What runs here."""

    version: str
    """Of the platform."""
    revision: str
    """Of the database's tables."""
    kinds: list[str]
    """Kinds of jobs."""


class OpenAIModel(BaseModel):
    """A deployment, as OpenAI's clients know models."""

    id: str
    """Name of the deployment: `model` in a request."""
    object: Literal["model"] = "model"
    created: int = 0
    """Not used."""
    owned_by: str = "flan"
    """Not used."""


class OpenAIModels(BaseModel):
    """What is served."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]
    """The deployments that answer now."""
