"""One rendering of a Jinja template: what it may still spend, and what its names mean.

Each operation pays for its work *before* doing it, in steps, so no template can take time or memory that was
not counted. One step is one node of the template, one item, or 64 characters.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jinja2.runtime import Undefined

from flan.errors import FlanError
from flan.tasks.template import RowError

MAX_STEPS = 500_000
MAX_TEXT_CHARS = 1_000_000
"""Of any one text, the output among them."""
MAX_NESTING = 32
"""Of lists and objects in a row."""
CHARS_PER_STEP = 64
INT_LIMIT = 2**63
SCALARS = (int, float, bool, type(None))


class TemplateRefused(FlanError):
    """A template is not Jinja, or uses a part of it that is not imported."""

    code, blame = "template_refused", "user"


class TemplateTooCostly(RowError):
    """A template wanted more steps or characters for a row than a rendering may take."""

    code = "template_too_costly"


class CannotRender(RowError):
    """A template cannot be rendered with this row, as Jinja could not either, or would print an address."""

    code = "row_unrenderable"


class Run:
    """One rendering: what is left to spend, the scopes of names, and where in the template it is."""

    __slots__ = ("_num_chars", "_parts", "_variables", "draw", "line", "on_text", "scopes", "steps_left")

    def __init__(
        self, variables: Mapping[str, Any], draw: Callable[[int], int], on_text: Callable[[str], str]
    ) -> None:
        self._variables = variables
        self.draw = draw
        self.on_text = on_text
        self.scopes: list[dict[str, Any]] = [{}]
        self._parts: list[str] = []
        self._num_chars = 0
        self.steps_left = MAX_STEPS
        self.line = 1

    def spend(self, steps: int) -> None:
        """Pay for work about to be done. Raises TemplateTooCostly when nothing is left."""
        self.steps_left -= steps
        if self.steps_left < 0:
            raise TemplateTooCostly(
                f"line {self.line}: more than {MAX_STEPS} steps", hint="a template loops or copies too much"
            )

    def spend_chars(self, chars: int) -> None:
        """Pay for a text of so many characters. Raises TemplateTooCostly when it is too long by itself."""
        if chars > MAX_TEXT_CHARS:
            raise TemplateTooCostly(
                f"line {self.line}: a text of {chars} characters (limit {MAX_TEXT_CHARS})",
                hint="cut the field, or what the template does to it",
            )
        self.spend(chars // CHARS_PER_STEP)

    def emit(self, text: str) -> None:
        """Add to the output, which is one text of its own."""
        self._num_chars += len(text)
        if self._num_chars > MAX_TEXT_CHARS:
            self.spend_chars(self._num_chars)
        self._parts.append(text)

    def output(self) -> str:
        """All that was emitted."""
        return "".join(self._parts)

    def is_bound(self, name: str) -> bool:
        """Whether the template or the row gives `name` a value."""
        return name in self._variables or any(name in scope for scope in self.scopes)

    def lookup(self, name: str) -> Any:
        """The value of `name`: innermost scope first, then the row; Undefined where there is none."""
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        if name not in self._variables:
            return Undefined(name=name)
        # Copied once: a template may change its lists and dicts, never the caller's.
        value = self.scopes[0][name] = self._copy(self._variables[name], name, 0)
        return value

    def _copy(self, value: Any, name: str, depth: int) -> Any:
        self.spend(1)
        if type(value) is str:
            self.spend_chars(len(value))
            text = self.on_text(value)
            self.spend_chars(len(text))
            return text
        if type(value) in SCALARS:
            return check_int(self, value) if type(value) is int else value
        if depth >= MAX_NESTING:
            raise CannotRender(f"column {name!r} is nested deeper than {MAX_NESTING} levels", column=name)
        if type(value) in (list, tuple):
            return [self._copy(item, name, depth + 1) for item in value]
        if type(value) is dict and all(type(key) is str for key in value):
            return {key: self._copy(item, name, depth + 1) for key, item in value.items()}
        raise CannotRender(
            f"column {name!r} holds {type(value).__name__}, which is not JSON",
            hint="rows are text, numbers, true, false, null, lists and objects with text keys",
            column=name,
        )


def check_int(run: Run, value: int) -> int:
    """`value`, if it has at most 64 bits: sums of larger ones have no bound."""
    if not -INT_LIMIT <= value < INT_LIMIT:
        raise TemplateTooCostly(f"line {run.line}: a whole number of more than 64 bits")
    return value


def paid(run: Run, values: Iterable[Any], steps: int = 1) -> Iterator[Any]:
    """`values`, each paid for with `steps` as it comes."""
    for value in values:
        run.spend(steps)
        yield value
