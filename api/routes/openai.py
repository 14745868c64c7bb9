"""The face that OpenAI's clients speak: the served model speaks it, here is only the way there."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from api import gateway
from api.auth import needs
from api.bodies import Body, Raw, read_raw
from api.deps import Here
from api.openapi import takes
from api.schemas import OpenAIModel, OpenAIModels
from flan.serve.openai_messages import ChatRequest, CompletionRequest
from workers.ledger import models

router = APIRouter(prefix="/v1", tags=["OpenAI"])
_GENERATE = [needs("generate")]
RawHere = Annotated[Raw, Depends(read_raw)]


@router.get("/models", operation_id="openai_list_models", response_model=OpenAIModels, dependencies=_GENERATE)
def list_models(here: Here) -> OpenAIModels:
    """The deployments that answer now."""
    with here.sessions.begin() as session:
        served = models.all_served(session)
    return OpenAIModels(data=[OpenAIModel(id=name) for name in sorted({each.name for each in served})])


@router.post(
    "/completions",
    operation_id="openai_create_completion",
    dependencies=_GENERATE,
    openapi_extra=takes(CompletionRequest),
)
async def create_completion(
    here: Here,
    request: Request,
    raw: RawHere,
    asked: Annotated[CompletionRequest, Depends(Body(CompletionRequest))],
) -> Response:
    """Go on from a prompt, or from several; with `echo`, look at their own tokens."""
    return await gateway.forward(here, request, "/v1/completions", asked.model, raw.data)


@router.post(
    "/chat/completions",
    operation_id="openai_create_chat_completion",
    dependencies=_GENERATE,
    openapi_extra=takes(ChatRequest),
)
async def create_chat_completion(
    here: Here, request: Request, raw: RawHere, asked: Annotated[ChatRequest, Depends(Body(ChatRequest))]
) -> Response:
    """Answer a conversation: its turns become one prompt."""
    return await gateway.forward(here, request, "/v1/chat/completions", asked.model, raw.data)
