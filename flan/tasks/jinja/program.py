"""A bounded interpreter for the part of Jinja that promptsource's templates use.

Jinja's own parser reads the source; the tree is then turned, node by node, into functions of ours over plain
JSON. What is not on the lists here and in its sister modules is refused when the template is read, by name and
line. Nothing is compiled to Python and no attribute of an object is read. Why not Jinja itself, sandboxed: 29
bytes of it took 969 MB, 78 never ended.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Environment, nodes
from jinja2.exceptions import TemplateSyntaxError, UndefinedError
from jinja2.runtime import LoopContext, Undefined

from flan.tasks.jinja.expressions import RESERVED, Expression, expression, refuse
from flan.tasks.jinja.run import CannotRender, Run, TemplateRefused, paid
from flan.tasks.jinja.values import items_of, text_of

MAX_SOURCE_CHARS = 65_536
MAX_TOKENS = 8_000
MAX_BRACKETS = 24
MAX_DEPTH = 64
"""Of brackets and blocks in the source, and of nodes in the tree."""
PROGRAMS_KEPT = 4_096
"""Templates whose parsed form is remembered."""
Statement = Callable[[Run], None]


@dataclass(frozen=True, slots=True)
class Program:
    """A template that was read, ready to render. `size` is the number of its nodes."""

    body: Statement
    size: int

    def render(
        self,
        variables: Mapping[str, Any],
        draw: Callable[[int], int],
        on_text: Callable[[str], str] = str,
    ) -> str:
        """The text for `variables`, plain JSON; they are not changed.

        `draw(n)`, from 0 to n - 1, decides every random choice, in the order in which they are met. `on_text`
        is applied to each text of `variables` before the template sees it.
        Raises CannotRender (with the line) and TemplateTooCostly.
        """
        run = Run(variables, draw, on_text)
        try:
            run.spend(self.size)
            self.body(run)
        except UndefinedError as error:
            raise CannotRender(f"line {run.line}: {error.message}") from error
        except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError) as error:
            raise CannotRender(f"line {run.line}: {error}") from error
        return run.output()


@lru_cache(PROGRAMS_KEPT)
def read_jinja(source: str) -> Program:
    """The program that `source` is. Raises TemplateRefused naming the construct and its line.

    Settings are those of promptsource's environment: no trimming of blocks, a single line end at the very
    end is dropped, Undefined prints as nothing.
    """
    if len(source) > MAX_SOURCE_CHARS:
        raise TemplateRefused(f"a template of {len(source)} characters (limit {MAX_SOURCE_CHARS})")
    try:
        _check_tokens(source)
        tree = _ENVIRONMENT.parse(source)
    except TemplateSyntaxError as error:
        raise TemplateRefused(f"line {error.lineno}: not Jinja: {error.message}") from error
    except RecursionError as error:
        raise TemplateRefused(f"nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:  # a whole number of thousands of digits
        raise TemplateRefused(f"not Jinja: {error}") from error
    _check_depth(tree)
    return Program(_block(tree.body), _size(tree))


# Nothing is rendered with it, so nothing could be escaped.
_ENVIRONMENT = Environment()  # noqa: S701


def _check_tokens(source: str) -> None:
    # Before the parser sees them: a token costs it 20 µs, a bracket a dozen frames of the interpreter's stack.
    depth = 0
    for number, (line, kind, text) in enumerate(_ENVIRONMENT.lex(source)):
        if kind == "operator":
            depth += (text in "([{") - (text in ")]}")
        if depth > MAX_BRACKETS:
            raise TemplateRefused(f"line {line}: more than {MAX_BRACKETS} brackets within each other")
        if number == MAX_TOKENS:
            raise TemplateRefused(f"line {line}: more than {MAX_TOKENS} words and signs of Jinja")


def _check_depth(tree: nodes.Template) -> None:
    level: list[nodes.Node] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in node.iter_child_nodes()]
    if level:
        refuse(level[0], f"nested deeper than {MAX_DEPTH} levels")


def _size(*roots: nodes.Node | None) -> int:
    return sum(1 + sum(1 for _ in root.find_all(nodes.Node)) for root in roots if root is not None)


def _block(statements: list[nodes.Node]) -> Statement:
    built = [_statement(node) for node in statements]

    def run_block(run: Run) -> None:
        for statement in built:
            statement(run)

    return run_block


def _statement(node: nodes.Node) -> Statement:
    build = _STATEMENTS.get(type(node))
    if build is None:
        refuse(node, f"{type(node).__name__} is not imported")
    return build(node)


def _output(node: nodes.Output) -> Statement:
    parts = [(child.lineno, expression(child)) for child in node.nodes]

    def run_output(run: Run) -> None:
        for line, value in parts:
            run.line = line
            run.emit(text_of(run, value(run)))

    return run_output


def _if(node: nodes.If) -> Statement:
    branches = [(expression(part.test), _block(part.body)) for part in (node, *node.elif_)]
    otherwise = _block(node.else_)

    def run_if(run: Run) -> None:
        run.line = node.lineno
        for test, body in branches:
            if test(run):
                return body(run)
        return otherwise(run)

    return run_if


def _assign(node: nodes.Assign) -> Statement:
    bind, value = _target(node.target), expression(node.node)

    def run_assign(run: Run) -> None:
        run.line = node.lineno
        bind(run, value(run))

    return run_assign


def _for(node: nodes.For) -> Statement:
    if node.recursive:
        refuse(node, "a recursive loop is not imported")
    bind, values, body, otherwise = (
        _target(node.target),
        expression(node.iter),
        _block(node.body),
        _block(node.else_),
    )
    test = None if node.test is None else expression(node.test)
    round_cost, test_cost = 1 + _size(*node.body), 1 + _size(node.test)

    def kept(run: Run, items: Any, condition: Expression) -> Iterator[Any]:
        outside = list(run.scopes)
        for item in paid(run, items, test_cost):
            # Its own scope: asked from within the body (loop.last), it must not see what the body has set.
            inside, run.scopes = run.scopes, [*outside, {}]
            bind(run, item)
            is_kept = condition(run)
            run.scopes = inside
            if is_kept:
                yield item

    def run_for(run: Run) -> None:
        run.line = node.lineno
        items = values(run)
        loop = LoopContext(items if test is None else kept(run, items, test), Undefined)
        is_empty = True
        for item, _ in loop:
            is_empty = False
            run.spend(round_cost)
            run.scopes.append({"loop": loop})
            bind(run, item)
            body(run)
            run.scopes.pop()
        if is_empty:
            otherwise(run)

    return run_for


def _target(node: nodes.Node) -> Callable[[Run, Any], None]:
    if type(node) is nodes.Name:
        name = node.name
        if name in RESERVED:
            refuse(node, f"{name!r} cannot be set")

        def bind_name(run: Run, value: Any) -> None:
            run.scopes[-1][name] = value

        return bind_name
    if type(node) is not nodes.Tuple:
        refuse(node, f"setting {type(node).__name__} is not imported")
    parts = [_target(item) for item in node.items]

    def bind_parts(run: Run, value: Any) -> None:
        items = items_of(run, value)
        if len(items) != len(parts):
            raise ValueError(f"{len(items)} values for {len(parts)} names")
        for part, item in zip(parts, items, strict=True):
            part(run, item)

    return bind_parts


_STATEMENTS: dict[type[nodes.Node], Callable[[Any], Statement]] = {
    nodes.Assign: _assign,
    nodes.For: _for,
    nodes.If: _if,
    nodes.Output: _output,
}
