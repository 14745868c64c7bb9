"""What the model gave → an answer that says how it was found. The same for the HTTP server and the command line."""

import math
import time
from collections.abc import Sequence
from typing import Any, Literal

from flan.card import ModelCard
from flan.data.bases import model_directory
from flan.model.choosing import choose, option_mass
from flan.model.load import load_model
from flan.model.scoring import OptionScore
from flan.serve import wire
from flan.serve.engine import Engine
from flan.serve.messages import MAX_SAMPLES, ClassifyRequest, GenerateRequest
from flan.serve.plans import (
    MAX_PROMPTS,
    SAMPLING_FIELDS,
    Rank,
    Sample,
    Vote,
    plan_classify,
    plan_generate,
)
from flan.serve.replies import (
    Choice,
    Classification,
    Classified,
    ClassifyAnswer,
    ClassifyManyAnswer,
    GenerateAnswer,
    OptionResult,
    ScoreAnswer,
    ScoredContinuation,
    TemplateChoice,
    Timing,
    TokenLogprobs,
    Usage,
)
from flan.serve.sequences import Completion
from flan.serve.votes import voted
from flan.serve.watch import Watch
from flan.spec import Sampling, parse

_WITHOUT_EFFECT = (*SAMPLING_FIELDS, "max_new_tokens", "seed", "stream", "logprobs")
"""Fields that say how to sample: a request that is ranked has no use for them."""


def ask_locally(model: str, what: Literal["generate", "classify"], request: dict[str, Any]) -> dict[str, Any]:
    """The answer of the model in a directory, or of the hub's local cache, as the server would give it.

    A stream makes no sense here: the answer comes whole. Raises what the server answers as a problem.
    """
    asked = parse(GenerateRequest, request) if what == "generate" else parse(ClassifyRequest, request)
    loaded = load_model(model_directory(model))
    engine = Engine(loaded, max_batch=MAX_SAMPLES, max_waiting=MAX_PROMPTS)
    engine.start()
    watch = Watch()
    try:
        if isinstance(asked, ClassifyRequest):
            vote = plan_classify(loaded, asked)
            scorings = [engine.score(rank.prompt, rank.targets, began=watch.began) for rank in vote.ranks]
            found = [scoring.result() for scoring in scorings]
            return classify_answer(loaded.card, vote, found, watch.timing()).model_dump(mode="json")
        plan = plan_generate(loaded, Sampling(), asked)
        result: Sequence[Completion] | Sequence[OptionScore]
        if isinstance(plan, Rank):
            result = engine.score(plan.prompt, plan.targets, began=watch.began).result()
        else:
            result = engine.generate(
                plan.prompt,
                plan.sampling,
                n=plan.n,
                has_logprobs=asked.logprobs,
                deliver=watch.spoke,
                began=watch.began,
            ).result()
        return generate_answer(loaded.card, asked, plan, result, watch.timing()).model_dump(mode="json")
    finally:
        engine.stop()


def generate_answer(
    card: ModelCard,
    request: GenerateRequest,
    plan: Sample | Rank,
    result: Sequence[Completion] | Sequence[OptionScore],
    timing: Timing,
) -> GenerateAnswer:
    """The answer to a request, from what the engine gave for its plan."""
    if isinstance(plan, Rank):
        scores = [score for score in result if isinstance(score, OptionScore)]
        chosen = classification(plan.options, scores)
        return GenerateAnswer(
            **_head(card, "gen", len(plan.prompt), scores, timing),
            mode="classify",
            mode_reason=plan.reason,
            choices=(Choice(index=0, text=chosen.choice, finish_reason="stop"),),
            classification=chosen,
            unused=tuple(name for name in _WITHOUT_EFFECT if getattr(request, name) not in (None, False)),
            rendering=plan.rendering,
        )
    completions = [completion for completion in result if isinstance(completion, Completion)]
    return GenerateAnswer(
        **_head(card, "gen", len(plan.prompt), completions, timing),
        mode="sample",
        mode_reason=plan.reason,
        choices=tuple(_choice(completion, has_logprobs=request.logprobs) for completion in completions),
        seed=plan.sampling.seed,
        parameters=plan.parameters,
        rendering=plan.rendering,
    )


