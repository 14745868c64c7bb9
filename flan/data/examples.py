"""Number of a draw → example: which row, through which template, behind which solved rows; as text and as ids.

The one way from a place of the stream to what is trained on: the stream itself, the tokenizer of a preset and
the preview of a mixture all take it. What draw i is depends on the spec, its seed and i alone.
"""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain, islice

from flan.card import Contract
from flan.data.continuation import continue_all
from flan.data.corpus import Piece
from flan.data.mixture import Draw, Member, leaf_tasks, mixer_of, part_name, usable_templates
from flan.data.rows import Rows, UnreadableRow
from flan.data.shots import Solved, SolvedRow
from flan.data.tokens import AnyTokenizer, Fitted, Question, Tokens, fit_all
from flan.errors import FlanError
from flan.spec import TuneSpec, canonical_json
from flan.tasks.options import Layout, layout_of
from flan.tasks.promptsource import PromptsourceTemplate
from flan.tasks.render import Instance, PassedOver, Rendered, instance, render
from flan.tasks.task import Task
from flan.tasks.template import RowError

DIGESTED_DRAWS = 10_000
"""How many draws the digest of a stream is of."""
MAX_TRIES = 256
"""Rows looked at for a template that passes over others. One that asks about 1% of the rows finds one in 92% of its
draws."""
MAX_TRIES_PER_SHOT = 4
"""Rows looked at for each solved row that is wanted: broken ones are passed over, and never all are read."""


