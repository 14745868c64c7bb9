"""Questions to served models: our own face, and the one that OpenAI's clients speak."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from api import gateway
from api.auth import needs
from api.bodies import Body, Raw, read_raw
from api.deps import Here
from api.openapi import takes
from api.schemas import OpenAIModel, OpenAIModels
from flan.serve.messages import (
    ClassifyAnswer,
    ClassifyRequest,
    GenerateAnswer,
    GenerateRequest,
    ScoreAnswer,
    ScoreRequest,
)
from workers.ledger import models

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
    return await gateway.forward(here, request, "/generate", asked.model, raw.data)


@router.post(
    "/classify",
    operation_id="classify",
    response_model=ClassifyAnswer,
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
    return await gateway.forward(here, request, "/classify", asked.model, raw.data)


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


@router.get(
    "/v1/models", operation_id="openai_models", response_model=OpenAIModels, dependencies=_GENERATE
)
def list_served_models(here: Here) -> OpenAIModels:
    """The deployments that answer now, as OpenAI's clients list them."""
    with here.sessions.begin() as session:
        served = models.all_served(session)
    names = sorted({each.name for each in served})
    return OpenAIModels(data=[OpenAIModel(id=name) for name in names])
