"""Questions → answers with their worth: by rank classification, or by greedy generation."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from flan.data.tokens import Ids, cue_ids
from flan.evaluate.kept import Key, Said, key_of
from flan.evaluate.metrics import worth
from flan.evaluate.metrics.reply import Reply
from flan.evaluate.questions import Question, Scoring
from flan.model.choosing import Options, choose, option_mass
from flan.model.greedy import continuations
from flan.model.grouping import Size, fill, group
from flan.model.load import Model
from flan.model.scoring import score_options
from flan.spec import ChoiceRule, EvaluateSpec
from flan.tasks.post import processed
from flan.tasks.task import Task

OPTIONS_OF_CUE = 32
"""So many options follow the bare cue at a time: as branches they see all of each other's places."""


class Answered(NamedTuple):
    """What the model said, and what that is worth by itself."""

    question: Question
    text: str
    """The option chosen, or the text written."""
    metrics: dict[str, float]
    options: Options | None = None
    """Rank classification: what is known of each, in order."""
    is_tied: bool = False
    """Whether another option is as good as the one that was chosen, the first of them."""
    is_finished: bool = True
    """False for a text that was cut at the limit."""

    @property
    def reply(self) -> Reply:
        """What metrics see of it."""
        return reply_to(self.question, self.text)

    @property
    def option_mass(self) -> float | None:
        """Probability that the model would write any of the options."""
        return option_mass(self.options.logprobs) if self.options else None


def answer(
    spec: EvaluateSpec,
    scoring: Scoring,
    questions: Sequence[Question],
    model: Model,
    done: Collection[Key] = (),
) -> Iterator[tuple[list[Question], list[Said]]]:
    """What the model says, batch by batch, longest prompts first: between two batches the caller may stop.

    Questions in `done` are left out. Where options are ranked, batches are those that there would be without it, so
    that who goes on where another stopped finds the same to the last bit.
    """
    if scoring == "generate":
        yield from _written(spec, [each for each in questions if key_of(each) not in done], model)
        return
    sizes = [Size(len(each.prompt_ids), sum(map(len, each.option_ids))) for each in questions]
    is_decoder = model.card.contract.architecture == "decoder"
    groups = (
        fill([sum(size) for size in sizes], spec.batch_tokens)
        if is_decoder
        else group(sizes, spec.batch_tokens)
    )
    for indices in groups:
        batch = [questions[i] for i in indices if key_of(questions[i]) not in done]
        if batch:
            yield batch, _ranked(spec, batch, model)


def answered(task: Task, question: Question, said: Said, rule: ChoiceRule) -> Answered:
    """What was said, with its worth."""
    if said.options is None:
        return Answered(question, said.text, _worth(task, question, said.text), is_finished=said.is_finished)
    choice = choose(said.options.values(rule))
    text = question.choices[choice.option]
    return Answered(question, text, _worth(task, question, text), said.options, choice.is_tied)


def _ranked(spec: EvaluateSpec, batch: list[Question], model: Model) -> list[Said]:
    # Options of all questions after the bare cue, each once: what pointwise mutual information takes off.
    distinct = {ids.tobytes(): ids for question in batch for ids in question.option_ids}
    after_cue = list(distinct.values())
    chunks: list[Sequence[Ids]] = [
        after_cue[i : i + OPTIONS_OF_CUE] for i in range(0, len(after_cue), OPTIONS_OF_CUE)
    ]
    is_continued = spec.prompt_format == "continuation"
    cue = cue_ids(model.tokenizer, model.card.contract, is_continued=is_continued)
    scores = score_options(
        model,
        [*(question.prompt_ids for question in batch), *[cue] * len(chunks)],
        [*(question.option_ids for question in batch), *chunks],
        batch_tokens=spec.batch_tokens,
    )
    of_cue = [score.logprob for row in scores[len(batch) :] for score in row]
    cue_logprobs = dict(zip(distinct, of_cue, strict=True))
    return [
        Said(
            options=Options(
                logprobs=tuple(score.logprob for score in row),
                num_tokens=tuple(score.num_tokens for score in row),
                num_bytes=question.num_bytes,
                cue_logprobs=tuple(cue_logprobs[ids.tobytes()] for ids in question.option_ids),
            )
        )
        for question, row in zip(batch, scores[: len(batch)], strict=True)
    ]


def _written(
    spec: EvaluateSpec, questions: list[Question], model: Model
) -> Iterator[tuple[list[Question], list[Said]]]:
    """Texts that ended together."""
    prompts = [question.prompt_ids for question in questions]
    for ended in continuations(
        model, prompts, max_new_tokens=spec.max_new_tokens, batch_tokens=spec.batch_tokens
    ):
        said = [
            Said(
                model.tokenizer.decode(
                    token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
                ),
                is_finished=is_finished,
            )
            for _, (token_ids, is_finished) in ended
        ]
        yield [questions[number] for number, _ in ended], said


def reply_to(question: Question, text: str) -> Reply:
    """`text` as an answer to `question`: which choice it makes, if any, and what that is called."""
    text = processed(question.post, text)
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
