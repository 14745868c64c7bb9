"""The session of a browser: sign in with a key, see who is signed in, sign out."""

import secrets
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from api.auth import PUBLIC, cookie_name, digest_of, key_of, refuse_other_origins
from api.bodies import Body
from api.catalog import keys, sign_ins
from api.deps import Here
from api.openapi import takes
from api.schemas import KeyShape, SessionRequest, SessionShape

router = APIRouter(prefix="/session", tags=["Keys"])
LASTS = timedelta(days=7)
"""How long a browser stays signed in. A key that is revoked or expires ends it, within a second."""


@router.post(
    "",
    operation_id="sign_in",
    status_code=201,
    response_model=SessionShape,
    dependencies=[PUBLIC],
    openapi_extra=takes(SessionRequest),
)
def sign_in(
    here: Here, request: Request, wanted: Annotated[SessionRequest, Depends(Body(SessionRequest))]
) -> Response:
    """Sign a browser in: the answer sets a cookie that stands for the key, which is kept nowhere."""
    if "origin" in request.headers:
        refuse_other_origins(request)
    token = secrets.token_hex(32)
    with here.sessions.begin() as session:
        key = key_of(session, wanted.key.strip())
        sign_ins.add(session, token_sha256=digest_of(token), key_id=key.id, lasts=LASTS)
        shown = SessionShape(key=KeyShape.of(key))
    answer = JSONResponse(shown.model_dump(mode="json"), 201)
    answer.set_cookie(
        cookie_name(request),
        token,
        max_age=int(LASTS.total_seconds()),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


@router.get("", operation_id="get_session", response_model=SessionShape, dependencies=[PUBLIC])
def get_session(here: Here, request: Request) -> SessionShape:
    """Who is signed in; null where nobody is, or no longer."""
    token = request.cookies.get(cookie_name(request))
    if token is None:
        return SessionShape(key=None)
    with here.sessions.begin() as session:
        found = sign_ins.find(session, digest_of(token))
        key = keys.usable(session, found.key_id) if found else None
        return SessionShape(key=KeyShape.of(key) if key else None)


@router.delete("", operation_id="sign_out", status_code=204, dependencies=[PUBLIC])
def sign_out(here: Here, request: Request) -> Response:
    """Sign this browser out: its cookie is worth nothing from now on, wherever a copy of it is."""
    token = request.cookies.get(cookie_name(request))
    if token is not None:
        refuse_other_origins(request)
        with here.sessions.begin() as session:
            sign_ins.end(session, digest_of(token))
    answer = Response(status_code=204)
    answer.delete_cookie(cookie_name(request), httponly=True, samesite="strict")
    return answer
