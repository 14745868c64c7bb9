"""Which tasks are mixed and how, and what training must not see."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flan.faults import Wrong, refuse
from flan.spec.document import Document, Name, Reference
from flan.spec.prompts import FewShot, OptionsPolicy, PromptFormat


class HoldOut(Document):
    """What training must not see, and why not. Each rule leaves tasks out; the first that applies is the reason."""

    clusters: tuple[Name, ...] = ()
    """Clusters to leave out of training."""
    tasks: tuple[Name, ...] = ()
    """Single tasks to leave out, by name, whatever their cluster; their family goes too."""
    adjacent: Literal["exclude", "ignore"] = "exclude"
    """Whether the neighbours of a held-out cluster go too: exclude is the paper's rule."""
    lineage: Literal["exclude", "ignore"] = "ignore"
    """Whether tasks made from the same texts as a held-out one go too; the paper's rule does not know them."""
    intra_cluster: int | None = Field(default=None, ge=0, lt=1_000)
    """Leave out one dataset of each cluster that has several: split number n of the released code's ten."""
    first_clusters: int | None = Field(default=None, ge=1)
    """Train on the first n clusters of the paper's ablation alone (figure 6), and on no other."""
    datasets_per_cluster: int | None = Field(default=None, ge=1, lt=1_000)
    """Train on the first n datasets of each cluster alone, with all their variants: the paper's ablation has 1 to 4."""
    evaluation: tuple[Reference, ...] = Field(default=(), max_length=4096)
    """What the model will be measured on, by selectors: a mixture that overlaps it is refused."""
    overlap: Literal["fail", "same_cluster", "allow"] = "fail"
    """Of that rule: same_cluster lets other tasks of an evaluated cluster be trained on, allow anything."""


class Published(Document):
    """What is known of a task that may not be on this machine: enough to say the share it would have."""

    rows: int | None = Field(default=None, ge=1)
    """Rows of its training split; null = not known."""
    templates: int = Field(default=10, ge=1)
    """How many templates it has."""


class MixedShots(FewShot):
    """Solved rows before some of a mixture's examples, of the same task, through the same template."""

    share: float = Field(gt=0, le=1)
    """Of the examples that are asked so."""
    split: Literal["train"] = "train"
    """They come from the rows that are trained on; never the row that is asked."""
    balanced: Literal[False] = False
    """Only an evaluation can balance them: it reads all rows beforehand."""


