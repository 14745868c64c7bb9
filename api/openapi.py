"""The OpenAPI document: what the routes declare, the bodies they parse, and an example of each operation."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.descriptions import IN_PATHS, describe
from api.examples import EXAMPLES, recorded_answers
from api.problems import MEDIA_TYPE
from api.schemas import ProblemShape
from flan.spec import EvaluateSpec, ServeSpec, TuneSpec
from flan.sweep_spec import SweepSpec

_REF = "#/components/schemas/{model}"
_BODIES: dict[str, type[BaseModel]] = {}


def takes(*documents: type[BaseModel], also_yaml: bool = False, binary: bool = False) -> dict[str, Any]:
    """For a route's `openapi_extra`: the body is one of `documents`, or bytes."""
    _BODIES.update({document.__name__: document for document in documents})
    if binary:
        schema: dict[str, Any] = {"type": "string", "format": "binary"}
        media = [
            "application/octet-stream",
            "application/jsonl",
            "text/csv",
            "application/vnd.apache.parquet",
        ]
    else:
        refs = [{"$ref": _REF.format(model=document.__name__)} for document in documents]
        schema = refs[0] if len(refs) == 1 else {"oneOf": refs}
        media = ["application/json"] + (["application/yaml"] if also_yaml else [])
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema} for kind in media}}}


JOB_BODY = takes(TuneSpec, EvaluateSpec, ServeSpec, SweepSpec)
JOB_BODY["requestBody"]["content"]["application/json"]["schema"]["discriminator"] = {
    "propertyName": "kind",
    "mapping": {
        "tune": _REF.format(model="TuneSpec"),
        "evaluate": _REF.format(model="EvaluateSpec"),
        "serve": _REF.format(model="ServeSpec"),
        "sweep": _REF.format(model="SweepSpec"),
    },
}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of `app`, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
            separate_input_output_schemas=False,
        )
        _add_schemas(schema["components"]["schemas"])
        describe(schema["components"]["schemas"])
        for operations in schema["paths"].values():
            for operation in operations.values():
                _complete(operation)
        app.openapi_schema = schema
    return app.openapi_schema


def _add_schemas(schemas: dict[str, Any]) -> None:
    documents: list[type[BaseModel]] = [*_BODIES.values(), ProblemShape]
    _, made = models_json_schema([(each, "validation") for each in documents], ref_template=_REF)
    for name, schema in made["$defs"].items():
        schemas.setdefault(name, schema)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)


def _complete(operation: dict[str, Any]) -> None:
    """Add the operation's example, and the one shape that every error has."""
    responses = operation["responses"]
    responses.pop("422", None)
    problem = {"schema": {"$ref": _REF.format(model="ProblemShape")}}
    responses["default"] = {"description": "An error", "content": {MEDIA_TYPE: problem}}
    example = EXAMPLES[operation["operationId"]]
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            parameter.setdefault("description", IN_PATHS[parameter["name"]])
        value = example.parameters.get(parameter["name"])
        if value is not None:
            parameter["example"] = value
    if example.body is not None:
        operation["requestBody"]["content"][example.media_type]["example"] = example.body
    answer = recorded_answers().get(operation["operationId"])
    if answer is not None:
        operation["responses"][str(example.status)]["content"]["application/json"]["example"] = answer
