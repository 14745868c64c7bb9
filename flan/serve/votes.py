"""One row asked through several templates: what they choose together."""

from collections.abc import Sequence
from statistics import fmean, stdev

from flan.errors import FlanError
from flan.serve.replies import Classified, OptionResult, TemplateChoice


class ChoicesDiffer(FlanError):
    """Templates of one task choose among other answers: their votes cannot be counted together."""

    code, blame = "choices_differ", "user"


def voted(found: Sequence[TemplateChoice]) -> Classified:
    """What several templates say together. Raises ChoicesDiffer where they do not choose among the same."""
    names = [score.option for score in found[0].scores]
    for each in found:
        if [score.option for score in each.scores] != names:
            first, other = found[0].rendering.template, each.rendering.template
            raise ChoicesDiffer(
                f"templates {first} and {other} of {each.rendering.task} have other answer choices",
                hint="ask each of them alone", pointer="/template/number",
            )  # fmt: skip
    options = [_voted_option(found, place) for place in range(len(names))]
    index = max(range(len(names)), key=lambda i: (options[i].votes or 0, options[i].probability))
    others = [option.logprob for i, option in enumerate(options) if i != index]
    best = (options[index].votes, options[index].probability)
    return Classified(
        choice=names[index],
        index=index,
        scores=tuple(options),
        margin=options[index].logprob - max(others) if others else None,
        option_mass=fmean(each.option_mass for each in found),
        tied=[(option.votes, option.probability) for option in options].count(best) > 1,
        templates=tuple(found),
    )


def _voted_option(found: Sequence[TemplateChoice], place: int) -> OptionResult:
    own = [each.scores[place] for each in found]
    return OptionResult(
        option=own[0].option,
        logprob=fmean(score.logprob for score in own),
        num_tokens=sum(score.num_tokens for score in own),
        probability=fmean(score.probability for score in own),
        spread=stdev(score.probability for score in own),
        votes=sum(each.index == place for each in found),
    )
