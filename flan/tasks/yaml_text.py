"""YAML and JSON texts → values, as JSON has them: the core schema of YAML 1.2 (YAML 1.2.2, 10.3).

So `yes`, `no`, `on`, `off` and `2020-01-01` are text, `1e-4` is a number and `017` is seventeen. A text may come
from anyone: it is read event by event, never deeper than MAX_DEPTH (libyaml's own composer is recursive, and
100,000 brackets end the process), aliases count as often as they stand, and no tag makes an object.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from flan.errors import InvalidDocument, NotFound, problem

MAX_DEPTH = 64
MAX_VALUES = 1_000_000
"""Of a document, where each alias counts as all that it stands for."""
MAX_CHARS = 16_000_000
"""Of its texts together, counted likewise."""
_MAX_SHOWN_CHARS = 40
# The same in C, several times as fast, where libyaml was there when PyYAML was built.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What YAML does not let stand in a text, beside half a surrogate pair (YAML 1.2.2, 5.1).
_STRANGE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
# JSON writes a character beyond U+FFFF as two escapes, which YAML does not read.
_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_PREFIX = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_FIRST_OF_SOME = frozenset("~nNtTfF-+.0123456789")
"""A plain text that begins otherwise, and is not empty, is text."""
_MAX_DIGITS = 64  # no figure of ours has more, and Python refuses to read some thousands


class Position(NamedTuple):
    """A place in a text, counted from 1, and the JSON pointer of what stands there, where it is known."""

    line: int
    column: int
    pointer: str = ""


class _Anchored(NamedTuple):
    """What an anchor names, for its aliases."""

    value: Any
    num_values: int
    num_chars: int
    depth: int
    """Levels of it, itself among them."""


def read_text_file(path: Path) -> str:
    """The text of a file in UTF-8, a byte order mark left out. Raises NotFound; InvalidDocument with the place."""
    if not path.is_file():
        raise NotFound(f"no file {path}")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        said = f"byte {error.start} is {error.object[error.start]:#04x}, which is not UTF-8"
        fault = problem("", "encoding", said, "save the file as UTF-8")
        raise InvalidDocument(f"{path}: {said}", [fault]) from error


def parse_yaml(text: str) -> Any:
    """The value of a YAML or JSON text. Raises InvalidDocument with line and column."""
    return _Reader(text).read()


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises as parse_yaml does; NaN, which JSON lacks, is text."""
    return parse_yaml(_PAIR.sub(_joined, text))


def place_of(text: str, pointer: str) -> dict[str, int]:
    """The line and column, from 1, where a text that was read has the value at `pointer`, or what is nearest
    above it.
    """
    reader = _Reader(text)
    reader.read()
    while pointer and pointer not in reader.found:
        pointer = pointer.rpartition("/")[0]
    position = reader.found[pointer]
    return {"line": position.line, "column": position.column}


def _joined(pair: re.Match[str]) -> str:
    high, low = (int(pair[i], 16) for i in (2, 3))
    return pair[1] + chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


