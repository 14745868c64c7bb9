"""What each field of a document is, in words: the text that stands below it in its class.

pydantic can read these texts when a class is made (use_attribute_docstrings), which adds a tenth of a second
to every start, that of a command and of a rank too. Here they are read when the OpenAPI document is asked for.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel

_OURS = ("api.", "flan.", "workers.")
_EVERYWHERE = {"object": "What kind of thing this is."}
IN_PATHS = {
    "alias": "A movable name of one version.",
    "job_id": "Id of the job.",
    "key_id": "Public part of the key.",
    "name": "What it is called; where one version is asked for, `name@3` or its id will do too.",
    "reference": "`name` (the newest version), `name@3` or `name@alias`.",
}
"""Parameter of a path → what it is, the same wherever it stands."""


def describe(schemas: dict[str, Any]) -> None:
    """Add to each property of `schemas` (the components of an OpenAPI document) what it is."""
    for model in _models(BaseModel):
        schema = schemas.get(_schema_name(model), {})
        known = _EVERYWHERE | descriptions(model)
        for name, part in schema.get("properties", {}).items():
            if name in known:
                part.setdefault("description", known[name])


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Field → what it is, for the fields that say so; what a class says goes before what its bases say."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if each.__module__.startswith(_OURS):
            found |= _of_module(each.__module__).get(each.__name__.partition("[")[0], {})
    return found


def _models(above: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in above.__subclasses__():
        if model.__module__.startswith(_OURS):
            yield model
        yield from _models(model)


def _schema_name(model: type[BaseModel]) -> str:
    """As pydantic calls it: List[JobShape] is List_JobShape_."""
    return model.__name__.replace("[", "_").replace("]", "_")


@cache
def _of_module(name: str) -> dict[str, dict[str, str]]:
    """Class → field → the text below it, for the classes of a module."""
    tree = ast.parse(inspect.getsource(sys.modules[name]))
    return {node.name: dict(_of_class(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _of_class(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in zip(node.body, node.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield field.target.id, inspect.cleandoc(str(text.value.value))
