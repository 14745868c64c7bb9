"""What pydantic found wrong with a document, in plain words: where, what, and what was probably meant."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from flan.errors import Problem, did_you_mean, problem
from flan.fields import KEY, Place, Schema, spot_of, suggestion

PATTERNS = {
    r"^[a-z0-9][a-z0-9._-]{0,63}$": "a name is a–z 0–9 . _ -, up to 64 characters, beginning with a letter or digit",
    r"^[a-z0-9][a-z0-9._-]{0,63}(/[a-z0-9][a-z0-9._-]{0,63})?$": "a dataset is a name, or name/configuration",
    r"^[a-z0-9][a-z0-9._/-]{0,127}$": "the name of an evaluation is a–z 0–9 . _ - /, up to 128 characters",
    r"^[a-z][a-z0-9._-]{0,63}$": "an alias is a–z 0–9 . _ -, up to 64 characters, beginning with a letter",
    r"^[A-Za-z_][A-Za-z0-9_]{0,63}$": "a field is letters, digits and _, up to 64 characters, no digit first",
    r"^[A-Za-z_][A-Za-z0-9_.]{0,127}$": "a module is the end of its name: q_proj, mlp.up_proj",
    r"^[0-9a-f]{64}$": "a sha256 is 64 characters of 0–9 a–f",
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(\[(-?\d{1,9})?:(-?\d{1,9})?\])?$": "a split, or a part of one: train[:-200]",
    r"^(/[^/]*){2,}$": "a JSON pointer to a field of a job: /tuned/mixture/hold_out/clusters",
    r"^(tune|evaluate|serve|sweep)$": "must be tune, evaluate, serve or sweep",
}
"""What the patterns of our documents and parameters ask for."""

_MAX_SHOWN_CHARS = 80
_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "list_type": "a list",
    "tuple_type": "a list",
}
_OBJECTS = frozenset(code for code, type_ in _TYPES.items() if type_ == "an object")
_LIMITS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


_HINT = "the way out"  # in a fault of our own; no slot of a template can be called so


class Wrong(NamedTuple):
    """What one of our own checks found wrong with a document, below the place where the check stands."""

    place: Place
    """As pydantic tells it: in a list of templates after the number their language."""
    code: str
    message: str
    hint: str | None = None


class Plain(NamedTuple):
    """A fault in plain words."""

    message: str
    hint: str | None = None


class _Found(NamedTuple):
    place: Place
    is_choice: bool
    """Whether the last step to it chose one of several types."""
    code: str
    plain: Plain


def refuse(title: str, found: Iterable[Wrong]) -> None:
    """Raise what a validator of the model `title` found wrong, as pydantic has it; nothing where nothing is.

    Of several faults in one place the first is told.
    """
    first: dict[Place, Wrong] = {}
    for each in found:
        first.setdefault(each.place, each)
    details = [
        InitErrorDetails(type=fault(each.code, each.message, each.hint), loc=each.place, input=None)
        for each in first.values()
    ]
    if details:
        raise ValidationError.from_exception_data(title, details)


def fault(code: str, message: str, hint: str | None = None) -> PydanticCustomError:
    """What a validator of one field raises, with the way out."""
    return PydanticCustomError(code, message, {_HINT: hint})


def translate(faults: Sequence[Any], schema: Schema) -> list[Problem]:
    """pydantic's `faults` of a value of this JSON `schema`, one problem for each thing to mend."""
    found = [_found(fault, schema) for fault in faults]
    parents = {each.place[:depth] for each in found for depth in range(len(each.place))}
    # A list that lost its faulty items is not too short, and a choice that was entered is not of a wrong type.
    kept = [
        each
        for each in found
        if each.place not in parents or not (each.is_choice or each.code == "too_short")
    ]
    return [
        problem(_pointer(each.place), each.code, each.plain.message, each.plain.hint)
        for each in _without_repeats(kept)
    ]


