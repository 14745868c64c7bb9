"""Which option is chosen, from what is known of each: nothing here needs a model.

Rules and their sources:

    sum         log p(option | prompt), not divided: FLAN's rank classification (Wei et al. 2022, 2.3)
    per_token   the same over the option's tokens, its end included (Brown et al. 2020, 2.4)
    per_byte    the same over the option's bytes in UTF-8, at least one
    pmi         log p(option | prompt) - log p(option | cue), where the cue is what stands before every answer, the
                end of an input, and no input (domain-conditional: Holtzman et al. 2021); for a text that the answer
                goes on, the model's first id
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from flan.spec import ChoiceRule

TIE = 1e-6
"""Values closer than this are equal: rounding alone tells them apart."""


class Choice(NamedTuple):
    """The option of the highest value."""

    option: int
    """Its place: the first of equal ones, as in FLAN's code."""
    margin: float | None
    """By how much it leads; None for the only option."""

    @property
    def is_tied(self) -> bool:
        """Whether another one is as good."""
        return self.margin is not None and self.margin < TIE


class Options(NamedTuple):
    """What is known of the options of a question, option by option."""

    logprobs: tuple[float, ...]
    """After the prompt, the end included."""
    num_tokens: tuple[int, ...]
    num_bytes: tuple[int, ...]
    cue_logprobs: tuple[float, ...]
    """After the bare cue."""

    def values(self, rule: ChoiceRule) -> tuple[float, ...]:
        """What `rule` compares."""
        if rule == "pmi":
            return tuple(own - of_cue for own, of_cue in zip(self.logprobs, self.cue_logprobs, strict=True))
        lengths = {"per_token": self.num_tokens, "per_byte": self.num_bytes}.get(rule)
        if lengths is None:
            return self.logprobs
        return tuple(own / max(1, length) for own, length in zip(self.logprobs, lengths, strict=True))


def choose(values: Sequence[float]) -> Choice:
    """The option of the highest value, the first of equal ones."""
    index = values.index(max(values))
    others = [*values[:index], *values[index + 1 :]]
    return Choice(index, values[index] - max(others) if others else None)


def option_mass(logprobs: Sequence[float]) -> float:
    """Probability that the model would write any of the options: near 0 it has not understood what is asked."""
    return math.fsum(map(math.exp, logprobs))
