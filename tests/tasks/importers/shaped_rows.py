"""JSON rows of the shape that templates ask for: made from how their trees use each name."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from jinja2 import Environment, nodes

_PARSER = Environment()
_ITERATING = {
    "join",
    "list",
    "map",
    "select",
    "reject",
    "selectattr",
    "rejectattr",
    "choice",
    "random",
    "last",
}
_WORDS = [
    "the",
    "river",
    "a",
    "question",
    "Who?",
    "12%",
    "{{x}}",
    "tréma",
    "日本",
    "(b)",
    "it's",
    "\n",
    "Yes",
    "{%",
]


@dataclass
class Shape:
    """How a value is used: with keys, with items (indexed or iterated), or as it is."""

    keys: dict[str, "Shape"] = field(default_factory=dict)
    item: "Shape | None" = None
    is_iterated: bool = False
    constants: list[Any] = field(default_factory=list)

    def key(self, name: str) -> "Shape":
        return self.keys.setdefault(name, Shape())

    def items(self) -> "Shape":
        self.item = self.item or Shape()
        return self.item


def shapes(sources: Iterable[str]) -> Shape:
    """The shape of a row of templates: their names as keys."""
    row = Shape()
    for source in sources:
        _Reader(row).read(_PARSER.parse(source))
    for name in ("range", "zip", "answer_choices", "loop"):
        row.keys.pop(name, None)
    return row


class _Reader:
    def __init__(self, row: Shape) -> None:
        self.names: dict[str, Shape] = {}
        self.row = row

    def read(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.For):
            self._bind(node.target, self._shape(node.iter))
        elif isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name):
            self.names[node.target.name] = self._shape(node.node) or Shape()
        elif isinstance(node, nodes.Filter) and node.name in _ITERATING and node.node is not None:
            self._iterate(node)
        elif isinstance(node, nodes.Compare):
            self._compare(node)
        elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
            self._method(node)
        elif isinstance(node, nodes.Expr):
            self._shape(node)
        for child in node.iter_child_nodes():
            is_method = isinstance(node, nodes.Call) and child is node.node
            self.read(child.node if is_method and isinstance(child, nodes.Getattr) else child)

    def _bind(self, target: nodes.Node, values: Shape | None) -> None:
        if isinstance(target, nodes.Name):
            if values is not None:
                values.is_iterated = True
            self.names[target.name] = values.items() if values is not None else Shape()
        else:
            for name in target.find_all(nodes.Name):
                self.names[name.name] = Shape()

    def _iterate(self, node: nodes.Filter) -> None:
        values = self._shape(node.node)
        if values is None:
            return
        values.is_iterated = True
        for pair in node.kwargs:
            if pair.key == "attribute":
                values.items().key(pair.value.value)
        if node.name == "selectattr":
            values.items().key(node.args[0].value)
        values.items()

    def _compare(self, node: nodes.Compare) -> None:
        sides = [node.expr, *(operand.expr for operand in node.ops)]
        found = [shape for side in sides if (shape := self._shape(side)) is not None]
        for shape in found:
            shape.constants += [side.value for side in sides if isinstance(side, nodes.Const)]

    def _method(self, node: nodes.Call) -> None:
        called = node.node
        if called.attr == "join":
            for arg in node.args:
                values = self._shape(arg)
                if values is not None:
                    values.is_iterated = True
                    values.items()
        values = self._shape(called.node)
        if values is None:
            return
        if called.attr == "index":
            values.is_iterated = True
            values.items()
        elif called.attr == "split":
            values.constants += [arg.value for arg in node.args if isinstance(arg, nodes.Const)]

    def _shape(self, node: nodes.Node | None) -> Shape | None:
        """The part of the row that `node` stands for; None where it is made by the template."""
        if isinstance(node, nodes.Name):
            return self.names[node.name] if node.name in self.names else self.row.key(node.name)
        if isinstance(node, nodes.Getattr):
            values = self._shape(node.node)
            return values and values.key(node.attr)
        if isinstance(node, nodes.Getitem):
            values = self._shape(node.node)
            # Part of a text that is split is compared with what the text holds.
            if values is None or isinstance(node.arg, nodes.Slice) or isinstance(node.node, nodes.Call):
                return values
            if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
                return values.key(node.arg.value)
            return values.items()
        if (
            isinstance(node, nodes.Call)
            and isinstance(node.node, nodes.Getattr)
            and node.node.attr == "split"
        ):
            return self._shape(node.node.node)
        if isinstance(node, nodes.Filter) and node.name in ("choice", "random", "last", "first"):
            values = self._shape(node.node)
            return values and values.items()
        return None


def make_row(row: Shape, random: Random) -> dict[str, Any]:
    """A row; half of them draw all texts from four letters, so that answers are found among choices."""
    maker = _Maker(random, random.random() < 0.5, random.choice([int, str, int, str, float]))
    return {name: maker.value(shape, 0) for name, shape in row.keys.items()}


@dataclass
class _Maker:
    random: Random
    has_letters: bool
    labels: type

    def value(self, shape: Shape, depth: int) -> Any:
        is_list = shape.item is not None and (shape.is_iterated or bool(shape.keys) or self._chance(0.7))
        if is_list and not (shape.keys and depth == 0 and self._chance(0.5)):
            return self._list(shape, depth)
        if shape.keys:
            return {name: self.value(part, depth + 1) for name, part in shape.keys.items()}
        return self._leaf(shape, depth)

    def _list(self, shape: Shape, depth: int) -> list[Any]:
        if self.has_letters and not shape.keys and not (shape.item and (shape.item.keys or shape.item.item)):
            return list("ABCD")
        part = shape.item if not shape.keys else Shape(keys=shape.keys)
        return [self.value(part or Shape(), depth + 1) for _ in range(self.random.choice([0, 2, 4, 5]))]

    def _leaf(self, shape: Shape, depth: int) -> Any:
        if shape.constants and self._chance(0.6):
            constant = self.random.choice(shape.constants)
            texts = sorted({each for each in shape.constants if isinstance(each, str)})
            if self._chance(0.4):
                return "".join(self.random.sample(texts, min(3, len(texts))))
            return f"{self._text(3)}{constant}{self._text(9)}" if self._chance(0.3) else constant
        if self._chance(0.25):
            return self.random.choice([0, 1, 2, 3, "0", "2", 0.25, True, False, None])
        if self.has_letters and self._chance(0.7):
            return self.random.choice("ABCD")
        if self._chance(0.2):
            return self.labels(self.random.randrange(4))
        if depth == 0 and self._chance(0.05):
            return f"{self._text(4)} ||| {self._text(4)}"
        return self._text(900 if self._chance(0.05) else self.random.randrange(12))

    def _text(self, num_words: int) -> str:
        return " ".join(self.random.choice(_WORDS) for _ in range(num_words))

    def _chance(self, share: float) -> bool:
        return self.random.random() < share
