"""What a mixture is made of: the share of the examples and of the tokens of every cluster, task and template.

Shares of the examples follow from the rates, exactly. Shares of the tokens are estimated: a few rows of each task
are rendered through each of its templates, as the run would draw them, and cut or dropped as it would do. Long
inputs take far more tokens than their share of the examples: summarization is 20.8% of FLAN's examples without
entailment, and much more of what a model reads.

Beside what was asked for stands what a run came to: the counts of its stream.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from flan.card import Contract
from flan.data.batches import TaskCounts
from flan.data.examples import Examples
from flan.data.mixture import Member
from flan.data.tokens import AnyTokenizer, Fitted
from flan.spec import Document

Unit = Literal["tokens", "words"]
ROWS_PER_TEMPLATE = 4
"""Rows of each task that are rendered through each of its templates."""


class Share(Document):
    """How much of a mixture something is."""

    examples: float
    """Share of the examples, as asked for."""
    tokens: float | None = None
    """Share of the tokens, estimated; null where lengths were not measured."""
    realised_examples: float | None = None
    """Share of the examples that a run has trained on or holds ready; null before one."""
    realised_tokens: float | None = None
    """Share of their tokens; null before a run, and for a template, whose tokens are not counted."""


class TaskShare(Share):
    """A task of a mixture, in one of its parts."""

    name: str
    """Of the task."""
    cluster: str
    """Its cluster."""
    part: str | None
    """Which part of the mixture draws it; null where there is but one."""
    mean_length: float | None = None
    """Of an example of it, input and target, in tokens or words."""
    unusable: float = 0.0
    """Share of its draws that would be dropped, in the sample."""
    templates: tuple[Share, ...] = ()
    """Its templates that are used, in order."""


class Composition(Document):
    """What a mixture is made of."""

    unit: Unit | None
    """What lengths are measured in: tokens of the model, or words; null = they are not measured."""
    sampled: int
    """How many examples were rendered to measure them."""
    parts: dict[str, Share]
    """Part → its share, where there are several."""
    clusters: dict[str, Share]
    """Cluster → its share."""
    tasks: tuple[TaskShare, ...]
    """By part and name."""


class TuneResults(Document):
    """`results.json` of a tune job: what it was to be trained on, and what it was."""

    kind: Literal["tune"] = "tune"
    """Of the job."""
    mixture: Composition
    """Asked and realised shares."""


class Ruler(NamedTuple):
    """What lengths are measured with."""

    unit: Unit
    tokenizer: AnyTokenizer
    contract: Contract


class _Lengths(NamedTuple):
    """What the sampled examples of a template came to."""

    total: int
    used: int
    tried: int

    @property
    def mean(self) -> float:
        """Tokens for each draw, of which a dropped one has none."""
        return self.total / self.tried


def words() -> Ruler:
    """A ruler for where there is no tokenizer: a word is what stands between blanks."""
    tokenizer = Tokenizer(WordLevel({"?": 0}, unk_token="?"))  # noqa: S106 (a token of text)
    tokenizer.pre_tokenizer = WhitespaceSplit()
    contract = Contract(
        architecture="decoder", tokenizer="0" * 64, prefix_ids=(), separator_ids=(0,), end_ids=(0,)
    )
    return Ruler("words", tokenizer, contract)


def composition(
    examples: Examples,
    clusters: Mapping[str, str],
    ruler: Ruler | None = None,
    *,
    rows_per_template: int = ROWS_PER_TEMPLATE,
    counts: Mapping[str, TaskCounts] | None = None,
) -> Composition:
    """What a mixture is made of, by its examples; `clusters` has that of each task.

    Lengths are measured with `ruler`, or not at all. `counts` are those of a run's stream.
    """
    lengths = {member: _measured(examples, member, ruler, rows_per_template) for member in examples.rates()}
    weights = {
        (member, place): rate * part * (lengths[member][place].mean if ruler else 1.0)
        for member, rate in examples.rates().items()
        for place, part in enumerate(examples.template_rates(member))
    }
    total = sum(weights.values()) or 1.0
    run = _Run(counts or {})
    shares = [
        _task_share(
            examples,
            member,
            clusters[member[1]],
            {place: weight / total for (of, place), weight in weights.items() if of == member}
            if ruler
            else {},
            lengths[member],
            run,
        )
        for member in examples.rates()
    ]
    return Composition(
        unit=ruler.unit if ruler else None,
        sampled=sum(each.tried for found in lengths.values() for each in found),
        parts=_summed(shares, lambda each: each.part),
        clusters=_summed(shares, lambda each: each.cluster),
        tasks=tuple(shares),
    )


class _Run:
    """The counts of a run, as shares."""

    def __init__(self, counts: Mapping[str, TaskCounts]) -> None:
        self._counts = counts
        self._examples = sum(each.used for each in counts.values())
        self._tokens = sum(each.input_tokens + each.target_tokens for each in counts.values())

    def share(self, key: str) -> tuple[float | None, float | None]:
        """Of the examples and of the tokens of one task in a part."""
        if not self._examples:
            return None, None
        counts = self._counts.get(key, TaskCounts())
        return counts.used / self._examples, (counts.input_tokens + counts.target_tokens) / self._tokens

    def template(self, key: str, place: int) -> float | None:
        """Of the examples of one template."""
        if not self._examples:
            return None
        return self._counts.get(key, TaskCounts()).templates.get(str(place), 0) / self._examples


def _measured(examples: Examples, member: Member, ruler: Ruler | None, count: int) -> list[_Lengths]:
    """For each template: the first draws of the task, put through it instead of their own."""
    found = []
    for place in range(len(examples.template_rates(member))):
        if ruler is None:
            found.append(_Lengths(0, 0, 0))
            continue
        numbered = [
            (examples.settled(examples.draw_of(member, number)._replace(template=place), number), number)
            for number in range(count)
        ]
        fitted = examples.fit_draws(numbered, ruler.tokenizer, ruler.contract)
        sizes = [
            len(each.tokens.input_ids) + len(each.tokens.target_ids)
            for each in fitted
            if isinstance(each, Fitted)
        ]
        found.append(_Lengths(sum(sizes), len(sizes), count))
    return found


def _task_share(
    examples: Examples,
    member: Member,
    cluster: str,
    tokens: Mapping[int, float],
    lengths: Sequence[_Lengths],
    run: _Run,
) -> TaskShare:
    rate, key = examples.rates()[member], examples.key(member)
    templates = [
        Share(
            examples=rate * part,
            tokens=tokens.get(place),
            realised_examples=run.template(key, place),
        )
        for place, part in enumerate(examples.template_rates(member))
    ]
    used, tried = sum(each.used for each in lengths), sum(each.tried for each in lengths)
    realised_examples, realised_tokens = run.share(key)
    return TaskShare(
        name=member[1],
        cluster=cluster,
        part=examples.part(member),
        examples=rate,
        tokens=sum(tokens.values()) if tokens else None,
        realised_examples=realised_examples,
        realised_tokens=realised_tokens,
        mean_length=sum(each.total for each in lengths) / used if used else None,
        unusable=1 - used / tried if tried else 0.0,
        templates=tuple(templates),
    )


def _summed(shares: Iterable[TaskShare], by: Callable[[TaskShare], str | None]) -> dict[str, Share]:
    groups: dict[str, list[TaskShare]] = defaultdict(list)
    for each in shares:
        if (name := by(each)) is not None:
            groups[name].append(each)
    return {
        name: Share(
            examples=sum(each.examples for each in found),
            tokens=_total(each.tokens for each in found),
            realised_examples=_total(each.realised_examples for each in found),
            realised_tokens=_total(each.realised_tokens for each in found),
        )
        for name, found in sorted(groups.items())
    }


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
