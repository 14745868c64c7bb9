"""Solved rows for the questions of an evaluation: chosen for each row, fitted to each prompt."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from flan.data.rows import Rows, UnreadableRow
from flan.data.tokens import Fitted, Ids, encode_prompt, encode_target
from flan.model.load import Model
from flan.spec import EvaluateSpec, FewShot
from flan.tasks.exemplars import balanced_candidates, candidates, num_that_fit, with_exemplars
from flan.tasks.options import Layout, layout_of
from flan.tasks.render import Instance, Rendered, instance, render
from flan.tasks.task import AnyTemplate, Task
from flan.tasks.template import RowError


class Prompt(NamedTuple):
    """A question as it is put to the model."""

    text: str
    ids: Ids
    num_exemplars: int


class Shots:
    """The solved rows of one task. `rows` are those they are drawn from."""

    def __init__(self, spec: EvaluateSpec, form: FewShot, task: Task, rows: Rows, model: Model) -> None:
        self._spec, self._form, self._task, self._rows, self._model = spec, form, task, rows, model

    def at(self, number: int) -> "Solved":
        """The solved rows of question row `number`: the same for every template and model."""
        key = (self._spec.seed, "exemplars", self._task.name, number)
        # The row that is asked is among the candidates only where both come from one split.
        exclude = number if self._form.split == self._spec.split else None
        if self._form.balanced and self._task.answer is not None and self._task.answer.has_choices:
            order = balanced_candidates(self._rows_by_answer, *key, exclude=exclude)
        else:
            order = candidates(len(self._rows), *key, exclude=exclude)
        found: list[tuple[Instance, Layout | None]] = []
        while len(found) < self._form.shots and (row := next(order, None)) is not None:
            if (solved := self._read(row)) is not None:
                layout_key = (self._spec.seed, self._task.name, "exemplar", row)
                found.append((solved, layout_of(self._spec.options, len(solved.choices), *layout_key)))
        return Solved(self._form, self._model, found)

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


class Solved:
    """Solved rows for one question, each with the layout of its options."""

    def __init__(self, form: FewShot, model: Model, rows: Sequence[tuple[Instance, Layout | None]]) -> None:
        self._form, self._model, self._rows = form, model, rows

    def before(self, fitted: Fitted, template: AnyTemplate, input_length: int) -> Prompt:
        """The question behind as many of the first solved rows as fit, each asked through its template."""
        solved = list(self._through(template))
        lengths = [len(self._prompt_ids(one.input)) + self._target_length(one.target) for one in solved]
        count = num_that_fit(lengths, len(fitted.tokens.input_ids), min(self._form.max_tokens, input_length))
        while count:
            text = with_exemplars(fitted.rendered, solved[:count], self._form).input
            ids = self._prompt_ids(text)
            # Separators have tokens too, so what fits by the sum of the parts may still be too long.
            if len(ids) <= input_length:
                return Prompt(text, ids, count)
            count -= 1
        return Prompt(fitted.rendered.input, fitted.tokens.input_ids, 0)

    def _through(self, template: AnyTemplate) -> Iterator[Rendered]:
        for row, layout in self._rows:
            try:
                yield render(row, template, layout)
            except RowError:
                continue  # a template of promptsource passes over it

    def _prompt_ids(self, text: str) -> Ids:
        return encode_prompt(self._model.tokenizer, self._model.card.contract, text)

    def _target_length(self, text: str) -> int:
        return len(encode_target(self._model.tokenizer, self._model.card.contract, text))
