"""A mixture before anything is trained: what it is made of, what it leaves out, and some of its examples.

The command line and `POST /mixtures` show the same. It takes a tokenizer at most, and no model.
"""

from collections.abc import Mapping

from flan.data.composition import Composition, Ruler, composition, words
from flan.data.examples import Examples
from flan.data.leakage import SharedRows, TrainingRows, find_leakage
from flan.data.members import TRAIN
from flan.data.mixture import sample as sample_of
from flan.data.plan import step_warnings
from flan.data.resolve import open_held_out, open_pinned_rows, pinned_tasks, resolve
from flan.data.rows import Places, Rows
from flan.data.selectors import Library
from flan.data.tokens import Fitted
from flan.errors import FlanError
from flan.spec import Document, TuneSpec

MAX_CHARS = 20_000
"""Of a text that is shown; a longer one is shortened."""


class TooMuchMeasured(FlanError):
    """A mixture has so many templates that measuring them would take too long."""

    code, blame = "too_much_measured", "user"


class TooMuchCompared(FlanError):
    """So many rows would be compared with one another that it would take too long."""

    code, blame = "too_much_compared", "user"


class Fault(Document):
    """Why an example would be dropped."""

    code: str
    """What kind of fault it is, for programs."""
    message: str
    """What is wrong, in words."""
    hint: str | None
    """The way out, where one is known."""


class SampledExample(Document):
    """One of the first examples that a run with this seed draws."""

    number: int
    """Of the draw, from 0."""
    task: str
    """Its task."""
    part: str | None
    """Which part of the mixture draws it; null where there is but one."""
    row: int
    """Which of the task's training rows is asked about."""
    template: int
    """Through which of the task's templates."""
    has_shots: bool
    """Whether solved rows stand before it."""
    input: str | None = None
    """What the model reads, cut as in the run; null where it would be dropped."""
    target: str | None = None
    """What it is to write; null where it would be dropped."""
    num_input: int | None = None
    """Length of what it reads, in the preview's unit."""
    num_target: int | None = None
    """Length of what it is to write."""
    is_shortened: bool = False
    """Whether the texts here are shortened: they have more than 20,000 characters."""
    error: Fault | None = None
    """Why it would be dropped; null = it is trained on."""


class SampledLeakage(Document):
    """What a sample of the training rows shares with the held-out rows: a run compares all of them."""

    words: int
    """Words of the shortest shared passage."""
    short_words: int
    """The same where the held-out text has fewer."""
    train: dict[str, int]
    """Task → its training rows that were compared: a seeded sample."""
    held_out: dict[str, int]
    """Task/split → its rows, all compared."""
    unreadable: dict[str, int]
    """Task or task/split → rows that could not be read, and so not compared."""
    shared: tuple[SharedRows, ...]
    """Every pair that shares a passage, the one with the most held-out rows first."""


class MixturePreview(Composition):
    """What a mixture is made of here and now."""

    missing: dict[str, float | None]
    """Task that is not here → the share of the examples it would have had; null where its size is not known."""
    excluded: dict[str, str]
    """Task → why it is left out."""
    unplaced: dict[str, str]
    """Task that is trained on → why it is not known what it is akin to: no verdict after it is proven."""
    compared: dict[str, int]
    """Held-out task/split → its rows, with which a run compares the training rows before its first step."""
    not_compared: dict[str, str]
    """Held-out task → why its rows, or some of them, cannot be compared."""
    leakage: SampledLeakage | None
    """Passages that training rows and held-out rows share; null where nothing was to be compared, or is held out."""
    warnings: tuple[str, ...]
    """What is probably not meant."""
    sample: tuple[SampledExample, ...]
    """The first examples of a run with this seed, in its order."""


