"""Few-shot evaluation: solved rows of the training split before each question, through its own template."""

from typing import Any

import pytest

from flan.data.formats import encode_row
from flan.data.rows import Places, Rows, open_rows
from flan.data.shots import Shots
from flan.data.tokens import encode_prompt
from flan.evaluate.questions import Question, ask
from flan.spec import EvaluateSpec, FewShot, parse
from flan.tasks.render import instance, render
from flan.tasks.task import Task, load_collection
from tests.kit.models import tiny_model

MODEL = tiny_model("decoder")
TASK = load_collection("synthetic")["shop_reviews"]
TRAIN = open_rows(TASK, "train", Places(None, None))
VALIDATION = open_rows(TASK, "validation", Places(None, None))


def spec(**few_shot: Any) -> EvaluateSpec:
    fields = {"name": "e", "model": "m", "tasks": ["*"], "collection": "synthetic", "limit": 6}
    lengths = {"input_length": 480, "max_new_tokens": 8}
    return parse(EvaluateSpec, fields | lengths | {"few_shot": {"shots": 2} | few_shot})


def asked(wanted: EvaluateSpec, task: Task = TASK, train: Rows = TRAIN) -> list[Question]:
    assert wanted.few_shot is not None
    shots = Shots(wanted, wanted.few_shot, task, train)
    return [question for one in ask(wanted, task, VALIDATION, MODEL, shots) for question in one.questions]


def solved_rows(question: Question, form: FewShot) -> list[int]:
    """The training rows that stand before a question, recognised by their text."""
    template = TASK.templates[question.template]
    found = []
    for number in range(len(TRAIN)):
        one = render(instance(TASK, TRAIN[number]), template)
        if f"{one.input}{form.before_target}{one.target}{form.after_target}" in question.prompt:
            found.append(number)
    return found


def test_solved_rows_come_from_the_training_split_through_the_same_template() -> None:
    """As many as were asked for, the same rows for every template, and the question last."""
    wanted = spec()
    assert wanted.few_shot is not None
    questions = [question for question in asked(wanted) if question.row == asked(wanted)[0].row]
    alone = [q for one in ask(wanted, TASK, VALIDATION, MODEL) for q in one.questions]

    assert len({tuple(solved_rows(question, wanted.few_shot)) for question in questions}) == 1
    assert all(question.num_exemplars == 2 for question in questions)
    for question in questions:
        [query] = [q for q in alone if (q.row, q.template) == (question.row, question.template)]
        assert question.prompt.endswith(query.prompt)
        assert question.option_ids and query.num_exemplars == 0
        ids = encode_prompt(MODEL.tokenizer, MODEL.card.contract, question.prompt)
        assert question.prompt_ids.tolist() == ids.tolist()


def test_balanced_rows_show_every_answer() -> None:
    """Two shots of a two-way task: one of each."""
    for question in asked(spec(balanced=True)):
        form = FewShot(shots=2)
        answers = {instance(TASK, TRAIN[row]).answer for row in solved_rows(question, form)}
        assert answers == {"negative", "positive"}


def test_what_does_not_fit_is_left_out_and_counted() -> None:
    """Question and solved rows stay within max_tokens, and within what the model reads."""
    roomy, tight = asked(spec(shots=16, max_tokens=10_000)), asked(spec(shots=16, max_tokens=150))

    assert all(len(question.prompt_ids) <= 480 for question in roomy)
    assert all(0 < question.num_exemplars < 16 for question in roomy)
    assert all(q.num_exemplars < other.num_exemplars for q, other in zip(tight, roomy, strict=True))
    # The sum of the parts is within the budget; separators come on top.
    assert all(len(q.prompt_ids) <= 150 + 8 * q.num_exemplars for q in tight if q.num_exemplars)


def test_a_row_is_never_its_own_exemplar() -> None:
    """Where question and solved rows come from one split."""
    wanted = spec(shots=16, split="validation", max_tokens=10_000)
    few = Rows(b"\n".join(encode_row(VALIDATION[i]) for i in range(4)), "four rows", "")
    assert wanted.few_shot is not None
    shots = Shots(wanted, wanted.few_shot, TASK, few)
    questions = [q for one in ask(wanted, TASK, few, MODEL, shots) for q in one.questions]

    assert len(questions) == 4 * len({question.template for question in questions})
    for question in questions:
        own = instance(TASK, few[question.row]).fields["review"]
        assert question.prompt.count(own) == 1
        assert question.num_exemplars == 3


def test_broken_rows_solve_nothing() -> None:
    """They are passed over, and the next ones stand in for them."""
    lines = [b'{"review": "x", "label": "strange"}'] * 30 + [encode_row(TRAIN[i]) for i in range(3)]
    questions = asked(spec(shots=2), train=Rows(b"\n".join(lines), "mixed", ""))

    assert all(question.num_exemplars == 2 for question in questions)


@pytest.mark.parametrize("shots", [0, 65])
def test_absurd_numbers_of_shots_are_refused(shots: int) -> None:
    """FLAN uses 16 at most."""
    with pytest.raises(Exception, match="few_shot/shots"):
        spec(shots=shots)
