"""Shapes that only an HTTP client sees. Requests are documents (strict); answers may grow."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from api.auth import Scope
from api.catalog.tables import ApiKey, DatasetRow, TemplateSetRow
from flan.card import ModelCard
from flan.spec import Document, OptionsPolicy, Reference
from flan.tasks.task import Collection, Task
from workers.ledger.models import card_of
from workers.ledger.nodes import NodeStatus
from workers.ledger.tables import ModelVersion

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
    has_more: bool
    first_id: str | None
    last_id: str | None


class FaultShape(BaseModel):
    """One fault of a request: at a place of the body (`pointer`), in a parameter, or in a line."""

    pointer: str | None = None
    parameter: str | None = None
    line: int | None = None
    column: int | None = None
    code: str
    message: str
    hint: str | None = None


class ProblemShape(BaseModel):
    """RFC 9457 problem document: the shape of every error."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str | None
    instance: str
    request_id: str
    retryable: bool
    errors: list[FaultShape]
    values: dict[str, Any]


class TemplateSetShape(BaseModel):
    """One version of an uploaded template set, as the whole task it stands for."""

    object: Literal["template_set"] = "template_set"
    id: str
    name: str
    version: int
    sha256: str
    created_at: int
    cluster: str
    num_templates: int
    document: Task

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
    version: int
    num_rows: int
    is_clean: bool
    findings: list[FindingShape]


class RowsWanted(Document):
    """Which rows: given here, or the first `limit` of a split."""

    rows: list[Row] | None = Field(default=None, min_length=1, max_length=500)
    split: str | None = Field(default=None, max_length=64)
    """None = the first split of the task."""
    limit: int = Field(default=100, ge=1, le=500)


class RenderRequest(Document):
    """Show rows as a model would see them."""

    task: Reference
    """A task of a collection, or an uploaded template set."""
    template: int | None = Field(default=None, ge=0, le=1_000)
    """Which template; None = all."""
    rows: list[Row] | None = Field(default=None, min_length=1, max_length=100)
    split: str | None = Field(default=None, max_length=64)
    indices: tuple[Annotated[int, Field(ge=0, le=2**31)], ...] = Field(
        default=(0,), min_length=1, max_length=100
    )
    """Rows of the split, where none are given."""
    options: OptionsPolicy = "flan2021"
    """How answer choices are shown."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of layouts that are drawn: an evaluation with this seed shows the same."""


class RenderedShape(BaseModel):
    """A row through a template."""

    row: int
    template: int
    role: str
    input: str
    target: str
    choices: list[str]
    answer: str
    references: list[str]


class RenderingShape(BaseModel):
    """The answer of POST /render."""

    object: Literal["rendering"] = "rendering"
    task: str
    data: list[RenderedShape]


class ColumnShape(BaseModel):
    """What a column holds."""

    types: list[str]
    num_missing: int


class SplitShape(BaseModel):
    """A split of a dataset."""

    sha256: str
    num_rows: int
    size_bytes: int
    columns: dict[str, ColumnShape]


class DatasetShape(BaseModel):
    """One version of an uploaded dataset."""

    object: Literal["dataset"] = "dataset"
    id: str
    name: str
    version: int
    format: str
    created_at: int
    splits: dict[str, SplitShape]

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
    collection: Collection
    cluster: str
    document: Task


class ClusterShape(BaseModel):
    """Tasks of one kind: the unit of holding out."""

    object: Literal["cluster"] = "cluster"
    id: str
    collection: Collection
    display_name: str
    adjacent: list[str]
    tasks: list[str]


class KeyRequest(Document):
    """A new key."""

    name: str = Field(min_length=1, max_length=64)
    scopes: tuple[Scope, ...] = Field(min_length=1, max_length=6)
    expires_in_s: int | None = Field(default=None, ge=60, le=10 * 365 * 86_400)


class KeyShape(BaseModel):
    """A key, without its secret."""

    object: Literal["key"] = "key"
    id: str
    name: str
    scopes: list[str]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    used_at: int | None

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


class ModelShape(BaseModel):
    """One version of a model: weights under a name, with what they have seen."""

    object: Literal["model"] = "model"
    id: str
    name: str
    version: int
    created_at: int
    digest: str
    """Of the directory in the artifact store."""
    role: Literal["tuned", "base"]
    job_id: str | None
    aliases: list[str]
    served_as: list[str]
    """Names of the deployments that answer with these weights now."""
    card: ModelCard

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


class AliasRequest(Document):
    """Where an alias is to point."""

    version: int = Field(ge=1, lt=2**31)


class AliasShape(BaseModel):
    """A movable name of one version: `model@alias`."""

    object: Literal["model.alias"] = "model.alias"
    id: str
    model: str
    alias: str
    version: int


class GpuShape(BaseModel):
    """A GPU of a node."""

    uuid: str
    name: str
    memory_bytes: int
    is_free: bool


class NodeShape(BaseModel):
    """A machine that runs ranks."""

    object: Literal["node"] = "node"
    id: str
    is_here: bool
    """Whether it was heard of in the last minute."""
    seen_at: int
    cpu_slots: int
    free_cpu_slots: int
    gpus: list[GpuShape]

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
        )


class StatusShape(BaseModel):
    """How the API is."""

    status: Literal["ok"] = "ok"


class VersionShape(BaseModel):
    """What runs here."""

    version: str
    revision: str
    """Of the database's tables."""
    kinds: list[str]
    """Kinds of jobs."""


class OpenAIModel(BaseModel):
    """A deployment, as OpenAI's clients know models."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "flan"


class OpenAIModels(BaseModel):
    """What is served."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]