def classify_answer(
    card: ModelCard, vote: Vote, scores: Sequence[Sequence[OptionScore]], timing: Timing
) -> ClassifyAnswer | ClassifyManyAnswer:
    """The answer to `POST /classify`; `scores` are those of the vote's prompts, in order. Raises ChoicesDiffer."""
    num_read = sum(len(rank.prompt) for rank in vote.ranks)
    head = _head(card, "cls", num_read, [score for row in scores for score in row], timing)
    rest = iter(scores)
    found = [_classified([(rank, next(rest)) for rank in ranks]) for ranks in vote.inputs]
    if vote.is_list:
        return ClassifyManyAnswer(**head, data=tuple(found))
    return ClassifyAnswer(**head, **dict(found[0]))


def score_answer(card: ModelCard, plan: Rank, scores: Sequence[OptionScore], timing: Timing) -> ScoreAnswer:
    """The answer to `POST /score`."""
    scored = [
        ScoredContinuation(
            continuation=text,
            logprob=score.logprob,
            num_tokens=score.num_tokens,
            token_logprobs=score.token_logprobs,
        )
        for text, score in zip(plan.options, scores, strict=True)
    ]
    head = _head(card, "score", len(plan.prompt), scores, timing)
    return ScoreAnswer(**head, scores=tuple(scored))


def classification(options: Sequence[str], scores: Sequence[OptionScore]) -> Classification:
    """The option of highest log-probability, the first of equal ones; probabilities are among the options.

    Sums of log-probabilities, not divided by length (Wei et al. 2022, 2.3: rank classification).
    """
    logprobs = [score.logprob for score in scores]
    index, margin = chosen = choose(logprobs)
    weights = [math.exp(logprob - logprobs[index]) for logprob in logprobs]
    return Classification(
        choice=options[index],
        index=index,
        scores=tuple(
            OptionResult(
                option=option,
                logprob=score.logprob,
                num_tokens=score.num_tokens,
                probability=weight / sum(weights),
            )
            for option, score, weight in zip(options, scores, weights, strict=True)
        ),
        margin=margin,
        option_mass=option_mass(logprobs),
        tied=chosen.is_tied,
    )


def _classified(asked: Sequence[tuple[Rank, Sequence[OptionScore]]]) -> Classified:
    if len(asked) == 1:
        ((rank, scores),) = asked
        return Classified(**dict(classification(rank.options, scores)), rendering=rank.rendering)
    found = []
    for rank, scores in asked:
        assert rank.rendering is not None, "only rows are asked through several templates"
        found.append(TemplateChoice(**dict(classification(rank.options, scores)), rendering=rank.rendering))
    return voted(found)


def _choice(completion: Completion, *, has_logprobs: bool) -> Choice:
    tokens = TokenLogprobs(token_ids=completion.token_ids, token_logprobs=completion.token_logprobs)
    return Choice(
        index=completion.sample,
        text=completion.text,
        finish_reason=completion.finish_reason,
        logprobs=tokens if has_logprobs else None,
    )


def _head(
    card: ModelCard,
    prefix: str,
    num_read: int,
    results: Sequence[Completion] | Sequence[OptionScore],
    timing: Timing,
) -> dict[str, Any]:
    written = sum(
        len(result.token_ids) if isinstance(result, Completion) else result.num_tokens for result in results
    )
    usage = Usage(prompt_tokens=num_read, completion_tokens=written, total_tokens=num_read + written)
    return {
        "id": wire.new_id(f"{prefix}_"),
        "created": int(time.time()),
        "model": card.name,
        "contract": card.contract.digest(),
        "usage": usage,
        "timing": timing,
    }