def preview_mixture(
    spec: TuneSpec,
    library: Library,
    places: Places,
    ruler: Ruler | None,
    *,
    rows_per_template: int,
    num_sampled: int,
    num_compared: int = 0,
    most: int | None = None,
    most_compared: int | None = None,
) -> MixturePreview:
    """The mixture of `spec`, resolved. Lengths are measured with `ruler` on rows of each template, or not at all.

    `num_compared` rows of each task are compared with all that is held out.

    Raises what resolving raises; TooMuchMeasured where more than `most` examples would be rendered to measure them,
    TooMuchCompared where more than `most_compared` rows, of both sides, would be read to compare them.
    """
    assert places.store is not None, "task documents lie in a store"
    resolved, plan = resolve(spec, library, places)
    assert isinstance(resolved, TuneSpec) and resolved.pins is not None, "a tune spec stays one"
    every = pinned_tasks(resolved, places.store)
    tasks = {name: every[name] for name in resolved.pins.train}
    rows = open_pinned_rows(resolved, tasks, TRAIN, places)
    examples = Examples(resolved, tasks, rows)
    num_templates = sum(len(examples.template_rates(member)) for member in examples.rates())
    if ruler and most is not None and num_templates * rows_per_template > most:
        raise TooMuchMeasured(
            f"{rows_per_template} rows through {num_templates:,} templates are more than {most:,} examples",
            hint="set rows_per_template lower, 0 to measure nothing",
            pointer="/rows_per_template",
        )
    measured = ruler if rows_per_template else None
    found = composition(examples, resolved.pins.clusters, measured, rows_per_template=rows_per_template)
    return MixturePreview(
        **{name: getattr(found, name) for name in Composition.model_fields},
        missing=plan.missing,
        excluded=plan.excluded,
        unplaced=resolved.pins.unplaced,
        compared=plan.compared,
        not_compared=plan.not_compared,
        leakage=_leakage(resolved, places, rows, num_compared, most_compared),
        # A mixture has no steps: what there is to say of those of the spec around it helps nobody.
        warnings=tuple(each for each in plan.warnings if each not in step_warnings(resolved)),
        sample=_sample(examples, ruler or words(), num_sampled),
    )


def _leakage(
    spec: TuneSpec, places: Places, train: Mapping[str, Rows], count: int, most: int | None
) -> SampledLeakage | None:
    assert spec.pins is not None, "the spec is resolved"
    if not count or not spec.pins.held_out:
        return None
    held_out = open_held_out(spec.pins, places)
    chosen = {name: sample_of(len(rows), count, spec.seed, "leakage", name) for name, rows in train.items()}
    num_read = sum(map(len, held_out.values())) + sum(map(len, chosen.values()))
    if most is not None and num_read > most:
        raise TooMuchCompared(
            f"{num_read:,} rows would be compared, more than {most:,}",
            hint="set leakage_rows lower; a run compares all its rows before its first step",
            pointer="/leakage_rows",
        )
    found = find_leakage(
        (TrainingRows(name, rows, chosen[name].tolist()) for name, rows in sorted(train.items())),
        held_out,
        spec.leakage,
    )
    return SampledLeakage(**{name: getattr(found, name) for name in SampledLeakage.model_fields})


def _sample(examples: Examples, ruler: Ruler, count: int) -> tuple[SampledExample, ...]:
    numbers = range(count)
    fitted = examples.fitted(numbers, ruler.tokenizer, ruler.contract)
    return tuple(_shown(examples, number, each) for number, each in zip(numbers, fitted, strict=True))


def _shown(examples: Examples, number: int, fitted: Fitted | FlanError) -> SampledExample:
    draw = examples.asked(number)
    place = SampledExample(
        number=number,
        task=draw.task,
        part=examples.part((draw.leaf, draw.task)),
        row=draw.row,
        template=examples.template(draw),
        has_shots=draw.has_shots,
    )
    if isinstance(fitted, FlanError):
        fault = Fault(code=fitted.code, message=fitted.message, hint=fitted.hint)
        return place.model_copy(update={"error": fault})
    texts = fitted.rendered.input, fitted.rendered.target
    return place.model_copy(
        update={
            "input": texts[0][:MAX_CHARS],
            "target": texts[1][:MAX_CHARS],
            "num_input": len(fitted.tokens.input_ids),
            "num_target": len(fitted.tokens.target_ids),
            "is_shortened": max(map(len, texts)) > MAX_CHARS,
        }
    )
