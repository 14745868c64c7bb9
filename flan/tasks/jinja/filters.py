"""The filters and tests a template may use; each behaves as Jinja's own of that name.

Which there are: those of promptsource's published templates, promptsource's own (choice, most_frequent) and a
few of their kind. Each is a function of (run, value, arguments); a template is checked against its signature
when it is read. Source: Jinja 3.1, jinja2/filters.py and jinja2/tests.py.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from jinja2.runtime import Undefined

from flan.tasks.jinja.methods import (
    as_text,
    capitalize,
    lower,
    paid_text,
    replaced,
    stripped,
    upper,
)
from flan.tasks.jinja.run import CHARS_PER_STEP, Run, TemplateTooCostly, check_int, paid
from flan.tasks.jinja.values import COMPARISONS, get_item, items_of, join_texts, text_of, weigh

TRUNCATE_LEEWAY = 5
"""Jinja's default: a text may be this many characters longer than the limit and is not cut."""
MAX_NUMERAL_CHARS = 4_300
"""Python's own limit for whole numbers; more digits cost quadratic time."""
_CONVERSION = re.compile(r"%(?:%|[-+ 0#]*\d{0,3}(?:\.\d{0,2})?[sdifFeEgG]|(.?))")
_WORD_START = re.compile(r"([-\s({\[<]+)")


def _choice(run: Run, value: Any) -> Any:
    if len(value) == 0:
        raise IndexError("a choice from nothing")
    if type(value) not in (str, list, tuple, range):
        raise TypeError(f"a choice from {type(value).__name__}")
    return value[run.draw(len(value))]


def _default(_run: Run, value: Any, default_value: Any = "", boolean: Any = False) -> Any:
    return default_value if isinstance(value, Undefined) or (boolean and not value) else value


def _first(_run: Run, value: Any) -> Any:
    return next(iter(value), Undefined("No first item, sequence was empty."))


def _float(run: Run, value: Any, default: Any = 0.0) -> Any:
    try:
        return float(_numeral(run, value))
    except (TypeError, ValueError):
        return default


