"""Questions to served models: sampled, chosen among options, scored."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from api import asked_rows, gateway
from api.auth import needs
from api.bodies import Body, Raw, read_raw
from api.deps import Here
from api.openapi import takes
from flan.serve.messages import ClassifyRequest, GenerateRequest, ScoreRequest
from flan.serve.replies import ClassifyAnswer, ClassifyManyAnswer, GenerateAnswer, ScoreAnswer

router = APIRouter(tags=["Answers"])
_GENERATE = [needs("generate")]
RawHere = Annotated[Raw, Depends(read_raw)]


@router.post(
    "/generate",
    operation_id="generate",
    response_model=GenerateAnswer,
    dependencies=_GENERATE,
    openapi_extra=takes(GenerateRequest),
)
async def generate(
    here: Here,
    request: Request,
    raw: RawHere,
    asked: Annotated[GenerateRequest, Depends(Body(GenerateRequest))],
) -> Response:
    """Answer a prompt: sampled, or chosen among options. `mode` in the answer says which, and why."""
    body = await asked_rows.with_rows(here, asked, raw.data)
    return await gateway.forward(here, request, "/generate", asked.model, body)


@router.post(
    "/classify",
    operation_id="classify",
    response_model=ClassifyAnswer | ClassifyManyAnswer,
    dependencies=_GENERATE,
    openapi_extra=takes(ClassifyRequest),
)
async def classify(
    here: Here,
    request: Request,
    raw: RawHere,
    asked: Annotated[ClassifyRequest, Depends(Body(ClassifyRequest))],
) -> Response:
    """How probable each option is as the whole answer: given, or read from the prompt's OPTIONS block."""
    body = await asked_rows.with_rows(here, asked, raw.data)
    return await gateway.forward(here, request, "/classify", asked.model, body)


@router.post(
    "/score",
    operation_id="score",
    response_model=ScoreAnswer,
    dependencies=_GENERATE,
    openapi_extra=takes(ScoreRequest),
)
async def score(
    here: Here,
    request: Request,
    raw: RawHere,
    asked: Annotated[ScoreRequest, Depends(Body(ScoreRequest))],
) -> Response:
    """Log-probabilities of continuations of a prompt, token by token."""
    return await gateway.forward(here, request, "/score", asked.model, raw.data)