class _Reader:
    """One text, read once."""

    def __init__(self, text: str) -> None:
        if strange := _STRANGE.search(text):
            raise _strange_character(text, strange.start())
        self._parser = _Loader(text.removeprefix("\ufeff"))
        self._anchors: dict[str, _Anchored] = {}
        self._num_values = self._num_chars = 0
        self.found: dict[str, Position] = {}

    def read(self) -> Any:
        """The value of the text's one document."""
        try:
            return self._document()
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            what = str(getattr(error, "problem", None) or error)
            raise _refused(mark and _at(mark), "yaml", what, _hint(what)) from error
        finally:
            self._parser.dispose()

    def _document(self) -> Any:
        self._next()
        event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            raise _refused(None, "empty", "the document is empty")
        value, _ = self._value(self._next(), "", 1)
        self._next()
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise _refused(_at(event.start_mark), "yaml", "a second document begins", "give each a file")
        return value

    def _next(self) -> Any:
        return self._parser.get_event()

    def _value(self, event: Any, pointer: str, depth: int) -> tuple[Any, int]:
        """What begins with `event`, and how many levels it has."""
        position = _at(event.start_mark, pointer)
        self.found[pointer] = position
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event, position, depth)
        num_values, num_chars = self._num_values, self._num_chars
        self._count(1, 0, depth, position)
        levels = 1
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event, position)
            self._count(0, len(event.value), depth, position)
        elif isinstance(event, yaml.SequenceStartEvent):
            _check_tag(event, "seq", position)
            value, levels = self._list(pointer, depth)
        else:
            _check_tag(event, "map", position)
            value, levels = self._mapping(pointer, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(
                value, self._num_values - num_values, self._num_chars - num_chars, levels
            )
        return value, levels

    def _aliased(self, event: Any, position: Position, depth: int) -> tuple[Any, int]:
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            what = f"the alias *{event.anchor} stands for nothing that is complete before it"
            raise _refused(position, "yaml", what, f"write &{event.anchor} before what it names")
        self._count(anchored.num_values, anchored.num_chars, depth + anchored.depth - 1, position)
        return anchored.value, anchored.depth

    def _count(self, num_values: int, num_chars: int, depth: int, position: Position) -> None:
        self._num_values += num_values
        self._num_chars += num_chars
        if depth > MAX_DEPTH:
            raise _refused(position, "too_deep", f"nested more than {MAX_DEPTH} deep")
        if self._num_values > MAX_VALUES:
            what = f"more than {MAX_VALUES:,} values, each alias counted as all that it stands for"
            raise _refused(position, "too_many_values", what)
        if self._num_chars > MAX_CHARS:
            what = f"more than {MAX_CHARS:,} characters of text, each alias counted as all that it stands for"
            raise _refused(position, "too_large", what)

    def _list(self, pointer: str, depth: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        levels = 0
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            value, below = self._value(event, f"{pointer}/{len(values)}", depth + 1)
            values.append(value)
            levels = max(levels, below)
        return values, levels + 1

    def _mapping(self, pointer: str, depth: int) -> tuple[dict[str, Any], int]:
        values: dict[str, Any] = {}
        levels = 0
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            name = self._name(event, pointer, values)
            place = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
            values[name], below = self._value(self._next(), place, depth + 1)
            levels = max(levels, below)
        return values, levels + 1

    def _name(self, event: Any, pointer: str, beside: Mapping[str, Any]) -> str:
        """The name that `event` gives in an object that has the names `beside`."""
        position = _at(event.start_mark, pointer)
        if isinstance(event, yaml.AliasEvent) and event.anchor in self._anchors:
            name = self._aliased(event, position, 1)[0]
        elif isinstance(event, yaml.ScalarEvent):
            name = _scalar(event, position)
            if event.anchor is not None:
                self._anchors[event.anchor] = _Anchored(name, 1, len(event.value), 1)
        else:
            raise _refused(position, "name", "the name of a field is one text")
        if name == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            what, hint = "a merge key (<<) is not read", "write the fields out"
            raise _refused(position, "merge_key", what, hint)
        if not isinstance(name, str):
            what = f"the name {_short(str(event.value))} is read as {_KINDS[type(name)]}, and a name is text"
            raise _refused(position, "name", what, "put it in quotes")
        if name in beside:
            what, hint = f"the name {_short(name)} stands twice in one object", "keep one of the two"
            raise _refused(position, "duplicate_name", what, hint)
        return name


_KINDS = {int: "a number", float: "a number", bool: "true or false", type(None): "null"}


def _scalar(event: Any, position: Position) -> Any:
    """The value of one plain or quoted text."""
    text: str = event.value
    tag = event.tag
    if "\0" in text:
        raise _refused(position, "nul_character", "text cannot hold the character U+0000")
    if tag in (None, "!"):
        return _resolved(text, position) if event.implicit[0] and tag is None else text
    kind = str(tag).removeprefix(_PREFIX)
    if kind == "str":
        return text
    if kind in _TAGGED:
        pattern, make = _TAGGED[kind]
        if pattern.fullmatch(text):
            return make(text, position)
        raise _refused(position, "yaml", f"{_short(text)} is no !!{kind}")
    raise _unknown_tag(tag, position)


def _resolved(text: str, position: Position) -> Any:
    """A plain text as the core schema reads it."""
    if text and text[0] not in _FIRST_OF_SOME:
        return text
    return next((make(text, position) for pattern, make in _TAGGED.values() if pattern.fullmatch(text)), text)


def _whole_number(text: str, position: Position) -> int:
    if len(text) > _MAX_DIGITS:
        raise _refused(position, "too_big", f"a number of {len(text):,} digits")
    return int(text)


def _number(text: str, position: Position) -> float:
    number = float(text.replace(".", "") if text[-1].isalpha() else text)
    if not math.isfinite(number):
        raise _refused(position, "not_finite", f"{_short(text)} is no finite number")
    return number


_TAGGED: dict[str, tuple[re.Pattern[str], Callable[[str, Position], Any]]] = {
    "null": (_NULL, lambda _text, _position: None),
    "bool": (_BOOL, lambda text, _position: text[0] in "tT"),
    "int": (_INT, _whole_number),
    "float": (_FLOAT, _number),
}


def _check_tag(event: Any, kind: str, position: Position) -> None:
    if event.tag not in (None, "!", _PREFIX + kind):
        raise _unknown_tag(event.tag, position)


def _unknown_tag(tag: str, position: Position) -> InvalidDocument:
    shown = f"!!{tag.removeprefix(_PREFIX)}" if tag.startswith(_PREFIX) else tag
    hint = "leave it out: a document holds text, numbers, true, false, null, lists and objects"
    return _refused(position, "tag", f"the tag {shown[:80]} is not read", hint)


def _refused(position: Position | None, code: str, what: str, hint: str | None = None) -> InvalidDocument:
    where = f"line {position.line}, column {position.column}: " if position else ""
    fault = problem(position.pointer if position else "", code, f"{where}{what}", hint)
    return InvalidDocument(f"not YAML we read: {fault['message']}", [fault])


def _at(mark: Any, pointer: str = "") -> Position:
    return Position(mark.line + 1, mark.column + 1, pointer)


def _strange_character(text: str, index: int) -> InvalidDocument:
    before, character = text[:index], ord(text[index])
    position = Position(before.count("\n") + 1, index - before.rfind("\n"))
    if 0xD800 <= character <= 0xDFFF:
        return _refused(position, "surrogate", "half of a surrogate pair, which is no character")
    if character == 0:
        return _refused(position, "nul_character", "text cannot hold the character U+0000")
    return _refused(position, "yaml", f"the character U+{character:04X} cannot stand in YAML as it is")


def _short(text: str) -> str:
    return repr(text if len(text) <= _MAX_SHOWN_CHARS else text[:_MAX_SHOWN_CHARS] + "…")


_HINTS = {
    "mapping values are not allowed": "put a text that holds a colon and a blank in quotes",
    "did not find expected key": "look at the indentation; a text that begins with { or holds a colon needs quotes",
    "cannot start any token": "indent with blanks, not tabs; put a text that begins with %, @ or ` in quotes",
    "did not find expected ',' or": "close the bracket; a pattern that begins with { needs quotes",
    "did not find expected node content": "close the bracket; a pattern that begins with { needs quotes",
    "unexpected end of stream": "close the quotes",
    "invalid Unicode character escape": "write the character itself",
}


def _hint(what: str) -> str | None:
    return next((hint for begin, hint in _HINTS.items() if begin in what), None)
