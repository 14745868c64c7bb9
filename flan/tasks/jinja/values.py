"""What values of a Jinja template are, and what can be done with them, at what cost.

Values are plain JSON (text, int, float, bool, None, list, dict), tuples, ranges, iterators over a list of
them, and Jinja's Undefined. Nothing here reads an attribute of a value: `a.b` and `a["b"]` are item lookups.
"""

import operator
from collections.abc import Callable
from typing import Any

from jinja2.runtime import LoopContext, Undefined

from flan.tasks.jinja.run import (
    CHARS_PER_STEP,
    SCALARS,
    CannotRender,
    Run,
    TemplateTooCostly,
    check_int,
    paid,
)

KEYS = (str, *SCALARS)
"""What may be a key of an object."""
MAX_POWER_BITS = 128
_SIZED = (str, list, tuple, dict, range)
_LOOP_ATTRIBUTES: dict[str, Callable[[LoopContext], Any]] = {
    "index": lambda loop: loop.index,
    "index0": lambda loop: loop.index0,
    "first": lambda loop: loop.first,
    "last": lambda loop: loop.last,
    "length": lambda loop: loop.length,
    "revindex": lambda loop: loop.revindex,
    "revindex0": lambda loop: loop.revindex0,
    "previtem": lambda loop: loop.previtem,
    "nextitem": lambda loop: loop.nextitem,
}
# Where Jinja would hand out a bound method: `row.items` is dict.items even if the row has such a key.
_ATTRIBUTES = {type_: frozenset(dir(type_)) for type_ in (str, list, tuple, dict, range, *SCALARS)}


