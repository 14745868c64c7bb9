"""Expressions of Jinja's tree as functions of a run: Node → Callable[[Run], value].

Building one is also checking it: what has no entry in the tables here is refused.
"""

import math
import re
from collections.abc import Callable
from inspect import signature
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.runtime import Undefined

from flan.tasks.jinja.filters import FILTERS, TESTS
from flan.tasks.jinja.methods import ENVIRONMENT_NAMES, FUNCTIONS, METHOD_NAMES, call_method
from flan.tasks.jinja.run import INT_LIMIT, CannotRender, Run, TemplateRefused
from flan.tasks.jinja.values import (
    ARITHMETIC,
    COMPARISONS,
    KEYS,
    checked,
    cut,
    get_attribute,
    get_item,
    join_texts,
    text_of,
)

RESERVED = frozenset({"self", "super", "caller", "varargs", "kwargs", "loop"})
"""Names that Jinja gives a meaning of its own."""
_TESTED = {"select": 0, "reject": 0, "selectattr": 1, "rejectattr": 1}
"""Filter → which of its arguments names a test."""
_UNPRINTABLE = re.compile("[\x00\ud800-\udfff]")

Expression = Callable[[Run], Any]


def expression(node: nodes.Node) -> Expression:
    """The function that works out `node`. Raises TemplateRefused naming the construct and its line."""
    build = _EXPRESSIONS.get(type(node))
    if build is None:
        refuse(node, f"{type(node).__name__} is not imported")
    return build(node)


def refuse(node: nodes.Node, what: str) -> NoReturn:
    """Raise TemplateRefused: `what`, and the line."""
    raise TemplateRefused(
        f"line {node.lineno}: {what}", hint="rewrite it with {slots}, or with the parts that are imported"
    )


def _constant(node: nodes.Const) -> Expression:
    value = node.value
    if type(value) is str and _UNPRINTABLE.search(value):
        refuse(node, "a text with a NUL or half of a surrogate pair")
    if type(value) is int and value >= INT_LIMIT:
        refuse(node, "a whole number of more than 64 bits")
    if type(value) is float and not math.isfinite(value):
        refuse(node, "a number too large for a float")
    return lambda _run: value


def _data(node: nodes.TemplateData) -> Expression:
    text = node.data
    return lambda _run: text


def _name(node: nodes.Name) -> Expression:
    name = node.name
    if name in RESERVED:
        refuse(node, f"{name!r} is not a value here")
    if name not in ENVIRONMENT_NAMES:
        return lambda run: run.lookup(name)

    def look_up(run: Run) -> Any:
        if not run.is_bound(name):
            raise CannotRender(f"line {run.line}: {name!r} is a function, not a value")
        return run.lookup(name)

    return look_up


def _attribute(node: nodes.Getattr) -> Expression:
    name = node.attr
    if name.startswith("__"):
        refuse(node, f"attribute {name!r}")
    is_loop = type(node.node) is nodes.Name and node.node.name == "loop"
    # `loop` is no value: nothing can keep it, or iterate over it, but its attributes are there.
    value = (lambda run: run.lookup("loop")) if is_loop else expression(node.node)
    return lambda run: get_attribute(run, value(run), name)


def _item(node: nodes.Getitem) -> Expression:
    value = expression(node.node)
    if type(node.arg) is nodes.Slice:
        ends = (node.arg.start, node.arg.stop, node.arg.step)
        start, stop, step = ((lambda _run: None) if end is None else expression(end) for end in ends)
        return lambda run: cut(run, value(run), slice(start(run), stop(run), step(run)))
    key = expression(node.arg)
    return lambda run: get_item(run, value(run), key(run))


def _list(node: nodes.List) -> Expression:
    items = [expression(item) for item in node.items]
    return lambda run: [item(run) for item in items]


def _tuple(node: nodes.Tuple) -> Expression:
    items = [expression(item) for item in node.items]
    return lambda run: tuple([item(run) for item in items])


def _dict(node: nodes.Dict) -> Expression:
    pairs = [(expression(pair.key), expression(pair.value)) for pair in node.items]

    def made(run: Run) -> dict[Any, Any]:
        items = [(key(run), value(run)) for key, value in pairs]
        if any(type(key) not in KEYS for key, _ in items):
            raise CannotRender(f"line {run.line}: a key of an object that is neither text nor number")
        return dict(items)

    return made


def _binary(node: nodes.BinExpr) -> Expression:
    left, right, work_out = expression(node.left), expression(node.right), ARITHMETIC[type(node).__name__]
    return lambda run: work_out(run, left(run), right(run))


def _and(node: nodes.And) -> Expression:
    left, right = expression(node.left), expression(node.right)
    return lambda run: left(run) and right(run)


def _or(node: nodes.Or) -> Expression:
    left, right = expression(node.left), expression(node.right)
    return lambda run: left(run) or right(run)


