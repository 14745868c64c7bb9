"""promptsource YAML files (Bach et al. 2022) → template sets of ours in their own language."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from flan.errors import InvalidDocument
from flan.spec import Document
from flan.tasks.importers.promptsource_yaml import read_yaml
from flan.tasks.promptsource import PromptsourceTemplate, Text

MAX_TEMPLATES = 1_000


class PromptsourceSet(Document):
    """The templates of one dataset, and why the others of its file could not be imported."""

    dataset: Text
    subset: Text | None = None
    templates: tuple[PromptsourceTemplate, ...] = Field(max_length=MAX_TEMPLATES)
    refused: dict[str, str] = {}
    """Name → reason."""


def read_promptsource(text: str) -> PromptsourceSet:
    """The template set in a YAML file of promptsource; templates that cannot be imported are in `refused`.

    Raises InvalidDocument when the file as a whole cannot be read.
    """
    value = read_yaml(text)
    found = value.pop("templates")
    templates: list[PromptsourceTemplate] = []
    refused: dict[str, str] = {}
    names: set[str] = set()
    for key, fields in found.items():
        name = str(fields.get("name", key))
        label = name if name not in names else f"{name} ({key})"
        names.add(name)
        try:
            templates.append(PromptsourceTemplate.parse(_as_document(fields)))
        except InvalidDocument as error:
            refused[label] = error.problems[0]["message"]
    return PromptsourceSet.parse(
        value | {"templates": [each.model_dump(mode="json") for each in templates], "refused": refused}
    )


def _as_document(fields: Mapping[str, Any]) -> dict[str, Any]:
    metadata = fields.get("metadata") or {}
    given = {key: value for key, value in fields.items() if key not in ("metadata", "reference")}
    lists = {key: metadata.get(key) or [] for key in ("metrics", "languages")}
    return given | {**metadata, **lists}
