"""Solved rows for questions: chosen for each row, fitted to each prompt; for evaluation and for training."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import NamedTuple, Protocol

from flan.card import Contract
from flan.data.rows import Rows, UnreadableRow
from flan.data.tokens import AnyTokenizer, Fitted, Ids, encode_prompt, encode_target
from flan.spec import FewShot, OptionsPolicy
from flan.tasks.exemplars import balanced_candidates, candidates, num_that_fit, with_exemplars
from flan.tasks.options import Layout, layout_of
from flan.tasks.render import Instance, Rendered, instance, render
from flan.tasks.task import AnyTemplate, Task
from flan.tasks.template import RowError


class Prompt(NamedTuple):
    """A question as it is put to the model."""

    text: str
    ids: Ids
    exemplars: tuple[int, ...]
    """Numbers of the solved rows before it, in their order."""


class Asking(Protocol):
    """What of an evaluation decides which solved rows are drawn, and how they look."""

    @property
    def seed(self) -> int:
        """Of everything that is drawn."""

    @property
    def split(self) -> str | None:
        """Which rows are asked; None = rows of no split."""

    @property
    def options(self) -> OptionsPolicy:
        """How answer choices are shown."""


class SolvedRow(NamedTuple):
    """A row whose answer may be shown."""

    number: int
    row: Instance
    layout: Layout | None


class Shots:
    """The solved rows of one task. `rows` are those they are drawn from."""

    def __init__(self, spec: Asking, form: FewShot, task: Task, rows: Rows) -> None:
        self._spec, self._form, self._task, self._rows = spec, form, task, rows

    def at(self, number: int, query: Instance | None = None) -> "Solved":
        """The solved rows of question row `number`: the same for every template and model.

        `query` is the row itself where it is of no split: a row that equals it is passed over.
        """
        key = (self._spec.seed, "exemplars", self._task.name, number)
        # The row that is asked is among the candidates only where both come from one split.
        exclude = number if self._form.split == self._spec.split else None
        if self._form.balanced and self._task.answer is not None and self._task.answer.has_choices:
            order = balanced_candidates(self._rows_by_answer, *key, exclude=exclude)
        else:
            order = candidates(len(self._rows), *key, exclude=exclude)
        found: list[SolvedRow] = []
        while len(found) < self._form.shots and (row := next(order, None)) is not None:
            if (solved := self._read(row)) is not None and solved != query:
                found.append(solved_row(self._spec, self._task, row, solved))
        return Solved(self._form, found)

    @cached_property
    def _rows_by_answer(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for number in range(len(self._rows)):
            if (solved := self._read(number)) is not None:
                found[solved.answer].append(number)
        return found

    def _read(self, number: int) -> Instance | None:
        try:
            return instance(self._task, self._rows[number])
        except (RowError, UnreadableRow):
            return None


def solved_row(spec: Asking, task: Task, number: int, row: Instance) -> SolvedRow:
    """Row `number` of the solved ones, its options laid out as they are wherever it stands before a question."""
    key = (spec.seed, task.name, "exemplar", number)
    return SolvedRow(number, row, layout_of(spec.options, len(row.choices), *key))


class Solved:
    """Solved rows for one question."""

    def __init__(self, form: FewShot, rows: Sequence[SolvedRow]) -> None:
        self.form, self._rows = form, rows

    @property
    def numbers(self) -> tuple[int, ...]:
        """Which rows they are, in their order."""
        return tuple(row.number for row in self._rows)

    def before(
        self,
        fitted: Fitted,
        template: AnyTemplate,
        input_length: int,
        tokenizer: AnyTokenizer,
        contract: Contract,
    ) -> Prompt:
        """The question behind as many of the first solved rows as fit, each asked through its template."""
        solved = self.through(template)
        lengths = [
            len(encode_prompt(tokenizer, contract, one.input))
            + len(encode_target(tokenizer, contract, one.target))
            for one in solved.values()
        ]
        count = num_that_fit(lengths, len(fitted.tokens.input_ids), min(self.form.max_tokens, input_length))
        while count:
            text = with_exemplars(fitted.rendered, list(solved.values())[:count], self.form).input
            ids = encode_prompt(tokenizer, contract, text)
            # Separators have tokens too, so what fits by the sum of the parts may still be too long.
            if len(ids) <= input_length:
                return Prompt(text, ids, tuple(solved)[:count])
            count -= 1
        return Prompt(fitted.rendered.input, fitted.tokens.input_ids, ())

    def through(self, template: AnyTemplate) -> dict[int, Rendered]:
        """Number → the row through `template`, in order, for the rows that it does not pass over."""
        found = {}
        for number, row, layout in self._rows:
            with suppress(RowError):  # a template of promptsource passes over it
                found[number] = render(row, template, layout)
        return found
