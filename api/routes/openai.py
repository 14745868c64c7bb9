"""The face that OpenAI's clients speak."""

import json
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from api import gateway, openai_face, problems
from api.auth import needs
from api.bodies import Body
from api.deps import Here, Platform
from api.openai_face import ChatRequest, CompletionRequest
from api.openapi import takes
from api.schemas import OpenAIModel, OpenAIModels
from flan.serve.messages import GenerateAnswer
from workers.ledger import models

router = APIRouter(prefix="/v1", tags=["OpenAI"])
_GENERATE = [needs("generate")]


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
    here: Here, request: Request, asked: Annotated[CompletionRequest, Depends(Body(CompletionRequest))]
) -> Response:
    """Go on from a prompt."""
    return await _answer(here, request, asked)


@router.post(
    "/chat/completions",
    operation_id="openai_create_chat_completion",
    dependencies=_GENERATE,
    openapi_extra=takes(ChatRequest),
)
async def create_chat_completion(
    here: Here, request: Request, asked: Annotated[ChatRequest, Depends(Body(ChatRequest))]
) -> Response:
    """Answer a conversation: its turns become one prompt."""
    return await _answer(here, request, asked)


async def _answer(here: Platform, request: Request, asked: openai_face.Request) -> Response:
    body = openai_face.to_generate(asked).model_dump_json(exclude_none=True).encode()
    answer = await gateway.ask(here, request, "/generate", asked.model, body)
    if answer is None:
        return gateway.NOBODY_WAITS
    if answer.status_code != 200:
        problem = problems.with_message(json.loads(await gateway.read_whole(answer)))
        return JSONResponse(problem, answer.status_code, media_type=problems.MEDIA_TYPE)
    if asked.stream:
        frames = openai_face.from_stream(asked, answer.aiter_lines(), _id(request), int(time.time()))
        return StreamingResponse(gateway.closing(answer, frames), media_type="text/event-stream")
    whole = GenerateAnswer.parse(json.loads(await gateway.read_whole(answer)))
    return JSONResponse(openai_face.from_generate(asked, whole))


def _id(request: Request) -> str:
    return str(request.scope["flan.request_id"])