def plain(fault: Any) -> Plain:
    """One of pydantic's faults in plain words; the value is named where it is short."""
    code, given, context = fault["type"], fault.get("input"), fault.get("ctx") or {}
    if code in _TYPES:
        return Plain(f"needs {_TYPES[code]}{_not(given)}", _way_to(code, given))
    if _HINT in context:
        return Plain(str(fault["msg"]), context[_HINT])
    if code in _LIMITS:
        words, bound = _LIMITS[code]
        # Only a number gets as far as to its limits; one in an address is text, and needs no quotes.
        return Plain(f"must be {words} {_number(context[bound])}, not {str(given)[:_MAX_SHOWN_CHARS]}")
    if code == "literal_error":
        return _none_of(given, _quoted(context["expected"]))
    if code == "union_tag_invalid":
        return _none_of(context["tag"], _quoted(context["expected_tags"]))
    if code == "string_pattern_mismatch":
        wanted = PATTERNS.get(context["pattern"], f"must match {context['pattern']}")
        return Plain(f"{wanted}{_not(given)}")
    return Plain(_size(code, given, context) or str(fault["msg"]).removeprefix("Value error, "))


def _way_to(code: str, given: Any) -> str | None:
    """What mends a value of the wrong type, where that can be seen from it."""
    if code == "string_type" and isinstance(given, bool | int | float):
        return "put it in quotes"
    if code == "string_type" and isinstance(given, dict) and list(given.values()) == [None]:
        return "put a text that begins with { in quotes"  # YAML reads it as an object
    if code == "dict_type" and given and isinstance(given, list | tuple):
        return "write it as name: value"
    return None


def _size(code: str, given: Any, context: Mapping[str, Any]) -> str | None:
    if code == "missing":
        return "this field is needed"
    if code == "string_too_short":
        at_least = context["min_length"]
        return "cannot be empty" if at_least == 1 else f"needs at least {at_least} characters"
    if code == "string_too_long":
        return f"takes at most {context['max_length']:,} characters, not {len(given):,}"
    if code == "too_short":
        return f"needs at least {'one' if context['min_length'] == 1 else context['min_length']}"
    if code == "too_long":
        return f"takes at most {context['max_length']:,}"
    if code == "finite_number":
        return "must be a finite number"
    return None


def _found(fault: Any, schema: Schema) -> _Found:
    spot, code, said = spot_of(fault["loc"], schema), str(fault["type"]), plain(fault)
    place = spot.place
    if code == "extra_forbidden":
        hint = suggestion(fault["loc"], schema)
        code, said = "unknown_field", Plain(f"unknown field {place[-1]!r}", hint)
    if code in _OBJECTS and (fields := spot.schema.get("properties")):
        said = said._replace(hint=f"its fields are {', '.join(fields)}")
    if code.startswith("union_tag") and spot.tag is not None:
        place = (*place, spot.tag)
    if code == "union_tag_not_found":
        said = Plain(f"this field is needed: {', '.join(sorted(spot.kinds))}")
    if KEY in fault["loc"] and code == "string_too_long":
        said = Plain(f"the name {said.message}")
    return _Found(place, spot.is_choice, code, said)


def _without_repeats(found: Sequence[_Found]) -> Iterator[_Found]:
    """Of the branches of a choice, which say the same of one place, the first speaks for all."""
    types: dict[Place, list[str]] = {}
    for each in found:
        if each.is_choice and each.code in _TYPES:
            types.setdefault(each.place, []).append(_TYPES[each.code])
    said: set[Place] = set()
    for each in found:
        if each.is_choice and each.place in said:
            continue
        if each.is_choice and len(names := types.get(each.place, ())) > 1:
            said.add(each.place)
            message = each.plain.message.replace(f"needs {_TYPES[each.code]}", f"needs {' or '.join(names)}")
            each = each._replace(plain=Plain(message))
        yield each


def _none_of(given: Any, known: Sequence[str]) -> Plain:
    if len(known) == 1:
        return Plain(f"must be {known[0]}{_not(given)}")
    if not isinstance(given, str):
        return Plain(f"must be one of {', '.join(known)}{_not(given)}")
    return Plain(f"{given[:_MAX_SHOWN_CHARS]!r} is none of {', '.join(known)}", did_you_mean(given, known))


def _quoted(names: str) -> list[str]:
    """The names in one of pydantic's lists: "'a', 'b' or 'c'"."""
    return [name.strip("'") for name in re.split(r", | or ", names)]


def _not(given: Any) -> str:
    """What was given instead, where it is short."""
    if isinstance(given, dict | list | tuple) or (isinstance(given, float) and not math.isfinite(given)):
        return ""
    shown = repr(given) if isinstance(given, str) else json.dumps(given, default=str)
    return f", not {shown}" if len(shown) <= _MAX_SHOWN_CHARS else ""


def _number(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else str(bound)


def _pointer(place: Sequence[str | int]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in place)
