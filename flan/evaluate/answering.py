"""Questions → answers with their worth: by rank classification, or by greedy generation."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from flan.evaluate.metrics import worth
from flan.evaluate.metrics.reply import Reply
from flan.evaluate.questions import Question, Scoring
from flan.model.greedy import greedy
from flan.model.grouping import Size, group
from flan.model.load import Model
from flan.model.scoring import score_options
from flan.spec import EvaluateSpec
from flan.tasks.task import Task


class Answered(NamedTuple):
    """What the model said, and what that is worth by itself."""

    question: Question
    text: str
    """The option chosen, or the text written."""
    metrics: dict[str, float]
    logprobs: tuple[float, ...] = ()
    """Rank classification: of each option, in order, its end included."""
    num_tokens: tuple[int, ...] = ()
    is_finished: bool = True
    """False for a text that was cut at the limit."""

    @property
    def reply(self) -> Reply:
        """What metrics see of it."""
        return reply_to(self.question, self.text)


def answer(
    spec: EvaluateSpec, task: Task, scoring: Scoring, questions: Sequence[Question], model: Model
) -> Iterator[list[Answered]]:
    """The answers, batch by batch, longest prompts first: between two batches the caller may stop."""
    for indices in group([_size(spec, question) for question in questions], spec.batch_tokens):
        batch = [questions[i] for i in indices]
        if scoring == "rank":
            yield _ranked(spec, task, batch, model)
        else:
            yield _written(spec, task, batch, model)


def _size(spec: EvaluateSpec, question: Question) -> Size:
    num_after = sum(map(len, question.option_ids)) or spec.max_new_tokens
    return Size(len(question.prompt_ids), num_after)


def _ranked(spec: EvaluateSpec, task: Task, batch: list[Question], model: Model) -> list[Answered]:
    scores = score_options(
        model,
        [question.prompt_ids for question in batch],
        [question.option_ids for question in batch],
        batch_tokens=spec.batch_tokens,
    )
    answered = []
    for question, of_options in zip(batch, scores, strict=True):
        logprobs = tuple(score.logprob for score in of_options)
        # The first of equals, as in FLAN's code.
        text = question.choices[logprobs.index(max(logprobs))]
        num_tokens = tuple(score.num_tokens for score in of_options)
        answered.append(Answered(question, text, _worth(task, question, text), logprobs, num_tokens))
    return answered


def _written(spec: EvaluateSpec, task: Task, batch: list[Question], model: Model) -> list[Answered]:
    continuations = greedy(
        model,
        [question.prompt_ids for question in batch],
        max_new_tokens=spec.max_new_tokens,
        batch_tokens=spec.batch_tokens,
    )
    answered = []
    for question, (token_ids, is_finished) in zip(batch, continuations, strict=True):
        text = model.tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        worth = _worth(task, question, text)
        answered.append(Answered(question, text, worth, is_finished=is_finished))
    return answered


def reply_to(question: Question, text: str) -> Reply:
    """`text` as an answer to `question`: which choice it makes, if any, and what that is called."""
    makes = dict(zip(question.choice_texts or question.choices, question.choices, strict=True))
    choice = {made.strip(): of for made, of in makes.items()}.get(text.strip())
    reply = Reply(
        text,
        question.references,
        question.choices,
        choice,
        question.answers[0],
        question.value,
        question.group,
    )
    if not question.names:
        return reply
    called = dict(zip(question.choices, question.names, strict=True))
    # A further acceptable answer need not be among the choices: then it has no other name.
    references = tuple(called.get(answer, answer) for answer in question.answers)
    return reply._replace(text=text if choice is None else called[choice], references=references)


def _worth(task: Task, question: Question, text: str) -> dict[str, float]:
    return worth(task.metrics, reply_to(question, text))