def weigh(run: Run, value: Any) -> None:
    """Pay for walking through all of `value`: before it is printed, compared or hashed.

    A list that holds another twice counts it twice, as printing does; one that holds itself runs out of steps.
    """
    waiting = [value]
    while waiting:
        item = waiting.pop()
        run.spend(1)
        if type(item) is str:
            run.spend(len(item) // CHARS_PER_STEP)
        elif type(item) in (list, tuple):
            run.spend(len(item))
            waiting.extend(item)
        elif type(item) is dict:
            run.spend(2 * len(item))
            waiting.extend(item)
            waiting.extend(item.values())
        elif type(item) not in SCALARS and not isinstance(item, range | Undefined):
            raise CannotRender(
                f"line {run.line}: prints or compares an iterator: its text would be a memory address",
                hint="turn it into a list first: | list",
            )


def text_of(run: Run, value: Any) -> str:
    """`value` as Jinja prints it: Python's `str`, blank for Undefined."""
    if type(value) is str:
        return value
    if type(value) not in SCALARS:
        weigh(run, value)
    text = str(value)
    run.spend_chars(len(text))
    return text


def items_of(run: Run, value: Any) -> list[Any]:
    """Every item of an iterable, paid for one by one. Raises TypeError when it is none."""
    if type(value) in _SIZED:
        run.spend(len(value))
        return list(value)
    return list(paid(run, value))


def join_texts(run: Run, separator: str, texts: list[str]) -> str:
    """`texts` with `separator` between them; their length is known before they are joined."""
    run.spend_chars(sum(map(len, texts)) + len(separator) * max(0, len(texts) - 1))
    return separator.join(texts)


def get_item(run: Run, value: Any, key: Any) -> Any:
    """`value[key]` by Jinja's rules: a missing key or index is Undefined."""
    if isinstance(value, Undefined):
        return value[key]  # raises UndefinedError, which names it
    if type(value) is dict:
        if type(key) in KEYS and key in value:
            return value[key]
    elif type(value) in (str, list, tuple, range) and type(key) in (int, bool):
        return value[key] if -len(value) <= key < len(value) else Undefined(obj=value, name=str(key))
    return _refuse_method(run, value, key) if type(key) is str else Undefined(obj=value, name=str(key))


def get_attribute(run: Run, value: Any, name: str) -> Any:
    """`value.name` by Jinja's rules, less what would be a Python attribute: those are refused."""
    if type(value) is LoopContext:
        if name not in _LOOP_ATTRIBUTES:
            raise CannotRender(
                f"line {run.line}: loop.{name} is not supported", hint=f"{sorted(_LOOP_ATTRIBUTES)}"
            )
        return _LOOP_ATTRIBUTES[name](value)
    if isinstance(value, Undefined):
        return value[name]  # raises UndefinedError, which names it
    missing = _refuse_method(run, value, name)
    return value.get(name, missing) if type(value) is dict else missing


def contains(run: Run, values: Any, value: Any) -> bool:
    """`value in values`."""
    if type(values) is str:
        if type(value) is str:
            pay_search(run, values, value)
    elif type(values) in (list, tuple, dict, range):
        weigh(run, value)
        weigh(run, values)
        run.spend(len(values))
    elif not isinstance(values, Undefined):
        raise CannotRender(f"line {run.line}: looks for a value in {type(values).__name__}")
    return value in values


def pay_search(run: Run, text: str, part: str) -> None:
    """Pay for a search of `part` in `text`."""
    # CPython searches for short parts in up to len(text) x len(part) comparisons, for long ones in linear time.
    run.spend((len(text) + len(part)) // CHARS_PER_STEP * (1 + min(len(part), 100) // 8))


def _refuse_method(run: Run, value: Any, name: str) -> Undefined:
    if name in _ATTRIBUTES.get(type(value), ()):
        raise CannotRender(
            f"line {run.line}: .{name} of {type(value).__name__} is a method, not a value",
            hint=f'write ["{name}"] for a key of that name',
        )
    return Undefined(obj=value, name=name)


def cut(run: Run, value: Any, bounds: slice) -> Any:
    """`value[start:stop:step]`."""
    run.spend(len(value) // CHARS_PER_STEP if type(value) is str else _length_of(value))
    return value[bounds]


def compare(relation: Callable[[Any, Any], Any]) -> Callable[[Run, Any, Any], bool]:
    """`relation` of two values, paid for. Python's operators: an order of text and number is a TypeError."""

    def compared(run: Run, left: Any, right: Any) -> bool:
        if type(left) in KEYS or type(right) in KEYS:
            run.spend(min(_length_of(left), _length_of(right)) // CHARS_PER_STEP)
        else:
            weigh(run, left)
            weigh(run, right)
        return bool(relation(left, right))

    return compared


COMPARISONS: dict[str, Callable[[Run, Any, Any], bool]] = {
    "eq": compare(operator.eq),
    "ne": compare(operator.ne),
    "gt": compare(operator.gt),
    "gteq": compare(operator.ge),
    "lt": compare(operator.lt),
    "lteq": compare(operator.le),
    "in": lambda run, value, values: contains(run, values, value),
    "notin": lambda run, value, values: not contains(run, values, value),
}


def add(run: Run, left: Any, right: Any) -> Any:
    """`left + right`."""
    if type(left) is str and type(right) is str:
        run.spend_chars(len(left) + len(right))
    else:
        run.spend(_length_of(left) + _length_of(right))
    return checked(run, left + right)


def multiply(run: Run, left: Any, right: Any) -> Any:
    """`left * right`; a text or list times a number is as long as it says before it is made."""
    for value, times in ((left, right), (right, left)):
        if type(value) in (str, list, tuple) and type(times) in (int, bool):
            length = len(value) * max(0, times)
            run.spend_chars(length) if type(value) is str else run.spend(length)
    return checked(run, left * right)


def modulo(run: Run, left: Any, right: Any) -> Any:
    """`left % right` of numbers."""
    if type(left) is str:
        raise CannotRender(f"line {run.line}: text % values is not imported", hint="use the filter format")
    return checked(run, left % right)


def power(run: Run, left: Any, right: Any) -> Any:
    """`left ** right` of numbers."""
    if type(left) is int and type(right) is int and abs(right) * left.bit_length() > MAX_POWER_BITS:
        raise TemplateTooCostly(f"line {run.line}: a power of more than {MAX_POWER_BITS} bits")
    return checked(run, left**right)


ARITHMETIC: dict[str, Callable[[Run, Any, Any], Any]] = {
    "Add": add,
    "Sub": lambda run, left, right: checked(run, left - right),
    "Mul": multiply,
    "Div": lambda run, left, right: checked(run, left / right),
    "FloorDiv": lambda run, left, right: checked(run, left // right),
    "Mod": modulo,
    "Pow": power,
}


def checked(run: Run, value: Any) -> Any:
    """`value` of an arithmetic operation, if it is no complex number and has at most 64 bits."""
    if type(value) is complex:
        raise CannotRender(f"line {run.line}: {value} is not a real number")
    return check_int(run, value) if type(value) is int else value


def _length_of(value: Any) -> int:
    return len(value) if type(value) in _SIZED else 0
