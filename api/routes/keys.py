"""API keys."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api.auth import needs, new_key
from api.bodies import Body
from api.catalog import keys
from api.deps import Here
from api.idempotency import Answer, OnceHere
from api.openapi import takes
from api.pages import PageHere, listing
from api.schemas import CreatedKeyShape, KeyRequest, KeyShape, List

router = APIRouter(prefix="/keys", tags=["Keys"])


@router.post(
    "",
    operation_id="create_key",
    status_code=201,
    response_model=CreatedKeyShape,
    dependencies=[needs("admin")],
    openapi_extra=takes(KeyRequest),
)
def create_key(
    here: Here, once: OnceHere, wanted: Annotated[KeyRequest, Depends(Body(KeyRequest))]
) -> Response:
    """Make a key. It is shown in this answer and never again: not even when the request is repeated."""

    def make() -> Answer:
        made = new_key()
        expires_at = (
            datetime.now(UTC) + timedelta(seconds=wanted.expires_in_s) if wanted.expires_in_s else None
        )
        row = keys.add(
            session,
            key_id=made.id,
            secret_sha256=made.secret_sha256,
            name=wanted.name,
            scopes=wanted.scopes,
            expires_at=expires_at,
        )
        shown = CreatedKeyShape(**KeyShape.of(row).model_dump())
        return Answer(201, shown.model_dump(mode="json"), secret={"key": made.text})

    with here.sessions.begin() as session:
        answer = once.answer(session, make)
    return answer.response()


@router.get("", operation_id="list_keys", response_model=List[KeyShape], dependencies=[needs("admin")])
def list_keys(here: Here, page: PageHere) -> Response:
    """All keys, revoked ones too, by id."""
    with here.sessions.begin() as session:
        found = keys.page(session, page.after, page.limit)
    return listing(found, page, KeyShape.of)


@router.delete("/{key_id}", operation_id="revoke_key", response_model=KeyShape, dependencies=[needs("admin")])
def revoke_key(here: Here, key_id: str) -> KeyShape:
    """Revoke a key: it is refused from now on, by other API processes within a second. Twice is the same as once."""
    with here.sessions.begin() as session:
        return KeyShape.of(keys.revoke(session, key_id))
