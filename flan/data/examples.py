"""Number of a draw → example: which row, through which template, and what becomes of it as text and as ids.

The one way from a place of the stream to what is trained on: the stream itself, the tokenizer of a preset and
the preview of a mixture all take it. What draw i is depends on the spec, its seed and i alone.
"""

import hashlib
from collections.abc import Mapping, Sequence

from flan.card import Contract
from flan.data.mixture import Draw, mixer_of, usable_templates
from flan.data.rows import Rows, UnreadableRow
from flan.data.tokens import AnyTokenizer, Fitted, Question, fit_all
from flan.errors import FlanError
from flan.spec import TuneSpec, canonical_json
from flan.tasks.options import layout_of
from flan.tasks.render import Rendered, instance, render
from flan.tasks.task import Task
from flan.tasks.template import RowError

DIGESTED_DRAWS = 10_000
"""How many draws the digest of a stream is of."""


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
        _, row, template, layout = self._question(number)
        return render(row, template, layout)

    def fitted(
        self, numbers: Sequence[int], tokenizer: AnyTokenizer, contract: Contract
    ) -> list[Fitted | FlanError]:
        """Draws as ids, within the spec's lengths, or why one cannot be used. Many at a time are quicker than one.

        Why: InputTooLong, TargetTooLong, RowError, UnreadableRow.
        """
        questions = [self._question_or_fault(number) for number in numbers]
        sound = [each for each in questions if isinstance(each, Question)]
        input_length, target_length = self._spec.input_length, self._spec.target_length
        found = iter(fit_all(sound, tokenizer, contract, input_length, target_length=target_length))
        return [next(found) if isinstance(each, Question) else each for each in questions]

    def digest(self) -> str:
        """sha256 over the first DIGESTED_DRAWS draws: streams that differ in it are different streams."""
        draws = [list(self._mixer.draw(number)) for number in range(DIGESTED_DRAWS)]
        return hashlib.sha256(canonical_json(draws).encode()).hexdigest()

    def _question_or_fault(self, number: int) -> Question | FlanError:
        try:
            return self._question(number)
        except (RowError, UnreadableRow) as fault:
            return fault

    def _question(self, number: int) -> Question:
        draw = self._mixer.draw(number)
        task = self._tasks[draw.task]
        row = instance(task, self._rows[draw.task][draw.row])
        key = (self._spec.seed, draw.task, draw.row, number)
        layout = layout_of(self._spec.mixture.options, len(row.choices), *key)
        return Question(task, row, task.templates[self._templates[draw.task][draw.template]], layout)
