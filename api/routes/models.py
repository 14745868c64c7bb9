"""Models: versions and aliases."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from sqlalchemy.orm import Session

from api.auth import needs
from api.bodies import Body
from api.deps import Here
from api.openapi import takes
from api.pages import PageHere, PreconditionFailed, cut, listing, require_match, single, tag_of
from api.schemas import AliasRequest, AliasShape, List, ModelShape
from flan.errors import NotFound
from workers.ledger import models
from workers.ledger.tables import ModelVersion

router = APIRouter(prefix="/models", tags=["Models"])
_READ = [needs("jobs:read")]
_WRITE = [needs("jobs:write")]
Alias = Annotated[str, Path(pattern=r"^[a-z][a-z0-9._-]{0,63}$")]


@router.get("", operation_id="list_models", response_model=List[ModelShape], dependencies=_READ)
def list_models(here: Here, page: PageHere) -> Response:
    """The newest version of every model, by name."""
    after = page.after.partition("@")[0] if page.after else None
    with here.sessions.begin() as session:
        found = models.page(session, after=after, limit=page.limit + 1)
        shown = _shown(session, found)
    return listing(shown, page, lambda shape: shape)


@router.get("/{reference}", operation_id="get_model", response_model=ModelShape, dependencies=_READ)
def get_model(here: Here, request: Request, reference: str) -> Response:
    """A model: `name` (the newest version), `name@3`, or `name@alias`."""
    with here.sessions.begin() as session:
        (shown,) = _shown(session, [models.find(session, reference)])
    return single(request, shown)


@router.get(
    "/{name}/versions",
    operation_id="list_model_versions",
    response_model=List[ModelShape],
    dependencies=_READ,
)
def list_model_versions(here: Here, page: PageHere, name: str) -> Response:
    """Every version of a model, newest first."""
    with here.sessions.begin() as session:
        shown = _shown(session, models.versions(session, name))
    return listing(cut(shown, page, lambda shape: shape.id), page, lambda shape: shape)


@router.get(
    "/{name}/aliases", operation_id="list_model_aliases", response_model=List[AliasShape], dependencies=_READ
)
def list_model_aliases(here: Here, page: PageHere, name: str) -> Response:
    """The movable names of a model's versions."""
    with here.sessions.begin() as session:
        models.find(session, name)
        found = [_alias(name, alias, version) for alias, version in models.aliases(session, name).items()]
    return listing(cut(found, page, lambda shape: shape.id), page, lambda shape: shape)


@router.get(
    "/{name}/aliases/{alias}", operation_id="get_model_alias", response_model=AliasShape, dependencies=_READ
)
def get_model_alias(here: Here, request: Request, name: str, alias: Alias) -> Response:
    """Where an alias points. Its ETag is what moves it."""
    with here.sessions.begin() as session:
        version = models.aliases(session, name).get(alias)
    if version is None:
        raise NotFound(f"there is no alias {name}@{alias}")
    return single(request, _alias(name, alias, version))


@router.put(
    "/{name}/aliases/{alias}",
    operation_id="put_model_alias",
    response_model=AliasShape,
    dependencies=_WRITE,
    openapi_extra=takes(AliasRequest),
)
def put_model_alias(
    here: Here,
    request: Request,
    name: str,
    alias: Alias,
    wanted: Annotated[AliasRequest, Depends(Body(AliasRequest))],
) -> Response:
    """Point an alias at a version. One that is there moves only with `If-Match`: its ETag, or `*`."""
    with here.sessions.begin() as session:
        now = models.aliases(session, name).get(alias)
        require_match(request, tag_of(_alias(name, alias, now)) if now is not None else None)
        try:
            models.put_alias(session, name, alias, wanted.version, expected=now)
        except models.AliasMoved as error:
            raise PreconditionFailed(error.message, hint="read it again") from error
    return single(request, _alias(name, alias, wanted.version))


@router.delete(
    "/{name}/aliases/{alias}", operation_id="delete_model_alias", status_code=204, dependencies=_WRITE
)
def delete_model_alias(here: Here, request: Request, name: str, alias: Alias) -> Response:
    """Forget an alias; with `If-Match`."""
    with here.sessions.begin() as session:
        now = models.aliases(session, name).get(alias)
        if now is None:
            raise NotFound(f"there is no alias {name}@{alias}")
        require_match(request, tag_of(_alias(name, alias, now)))
        models.drop_alias(session, name, alias)
    return Response(status_code=204)


def _shown(session: Session, found: Sequence[ModelVersion]) -> list[ModelShape]:
    """What is shown of `found`: with its aliases, and the deployments that serve just these weights."""
    serving: defaultdict[str | None, list[str]] = defaultdict(list)
    for deployment in models.all_served(session):
        serving[deployment.digest].append(deployment.name)
    aliases = {name: models.aliases(session, name) for name in {version.name for version in found}}
    return [
        ModelShape.of(
            version,
            aliases=[alias for alias, number in aliases[version.name].items() if number == version.version],
            served_as=sorted(set(serving[version.digest])),
        )
        for version in found
    ]


def _alias(name: str, alias: str, version: int) -> AliasShape:
    return AliasShape(id=f"{name}@{alias}", model=name, alias=alias, version=version)
