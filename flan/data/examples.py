"""Number of a draw → example: which row, through which template, and what becomes of it as text and as ids.

The one way from a place of the stream to what is trained on: the stream itself, the tokenizer of a preset and
the preview of a mixture all take it. What draw i is depends on the spec, its seed and i alone.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from flan.card import Contract
from flan.data.mixture import Draw, mixer_of, usable_templates
from flan.data.rows import Rows
from flan.data.tokens import Fitted, fit
from flan.spec import TuneSpec
from flan.tasks.options import Layout, layout_of
from flan.tasks.render import Instance, Rendered, instance, render
from flan.tasks.task import AnyTemplate, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Examples:
    """The examples of a tune spec, by the number of their draw. `rows` holds the training rows of each task.

    Not to be shared between threads: the orders in use are kept, though no draw depends on them.
    """

    def __init__(self, spec: TuneSpec, tasks: Mapping[str, Task], rows: Mapping[str, Rows]) -> None:
        self._spec, self._tasks, self._rows = spec, tasks, rows
        self._mixer = mixer_of(spec, tasks, {name: len(rows[name]) for name in tasks})
        self._templates = {name: usable_templates(task, spec.mixture) for name, task in tasks.items()}

    def draw(self, number: int) -> Draw:
        """Which task, row and template draw `number` is."""
        return self._mixer.draw(number)

    def rendered(self, number: int) -> Rendered:
        """Draw `number` as text, at its full length. Raises RowError, UnreadableRow."""
        _, row, template, layout = self._parts(number)
        return render(row, template, layout)

    def fitted(self, number: int, tokenizer: "PreTrainedTokenizerFast", contract: Contract) -> Fitted:
        """Draw `number` as ids, within the spec's lengths.

        Raises InputTooLong, TargetTooLong, RowError, UnreadableRow: such a draw cannot be used.
        """
        task, row, template, layout = self._parts(number)
        return fit(
            task,
            row,
            template,
            tokenizer,
            contract,
            self._spec.input_length,
            target_length=self._spec.target_length,
            layout=layout,
        )

    def _parts(self, number: int) -> tuple[Task, Instance, AnyTemplate, Layout | None]:
        draw = self._mixer.draw(number)
        task = self._tasks[draw.task]
        row = instance(task, self._rows[draw.task][draw.row])
        key = (self._spec.seed, draw.task, draw.row, number)
        layout = layout_of(self._spec.mixture.options, len(row.choices), *key)
        return task, row, task.templates[self._templates[draw.task][draw.template]], layout
