"""The functions and methods a template may call; each behaves as Python's own of that name.

Each is a function of (run, value, arguments) and pays for its work before doing it. The texts' among them
serve the filters of the same names too.
"""

from collections.abc import Callable, Iterator
from typing import Any

from jinja2.runtime import Undefined

from flan.tasks.jinja.run import (
    CHARS_PER_STEP,
    MAX_STEPS,
    CannotRender,
    Run,
    TemplateTooCostly,
)
from flan.tasks.jinja.values import items_of, join_texts, pay_search, text_of, weigh


def capitalize(run: Run, value: Any) -> str:
    """`value` as text, its first character in upper case, all others in lower case."""
    return paid_text(run, value).capitalize()


def lower(run: Run, value: Any) -> str:
    """`value` as text in lower case."""
    return paid_text(run, value).lower()


def upper(run: Run, value: Any) -> str:
    """`value` as text in upper case."""
    return paid_text(run, value).upper()


def stripped(run: Run, text: str, chars: Any = None) -> str:
    """`text` without outer white space, or without outer characters among `chars`."""
    # Each character is looked up among `chars` one by one.
    num_chars = 1 if chars is None else 1 + len(as_text(chars))
    run.spend(len(text) * num_chars // CHARS_PER_STEP)
    return text.strip(chars)


def replaced(run: Run, text: str, old: str, new: str, count: Any) -> str:
    """`text` with `new` for `old`, at most `count` times (negative: always)."""
    pay_search(run, text, old)
    times = text.count(old) if count < 0 else min(count, text.count(old))
    run.spend_chars(len(text) + times * (len(new) - len(old)))
    return text.replace(old, new, count)


def paid_text(run: Run, value: Any) -> str:
    """`value` as text, paid for once more: for a function that reads all of it."""
    text = text_of(run, value)
    run.spend_chars(len(text))
    return text


def as_text(value: Any) -> str:
    """`value`, which must be text. Raises TypeError."""
    if type(value) is not str:
        raise TypeError(f"{type(value).__name__} where a text is needed")
    return value


def _range(run: Run, *bounds: Any) -> range:
    made = range(*bounds)
    if len(made) > MAX_STEPS:
        raise TemplateTooCostly(f"line {run.line}: a range of {len(made)} numbers (limit {MAX_STEPS})")
    return made


def _zip(run: Run, *values: Any) -> Iterator[Any]:
    return iter(list(zip(*(items_of(run, value) for value in values), strict=False)))


FUNCTIONS: dict[str, Callable[..., Any]] = {"range": _range, "zip": _zip}
ENVIRONMENT_NAMES = frozenset({"range", "zip", "dict", "lipsum", "cycler", "joiner", "namespace"})
"""Names that mean a function in promptsource's environment, unless the row has them."""


def _text_split(run: Run, text: str, sep: Any = None, maxsplit: Any = -1) -> list[str]:
    run.spend_chars(len(text))
    # One more than there are steps for: what would cost too much is cut off before it is made.
    limit = run.steps_left if maxsplit < 0 else min(maxsplit, run.steps_left)
    if type(sep) is str:
        pay_search(run, text, sep)
    parts = text.split(sep, limit)
    run.spend(len(parts))
    return parts


def _text_replace(run: Run, text: str, old: Any, new: Any, count: Any = -1) -> str:
    if type(old) is not str or type(new) is not str:
        raise TypeError("replace() takes texts")
    return replaced(run, text, old, new, count)


def _text_index(run: Run, text: str, sub: Any) -> int:
    pay_search(run, text, as_text(sub))
    return text.index(sub)


def _text_count(run: Run, text: str, sub: Any) -> int:
    pay_search(run, text, as_text(sub))
    return text.count(sub)


def _text_join(run: Run, text: str, values: Any) -> str:
    return join_texts(run, text, [as_text(item) for item in items_of(run, values)])


def _text_startswith(run: Run, text: str, prefix: Any) -> bool:
    run.spend_chars(len(as_text(prefix)))
    return text.startswith(prefix)


def _text_endswith(run: Run, text: str, suffix: Any) -> bool:
    run.spend_chars(len(as_text(suffix)))
    return text.endswith(suffix)


def _text_title(run: Run, text: str) -> str:
    run.spend_chars(len(text))
    return text.title()


def _list_index(run: Run, values: list[Any], value: Any) -> int:
    weigh(run, values)
    weigh(run, value)
    return values.index(value)


def _list_count(run: Run, values: list[Any], value: Any) -> int:
    weigh(run, values)
    weigh(run, value)
    return values.count(value)


def _list_append(run: Run, values: list[Any], value: Any) -> None:
    run.spend(1)
    values.append(value)


def _dict_update(run: Run, values: dict[Any, Any], more: Any) -> None:
    if type(more) is not dict:
        raise TypeError(f"update() with {type(more).__name__}")
    run.spend(len(more))
    values.update(more)


def _dict_get(run: Run, values: dict[Any, Any], key: Any, default: Any = None) -> Any:
    weigh(run, key)
    return values.get(key, default)


METHODS: dict[type, dict[str, Callable[..., Any]]] = {
    str: {
        "capitalize": capitalize,
        "count": _text_count,
        "endswith": _text_endswith,
        "index": _text_index,
        "join": _text_join,
        "lower": lower,
        "replace": _text_replace,
        "split": _text_split,
        "startswith": _text_startswith,
        "strip": stripped,
        "title": _text_title,
        "upper": upper,
    },
    list: {"append": _list_append, "count": _list_count, "index": _list_index},
    tuple: {"count": _list_count, "index": _list_index},
    dict: {"get": _dict_get, "update": _dict_update},
}
METHOD_NAMES = frozenset[str]().union(*METHODS.values())


def call_method(run: Run, value: Any, name: str, arguments: list[Any]) -> Any:
    """`value.name(*arguments)` for the listed methods of texts, lists and objects."""
    if isinstance(value, Undefined):
        return value[name]  # raises UndefinedError, which names it
    method = METHODS.get(type(value), {}).get(name)
    if method is None:
        raise CannotRender(f"line {run.line}: {type(value).__name__} has no method .{name}() here")
    return method(run, value, *arguments)