def _not(node: nodes.Not) -> Expression:
    value = expression(node.node)
    return lambda run: not value(run)


def _negative(node: nodes.Neg) -> Expression:
    value = expression(node.node)
    return lambda run: checked(run, -value(run))


def _positive(node: nodes.Pos) -> Expression:
    value = expression(node.node)
    return lambda run: +value(run)


def _concat(node: nodes.Concat) -> Expression:
    parts = [expression(part) for part in node.nodes]
    return lambda run: join_texts(run, "", [text_of(run, part(run)) for part in parts])


def _compare(node: nodes.Compare) -> Expression:
    first = expression(node.expr)
    rest = [(COMPARISONS[operand.op], expression(operand.expr)) for operand in node.ops]

    def compared(run: Run) -> bool:
        left = first(run)
        for holds, value in rest:
            right = value(run)
            if not holds(run, left, right):
                return False
            left = right
        return True

    return compared


def _either(node: nodes.CondExpr) -> Expression:
    test, one = expression(node.test), expression(node.expr1)
    other = (lambda _run: Undefined("no else")) if node.expr2 is None else expression(node.expr2)
    return lambda run: one(run) if test(run) else other(run)


def _filter(node: nodes.Filter) -> Expression:
    if node.name not in FILTERS or node.node is None:
        refuse(node, f"filter {node.name!r} is not imported")
    function, value = FILTERS[node.name], expression(node.node)
    args, kwargs = _arguments(node, f"filter {node.name!r}", function)
    at = _TESTED.get(node.name, len(node.args))
    if at < len(node.args):
        named = node.args[at]
        if not isinstance(named, nodes.Const) or named.value not in TESTS:
            refuse(node, f"filter {node.name!r} with a test that is none of {sorted(TESTS)}")
        _check_call(node, f"test {named.value!r}", TESTS[named.value], len(node.args) - at - 1, [])
    return lambda run: function(
        run, value(run), *[arg(run) for arg in args], **{key: arg(run) for key, arg in kwargs.items()}
    )


def _test(node: nodes.Test) -> Expression:
    if node.name not in TESTS:
        refuse(node, f"test {node.name!r} is not imported")
    function, value = TESTS[node.name], expression(node.node)
    args, _ = _arguments(node, f"test {node.name!r}", function)
    return lambda run: function(run, value(run), *[arg(run) for arg in args])


def _call(node: nodes.Call) -> Expression:
    called = node.node
    if isinstance(called, nodes.Getattr) and called.attr in METHOD_NAMES:
        name, value = called.attr, expression(called.node)
        args, _ = _arguments(node, f"method .{name}()", None)
        return lambda run: call_method(run, value(run), name, [arg(run) for arg in args])
    if isinstance(called, nodes.Name) and called.name in FUNCTIONS:
        function = FUNCTIONS[called.name]
        args, _ = _arguments(node, f"{called.name}()", None)
        return lambda run: function(run, *[arg(run) for arg in args])
    what = f".{called.attr}()" if isinstance(called, nodes.Getattr) else getattr(called, "name", "a value")
    refuse(node, f"a call of {what} is not imported")


def _arguments(
    node: nodes.Call | nodes.Filter | nodes.Test, what: str, function: Callable[..., Any] | None
) -> tuple[list[Expression], dict[str, Expression]]:
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        refuse(node, f"{what} with * or ** arguments")
    if function is None and node.kwargs:
        refuse(node, f"{what} with named arguments")
    if function is not None:
        _check_call(node, what, function, len(node.args), [str(pair.key) for pair in node.kwargs])
    named = {str(pair.key): expression(pair.value) for pair in node.kwargs}
    return [expression(arg) for arg in node.args], named


def _check_call(
    node: nodes.Node, what: str, function: Callable[..., Any], num_args: int, names: list[str]
) -> None:
    try:
        signature(function).bind(None, None, *range(num_args), **dict.fromkeys(names))
    except TypeError as error:
        refuse(node, f"{what}: {error}")


_EXPRESSIONS: dict[type[nodes.Node], Callable[[Any], Expression]] = {
    nodes.And: _and,
    nodes.Call: _call,
    nodes.Compare: _compare,
    nodes.Concat: _concat,
    nodes.CondExpr: _either,
    nodes.Const: _constant,
    nodes.Dict: _dict,
    nodes.Filter: _filter,
    nodes.Getattr: _attribute,
    nodes.Getitem: _item,
    nodes.List: _list,
    nodes.Name: _name,
    nodes.Neg: _negative,
    nodes.Not: _not,
    nodes.Or: _or,
    nodes.Pos: _positive,
    nodes.TemplateData: _data,
    nodes.Test: _test,
    nodes.Tuple: _tuple,
    **dict.fromkeys(
        (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow), _binary
    ),
}
