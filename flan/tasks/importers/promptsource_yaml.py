"""A promptsource YAML file → plain mappings. Its two tags are read as mappings; no object is ever made.

dataset: ag_news
templates:
  24e44a81-...: !Template
    metadata: !TemplateMetadata
"""

from collections.abc import Hashable
from typing import Any

import yaml

from flan.errors import InvalidDocument

MAX_FILE_CHARS = 1_000_000
MAX_DEPTH = 12
_TAGS = ("!Template", "!TemplateMetadata")
MAX_VALUES = 40_000
"""Forty for each of a thousand templates."""


class _Loader(yaml.CSafeLoader):
    """yaml's safe loader that knows promptsource's tags and refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        found: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        if len(found) < len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return found


def _mapping(loader: _Loader, node: yaml.Node) -> dict[Hashable, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, f"{node.tag} is no mapping", node.start_mark)
    return loader.construct_mapping(node, deep=True)


for _tag in _TAGS:
    _Loader.add_constructor(_tag, _mapping)


def read_yaml(text: str) -> dict[str, Any]:
    """{"dataset", "subset", "templates": {id: fields}} of a file; the templates are mappings, no more is checked.

    Raises InvalidDocument with line and column; also where aliases, a few of which can stand for gigabytes,
    say more than MAX_VALUES values or nest deeper than MAX_DEPTH.
    """
    if len(text) > MAX_FILE_CHARS:
        raise _invalid(f"{len(text)} characters (limit {MAX_FILE_CHARS})")
    try:
        _check_events(text)
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 (a subclass of the safe loader)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _invalid(f"not YAML: {where}{getattr(error, 'problem', None) or error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("templates"), dict):
        raise _invalid("no mapping with dataset and templates")
    for key, fields in value["templates"].items():
        if not isinstance(fields, dict) or not isinstance(fields.get("metadata") or {}, dict):
            raise _invalid(f"template {key!r} is no mapping")
    _check_values(value)
    return value


def _check_events(text: str) -> None:
    # Before anything is built, and without recursion: the builder's own would overflow the stack.
    depth = line = 0
    for number, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        line = line if event.start_mark is None else event.start_mark.line + 1
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _invalid(f"line {line}: nested deeper than {MAX_DEPTH} levels")
        if number > MAX_VALUES:
            raise _invalid(f"line {line}: more than {MAX_VALUES} values")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<":
            raise _invalid(f"line {line}: a merge key, whose copies have no bound")


def _check_values(root: Any) -> None:
    num_values, level = 1, [root]
    for _ in range(MAX_DEPTH):
        for value in level:
            if isinstance(value, str) and ("\0" in value or not _is_encodable(value)):
                raise _invalid(f"a NUL or half of a surrogate pair in {value[:40]!r}")
        num_values += sum(2 * len(value) for value in level if isinstance(value, dict | list))
        if num_values > MAX_VALUES:
            raise _invalid(f"more than {MAX_VALUES} values, aliases written out")
        level = [part for value in level for part in _parts(value)]
    if level:
        raise _invalid(f"nested deeper than {MAX_DEPTH} levels, aliases written out")


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _invalid(message: str) -> InvalidDocument:
    return InvalidDocument(
        f"promptsource file: {message}", [{"pointer": "", "code": "promptsource", "message": message}]
    )
