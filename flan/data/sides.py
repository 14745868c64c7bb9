"""How long the two sides of an encoder-decoder's packs are: as the mixture's inputs and targets are to each other.

Over a run the sides of its packs get what its examples have, so only sides in the examples' own proportion can both
be full: at T5's 1,024 and 256 a mixture of 3.85 tokens of input to one of target leaves 4% of the encoder empty. The
proportion is measured on examples of every task and template, as many of each as their rates say.
"""

from collections.abc import Iterator
from itertools import islice

from flan.card import Contract
from flan.data.examples import Examples
from flan.data.mixture import Draw
from flan.data.packing import size
from flan.data.tokens import AnyTokenizer, Fitted
from flan.data.window import Lengths
from flan.spec import TuneSpec

MEASURED = 6_000
"""Examples that are measured. Of the FLAN collection they give the proportion to about 1%; drawn one after the other
instead of by rate, they would to 2%."""
TOGETHER = 256
"""Examples that are encoded at a time."""
MOST_MORE = 8
"""Where no pack_length is given, a side grows by at most one part in so many of input_length + target_length."""


def with_measured_sides(
    spec: TuneSpec, examples: Examples, tokenizer: AnyTokenizer, contract: Contract
) -> TuneSpec:
    """`spec` with both sides of a pack settled, where it leaves that to the run; as many packs in a step as before."""
    if contract.architecture == "decoder" or spec.pack_target_length != "auto":
        return spec
    return with_sides(spec, sides(spec, mean_size(examples, tokenizer, contract)))


def with_sides(spec: TuneSpec, lengths: Lengths) -> TuneSpec:
    """`spec` with packs of these lengths, and as many of them in a step as before."""
    settled = {
        "pack_length": sum(lengths),
        "pack_target_length": lengths.target,
        "tokens_per_step": spec.packs_per_step * sum(lengths),
    }
    return spec.model_copy(update=settled)


def sides(spec: TuneSpec, mean: tuple[float, float]) -> Lengths:
    """Lengths of both sides for examples of that mean size; each has room for the longest input or target.

    In all pack_length; without one, what the limits leave short is added to the side that lacks it.
    """
    per_input, per_target = mean
    longest_input, longest_target = spec.input_length, spec.target_length
    if per_input == 0 or per_target == 0:
        per_input, per_target = longest_input, longest_target
    if spec.pack_length is not None:
        target = round(spec.pack_length * per_target / (per_input + per_target))
        target = min(max(target, longest_target), spec.pack_length - longest_input)
        return Lengths(spec.pack_length - target, target)
    more = (longest_input + longest_target) // MOST_MORE
    return Lengths(
        min(max(longest_input, round(longest_target * per_input / per_target)), longest_input + more),
        min(max(longest_target, round(longest_input * per_target / per_input)), longest_target + more),
    )


def mean_size(examples: Examples, tokenizer: AnyTokenizer, contract: Contract) -> tuple[float, float]:
    """Tokens of input and of target of an example, on average; 0 and 0 where none of them can be used."""
    num_input = num_target = num_used = 0
    draws = _by_rate(examples)
    while drawn := list(islice(draws, TOGETHER)):
        for each in examples.fit_draws(drawn, tokenizer, contract):
            if isinstance(each, Fitted):
                one = size(contract, each.tokens)
                num_input, num_target, num_used = num_input + one.input, num_target + one.target, num_used + 1
    return num_input / max(num_used, 1), num_target / max(num_used, 1)


def _by_rate(examples: Examples) -> Iterator[tuple[Draw, int]]:
    """MEASURED draws: the first of each task, put through each of its templates as often as their rates say."""
    wanted = taken = 0.0
    for member, rate in examples.rates().items():
        number = 0
        for template, part in enumerate(examples.template_rates(member)):
            wanted += rate * part * MEASURED
            while taken + 0.5 < wanted:
                yield examples.draw_of(member, number)._replace(template=template), number
                number, taken = number + 1, taken + 1