def _format(run: Run, value: Any, *args: Any) -> str:
    pattern = paid_text(run, value)
    for match in _CONVERSION.finditer(pattern):
        if match.group(1) is not None:
            raise ValueError(f"format {match.group()!r} is not supported")
        # A width of at most three digits: what it adds is bounded by the pattern.
        run.spend(1000 // CHARS_PER_STEP)
    values = tuple(arg if type(arg) in (int, float, bool) else text_of(run, arg) for arg in args)
    run.spend_chars(sum(len(arg) for arg in values if type(arg) is str))
    return pattern % values


def _int(run: Run, value: Any, default: Any = 0) -> Any:
    try:
        return check_int(run, int(_numeral(run, value)))
    except (TypeError, ValueError):
        try:
            return check_int(run, int(float(_numeral(run, value))))
        except (TypeError, ValueError, OverflowError):
            return default


def _join(run: Run, value: Any, d: Any = "") -> str:
    return join_texts(run, text_of(run, d), [text_of(run, item) for item in items_of(run, value)])


def _last(_run: Run, value: Any) -> Any:
    return next(iter(reversed(value)), Undefined("No last item, sequence was empty."))


def _length(_run: Run, value: Any) -> int:
    return len(value)


def _list(run: Run, value: Any) -> list[Any]:
    return items_of(run, value)


def _map(run: Run, value: Any, *, attribute: Any) -> Iterator[Any]:
    parts = _path(run, attribute)
    return iter([_walk(run, item, parts) for item in paid(run, value or (), 1 + len(parts))])


def _most_frequent(run: Run, value: Any) -> list[Any] | None:
    if not value:
        return None
    # An object's values are taken for counts, as Counter does.
    items = value if type(value) is dict else items_of(run, value)
    weigh(run, items)
    counts = Counter(items).most_common()
    return [item for item, count in counts if count == counts[0][1]]


def _random(run: Run, value: Any) -> Any:
    try:
        return _choice(run, value)
    except IndexError:
        return Undefined("No random item, sequence was empty.")


def _replace(run: Run, value: Any, old: Any, new: Any, count: Any = None) -> str:
    limit = -1 if count is None else count
    return replaced(run, text_of(run, value), text_of(run, old), text_of(run, new), limit)


def _reject(run: Run, value: Any, test: Any = None, *args: Any) -> Iterator[Any]:
    return _kept(run, value, (), False, test, args)


def _rejectattr(run: Run, value: Any, attribute: Any, test: Any = None, *args: Any) -> Iterator[Any]:
    return _kept(run, value, _path(run, attribute), False, test, args)


def _select(run: Run, value: Any, test: Any = None, *args: Any) -> Iterator[Any]:
    return _kept(run, value, (), True, test, args)


def _selectattr(run: Run, value: Any, attribute: Any, test: Any = None, *args: Any) -> Iterator[Any]:
    return _kept(run, value, _path(run, attribute), True, test, args)


def _string(run: Run, value: Any) -> str:
    return text_of(run, value)


def _title(run: Run, value: Any) -> str:
    parts = _WORD_START.split(paid_text(run, value))
    run.spend(len(parts))
    return "".join(part[0].upper() + part[1:].lower() for part in parts if part)


def _trim(run: Run, value: Any, chars: Any = None) -> str:
    return stripped(run, text_of(run, value), chars)


def _truncate(
    run: Run, value: Any, length: Any = 255, killwords: Any = False, end: Any = "...", leeway: Any = None
) -> Any:
    leeway = TRUNCATE_LEEWAY if leeway is None else leeway
    if length < len(end) or leeway < 0:
        raise ValueError(f"truncate to {length} characters with the ending {end!r} and leeway {leeway}")
    if len(value) <= length + leeway:
        return value
    if type(value) is not str or type(end) is not str:
        raise TypeError(f"truncates {type(value).__name__}")
    run.spend_chars(length)
    start = value[: length - len(end)]
    return (start if killwords else start.rsplit(" ", 1)[0]) + end


FILTERS: dict[str, Callable[..., Any]] = {
    "capitalize": capitalize,
    "choice": _choice,
    "count": _length,
    "d": _default,
    "default": _default,
    "first": _first,
    "float": _float,
    "format": _format,
    "int": _int,
    "join": _join,
    "last": _last,
    "length": _length,
    "list": _list,
    "lower": lower,
    "map": _map,
    "most_frequent": _most_frequent,
    "random": _random,
    "reject": _reject,
    "rejectattr": _rejectattr,
    "replace": _replace,
    "select": _select,
    "selectattr": _selectattr,
    "string": _string,
    "title": _title,
    "trim": _trim,
    "truncate": _truncate,
    "upper": upper,
}


def _is_defined(_run: Run, value: Any) -> bool:
    return not isinstance(value, Undefined)


def _is_undefined(_run: Run, value: Any) -> bool:
    return isinstance(value, Undefined)


def _is_none(_run: Run, value: Any) -> bool:
    return value is None


def _is_string(_run: Run, value: Any) -> bool:
    return type(value) is str


def _is_number(_run: Run, value: Any) -> bool:
    return type(value) in (int, float, bool)


TESTS: dict[str, Callable[..., bool]] = {
    "==": COMPARISONS["eq"],
    "eq": COMPARISONS["eq"],
    "equalto": COMPARISONS["eq"],
    "!=": COMPARISONS["ne"],
    "ne": COMPARISONS["ne"],
    "in": COMPARISONS["in"],
    "defined": _is_defined,
    "undefined": _is_undefined,
    "none": _is_none,
    "string": _is_string,
    "number": _is_number,
}


def _kept(
    run: Run, value: Any, parts: tuple[str | int, ...], wanted: bool, test: Any, args: tuple[Any, ...]
) -> Iterator[Any]:
    is_true = bool if test is None else lambda item: TESTS[test](run, item, *args)
    items = paid(run, value or (), 1 + len(parts))
    # Worked out at once: a chain of iterators that wait for each other could overflow the interpreter's stack.
    return iter([item for item in items if is_true(_walk(run, item, parts)) is wanted])


def _path(run: Run, attribute: Any) -> tuple[str | int, ...]:
    if type(attribute) is int:
        return (attribute,)
    parts = as_text(attribute).split(".")
    run.spend(len(parts))
    return tuple(int(part) if part.isdigit() else part for part in parts)


def _walk(run: Run, item: Any, parts: tuple[str | int, ...]) -> Any:
    for part in parts:
        item = get_item(run, item, part)
    return item


def _numeral(run: Run, value: Any) -> Any:
    if type(value) is str and len(value) > MAX_NUMERAL_CHARS:
        raise TemplateTooCostly(f"line {run.line}: a number of {len(value)} characters")
    if type(value) not in (str, int, float, bool) and not isinstance(value, Undefined):
        raise TypeError(f"a number from {type(value).__name__}")
    return value