class Examples:
    """The examples of a tune spec, by the number of their draw. `rows` holds the training rows of each task.

    Not to be shared between threads: the orders in use are kept, though no draw depends on them.
    """

    def __init__(self, spec: TuneSpec, tasks: Mapping[str, Task], rows: Mapping[str, Rows]) -> None:
        self._spec, self._rows, self._leaves = spec, rows, spec.mixture.leaves
        self._mixer = mixer_of(spec, tasks, {name: len(rows[name]) for name in tasks})
        self._tasks = leaf_tasks(spec, tasks)
        self._parts = [part_name(spec.mixture, leaf) for leaf in range(len(self._leaves))]
        self._templates = [
            {name: usable_templates(task, leaf) for name, task in among.items()}
            for leaf, among in zip(self._leaves, self._tasks, strict=True)
        ]

    def rates(self) -> dict[Member, float]:
        """Task in a leaf → probability that an example is of it; sums to 1."""
        return self._mixer.rates()

    def template_rates(self, member: Member) -> list[float]:
        """For each used template of a task in a leaf, its part of the task's examples; they sum to 1."""
        return self._mixer.template_rates(member)

    def part(self, member: Member) -> str | None:
        """What the part of a task is called; None where the mixture has but one."""
        return self._parts[member[0]]

    def key(self, member: Member) -> str:
        """What a task in a leaf is counted as: its name, behind that of its part where there are several."""
        part = self._parts[member[0]]
        return member[1] if part is None else f"{part}/{member[1]}"

    def draw(self, number: int) -> Draw:
        """Which task, row, template and form draw `number` is, before its row is settled."""
        return self._mixer.draw(number)

    def asked(self, number: int) -> Draw:
        """Draw `number` as it is asked: see `settled`."""
        return self.settled(self._mixer.draw(number), number)

    def settled(self, draw: Draw, number: int) -> Draw:
        """`draw` with another row of its task where its template passes over its own; `number` decides which.

        So a template that asks about some rows alone comes as often as any other, as in T0, where it is a task of
        its own. The first row that it asks about in a random order is taken; where none of MAX_TRIES is, or a row is
        broken, the draw stays as it is, and is counted as it ends.
        """
        template = self._tasks[draw.leaf][draw.task].templates[self.template(draw)]
        if not (isinstance(template, PromptsourceTemplate) and template.is_conditional):
            return draw
        for row in chain([draw.row], islice(self._mixer.candidates(draw, number), MAX_TRIES)):
            try:
                render(instance(self._tasks[draw.leaf][draw.task], self._rows[draw.task][row]), template)
                return draw._replace(row=row)
            except PassedOver:
                continue
            except (RowError, UnreadableRow):
                if row == draw.row:
                    return draw
        return draw

    def template(self, draw: Draw) -> int:
        """Which of its task's templates a draw is asked through."""
        return self._templates[draw.leaf][draw.task][draw.template]

    def draw_of(self, member: Member, count: int) -> Draw:
        """Draw number `count` among those of one task in a leaf."""
        return self._mixer.draw_of(member, count)

    def rendered(self, number: int) -> Rendered:
        """The question of draw `number` as text, at its full length, without solved rows.

        Raises RowError, UnreadableRow.
        """
        _, row, template, layout = self._question(self.asked(number), number)
        return render(row, template, layout)

    def fitted(
        self, numbers: Sequence[int], tokenizer: AnyTokenizer, contract: Contract
    ) -> list[Fitted | FlanError]:
        """Draws as ids, within the spec's lengths, or why one cannot be used. Many at a time are quicker than one.

        Why: InputTooLong, TargetTooLong, RowError, UnreadableRow.
        """
        return self.fit_draws([(self.asked(number), number) for number in numbers], tokenizer, contract)

    def fit_draws(
        self, draws: Sequence[tuple[Draw, int]], tokenizer: AnyTokenizer, contract: Contract
    ) -> list[Fitted | FlanError]:
        """Like `fitted`, of draws that are given, each with the number that decides its solved rows and options."""
        if self._spec.objective == "lm":
            return self._continued(draws, tokenizer, contract)
        questions = [self._question_or_fault(draw, number) for draw, number in draws]
        sound = [each for each in questions if isinstance(each, Question)]
        input_length, target_length = self._spec.input_length, self._spec.target_length
        found = iter(fit_all(sound, tokenizer, contract, input_length, target_length=target_length))
        fitted = [next(found) if isinstance(each, Question) else each for each in questions]
        for place, ((draw, number), question) in enumerate(zip(draws, questions, strict=True)):
            alone = fitted[place]
            if draw.has_shots and isinstance(question, Question) and isinstance(alone, Fitted):
                solved = self._solved(draw, number)
                prompt = solved.before(alone, question.template, input_length, tokenizer, contract)
                rendered = alone.rendered._replace(input=prompt.text)
                fitted[place] = Fitted(rendered, Tokens(prompt.ids, alone.tokens.target_ids), alone.cut)
        return fitted

    def _continued(
        self, draws: Sequence[tuple[Draw, int]], tokenizer: AnyTokenizer, contract: Contract
    ) -> list[Fitted | FlanError]:
        found = continue_all(
            [Piece(**self._rows[draw.task][draw.row]) for draw, _ in draws],
            [(self._spec.seed, number) for _, number in draws],
            tokenizer,
            contract,
            input_length=self._spec.input_length,
            target_length=self._spec.target_length,
        )
        return [*found]

    def digest(self) -> str:
        """sha256 over the first DIGESTED_DRAWS draws: streams that differ in it are different streams."""
        draws = [list(self._mixer.draw(number)) for number in range(DIGESTED_DRAWS)]
        return hashlib.sha256(canonical_json(draws).encode()).hexdigest()

    def _question_or_fault(self, draw: Draw, number: int) -> Question | FlanError:
        try:
            return self._question(draw, number)
        except (RowError, UnreadableRow) as fault:
            return fault

    def _question(self, draw: Draw, number: int) -> Question:
        task = self._tasks[draw.leaf][draw.task]
        row = instance(task, self._rows[draw.task][draw.row])
        template = task.templates[self.template(draw)]
        return Question(task, row, template, self._layout(draw, row, draw.row, number))

    def _layout(self, draw: Draw, row: Instance, *key: str | int) -> Layout | None:
        policy = self._leaves[draw.leaf].options if draw.has_options else "none"
        return layout_of(policy, len(row.choices), self._spec.seed, draw.task, *key)

    def _solved(self, draw: Draw, number: int) -> Solved:
        """The solved rows before draw `number`: other rows of its task."""
        form, task = self._leaves[draw.leaf].few_shot, self._tasks[draw.leaf][draw.task]
        assert form is not None, "only a leaf with few_shot draws an example with solved rows"
        found: list[SolvedRow] = []
        for row in islice(self._mixer.candidates(draw, number), MAX_TRIES_PER_SHOT * form.shots):
            try:
                solved = instance(task, self._rows[draw.task][row])
            except (RowError, UnreadableRow):
                continue
            found.append(SolvedRow(row, solved, self._layout(draw, solved, "exemplar", row, number)))
            if len(found) == form.shots:
                break
        return Solved(form, found)