class Mixture(Document):
    """Which tasks are mixed, and in what proportion: tasks by one rule, or parts by their weights.

    A mixture is one of three. With `parts` it is made of other mixtures: part p is drawn from with probability
    weight(p) / sum of weights, and within it by its own rule. With `preset` it is the mixture of that name.
    Else it is a *leaf*: `tasks`, drawn by their rates. What is said of rates and prompts is said at the leaves;
    `hold_out` and `missing` hold for everything below.
    """

    collection: Literal["flan", "synthetic"] = "flan"
    """Where `*`, names and clusters are looked up: flan, or synthetic, whose rows are made here."""
    tasks: tuple[Reference, ...] = Field(default=("*",), min_length=1, max_length=4096)
    """Selectors, in turn: `*`, `preset:flan2021`, `cluster:sentiment`, a task, or an uploaded template set
    `name@2`; one that begins with - takes away."""
    preset: Name | None = None
    """Instead of tasks, a mixture that comes with the platform: flan2021, flan2021-code, t0, super-ni, flan2022."""
    parts: tuple["Mixture", ...] = Field(default=(), max_length=256)
    """Instead of tasks, the mixtures of which it is made."""
    weight: float = Field(default=1.0, ge=0)
    """Its weight among the parts of the mixture around it."""
    name: Name | None = None
    """What plans and counts call it; null = its place."""
    hold_out: HoldOut = HoldOut()
    """What training must not see, even where `tasks` selects it."""
    rates: Literal["rows", "each_template", "t0", "t0_divided"] = "rows"
    """rows: a task weighs min(rows, rate_maximum). each_template: each of its templates does. t0: each template
    weighs the rows, or rate_maximum ÷ templates where there are more rows than rate_maximum; t0_divided: never
    more than rate_maximum ÷ templates."""
    weights: dict[Name, Annotated[float, Field(ge=0)]] = Field(default={}, max_length=4096)
    """Task → its rate, instead of what the rule says; 0 leaves it out."""
    examples_cap: int = Field(default=30_000, ge=1)
    """At most this many training rows of a task are used: a seeded sample."""
    rate_maximum: int = Field(default=3_000, ge=1)
    """A task counts for at most this many rows when rates are computed."""
    temperature: float = Field(default=1.0, gt=0)
    """Rates to the power 1/temperature: above 1, small tasks gain."""
    templates_per_task: int = Field(default=10, ge=1)
    """At most this many templates of a task are used, its first ones."""
    include_inverted: bool = True
    """Whether templates that ask for what was the input are used too."""
    inverted_rate: float | None = Field(default=None, gt=0)
    """How often inverted templates come for each time that the others do; null = each template equally often."""
    options: OptionsPolicy = "flan2021"
    """How answer choices are shown: one layout, one drawn for each example, or not at all."""
    no_options_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the examples whose OPTIONS block is left out."""
    few_shot: MixedShots | None = None
    """Solved rows before a share of the examples; null = before none."""
    prompt_format: PromptFormat = "instructions"
    """What a row is asked with; dataset_name and no_template are the paper's ablations."""
    missing: Literal["fail", "drop"] = "fail"
    """What to do about a task that is not on this machine: refuse, or go on without and say its share."""
    published: dict[Name, Published] = Field(default={}, max_length=4096)
    """Tasks that may not be here, and what is known of them; one of `tasks` that is unknown and not named here
    is an error, `missing` or not."""
    num_published: int | None = Field(default=None, ge=1)
    """How many tasks the publication mixes, where they cannot all be named; what is not found is missing."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        refuse("Mixture", self._faults())
        return self

    def _faults(self) -> Iterator[Wrong]:
        if self.preset and self.parts:
            said = "a mixture is a preset or has parts, not both"
            yield Wrong(("parts",), "contradiction", said, "make the preset one of the parts")
        if self.parts and not any(part.weight for part in self.parts):
            said = "every part has weight 0: nothing could be drawn"
            yield Wrong(("parts",), "zero_weights", said, "give a part a weight above 0")
        if not self.is_leaf:
            what = "preset" if self.preset else "parts"
            for name in sorted(_LEAF_FIELDS):
                if getattr(self, name) != type(self).model_fields[name].get_default():
                    said = f"says how tasks are drawn, and there are {what} instead of tasks"
                    yield Wrong((name,), "contradiction", said, _WAY_OUT[what])
        if self.options == "none" and self.no_options_share:
            said = "options: none leaves out every block already"
            yield Wrong(("no_options_share",), "contradiction", said, "leave one of the two out")
        if self.inverted_rate is not None and not self.include_inverted:
            said = "there are no inverted templates where include_inverted is false"
            yield Wrong(("inverted_rate",), "contradiction", said, "leave one of the two out")

    @property
    def is_leaf(self) -> bool:
        """Whether it mixes tasks, rather than other mixtures."""
        return self.preset is None and not self.parts

    @property
    def leaves(self) -> tuple["Mixture", ...]:
        """The mixtures of tasks in it, in order. Presets must have been replaced by what they stand for."""
        assert self.preset is None, f"preset {self.preset} is not expanded"
        return tuple(leaf for part in self.parts for leaf in part.leaves) if self.parts else (self,)


_LEAF_FIELDS = frozenset(Mixture.model_fields) - {
    "name", "weight", "preset", "parts", "collection", "hold_out", "missing"
}  # fmt: skip
_WAY_OUT = {"parts": "say it in the parts", "preset": "name its tasks instead: tasks: [preset:NAME]"}
