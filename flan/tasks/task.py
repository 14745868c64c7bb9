"""A task: where its rows come from, what their fields are, what the answer is, and how to ask for it.

One YAML file is one task; the files of the collection and the template sets people upload have the same
form. Tasks are data: loading one runs no code of its author.
"""

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import Discriminator, Field, JsonValue, Tag, model_validator

from flan.errors import InvalidDocument, NotFound
from flan.spec import Document, Name, Reference, Sha256, parse
from flan.tasks.metric_names import MetricName, unmet_need
from flan.tasks.prepare import PREPARATIONS
from flan.tasks.promptsource import PromptsourceTemplate
from flan.tasks.template import ANSWER_SLOT, OPTIONS_SLOT, Template, slots

FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
ColumnPath = Annotated[str, Field(min_length=1, max_length=256)]
"""`label`, or with dots into nested values: `answers.text.0`."""
Collection = Literal["flan", "synthetic"]


_PART = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(\[(-?\d{1,9})?:(-?\d{1,9})?\])?$"
# The same in C, several times as fast, where libyaml was there when PyYAML was built.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Part(NamedTuple):
    """A split of the hub, or some of its rows by their places in a fixed random order."""

    split: str
    which: slice | None

    def count(self, num_rows: int) -> int:
        """How many rows it has when the split has `num_rows`."""
        return num_rows if self.which is None else len(range(num_rows)[self.which])


class HubSource(Document):
    """A dataset of the Hugging Face hub, kept on this machine in hub layout."""

    kind: Literal["hub"] = "hub"
    """Rows of a dataset of the hub."""
    id: str
    """Of the dataset, as on the hub."""
    config: str | None = None
    """Which of its configurations; null = the only one."""
    revision: str | None = None
    """Which commit of it; null = any."""
    folder: Name | None = None
    """Folder of the hub layout; None = the task's name."""
    splits: dict[Name, Annotated[str, Field(pattern=_PART)]]
    """Our split → the hub's, or a part of it: `train[:-200]`. `test` is what figures are reported on; where
    the hub's own test split has no labels that is its validation split, and `validation` is cut from train.
    """
    rows: dict[str, int] = {}
    """Split of the hub → rows it was published with."""

    def part(self, split: str) -> Part:
        """What `split` is made of."""
        name, _, ends = self.splits[split].removesuffix("]").partition("[")
        if not ends:
            return Part(name, None)
        start, stop = (int(end) if end else None for end in ends.split(":"))
        return Part(name, slice(start, stop))


class DatasetSource(Document):
    """An uploaded dataset. `splits` is filled in when a job is accepted: split → rows by digest."""

    kind: Literal["dataset"] = "dataset"
    """Rows that were uploaded."""
    name: Reference
    """Of the dataset: its newest version, or `name@3`."""
    format: Literal["jsonl", "csv", "parquet"] = "jsonl"
    """Of its files."""
    splits: dict[Name, Sha256] = {}
    """Split → digest of its rows. Filled in when a job is accepted."""


class SyntheticSource(Document):
    """Rows from a pure function (task, split, i) → row of flan/tasks/synthetic."""

    kind: Literal["synthetic"] = "synthetic"
    """Rows that are made by the platform."""
    generator: Name
    """The function that makes them."""
    splits: dict[Name, int]
    """Split → number of rows."""


class Answer(Document):
    """Where the right answer is, and which answers there are to choose from.

    Fixed choices: `choices`, in label order; `labels` maps what the column holds to one of them.
    Choices of each row: `choices_from` names a column with a list of texts; the answer column then holds an
    index into it, one of the keys in `keys_from`, or the text itself. Neither: free text.
    """

    column: ColumnPath
    """Where the right answer is."""
    choices: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """The answers there are, in the order of their labels; none = free, or `choices_from`."""
    labels: dict[str, str] = {}
    """What the column holds → the choice it stands for."""
    choices_from: ColumnPath | None = None
    """A column with the list of the row's own choices."""
    keys_from: ColumnPath | None = None
    """A column with a key for each of these choices, where the answer is such a key: A, B …"""
    references_from: ColumnPath | None = None
    """A column with further acceptable answers; the first target is still `column`."""
    names_from: ColumnPath | None = None
    """A column with a short name for each of `choices_from`, in order: what metrics compare."""
    value_from: ColumnPath | None = None
    """A column with the answer as a number, where the choice is a rounded one: what correlations compare."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"a choice stands twice among {list(self.choices)}")
        if any("\n" in choice for choice in self.choices):
            raise ValueError("a choice is one line of the OPTIONS block: it cannot hold a line break")
        if self.choices and self.choices_from:
            raise ValueError("give choices or choices_from, not both")
        if self.names_from and not self.choices_from:
            raise ValueError("names_from needs choices_from: it names the choices of each row")
        strange = sorted(set(self.labels.values()) - set(self.choices)) if self.choices else []
        if strange:
            raise ValueError(f"labels name {strange}, which are not among the choices {list(self.choices)}")
        return self

    @property
    def has_choices(self) -> bool:
        """Whether the task is a classification: answered by choosing an option."""
        return bool(self.choices) or self.choices_from is not None


def _language(value: Any) -> str:
    given = value.get("language", "slots") if isinstance(value, dict) else getattr(value, "language", "slots")
    return given if isinstance(given, str) else "slots"


AnyTemplate = Template | PromptsourceTemplate
_Templates = tuple[
    Annotated[
        Annotated[Template, Tag("slots")] | Annotated[PromptsourceTemplate, Tag("promptsource")],
        Discriminator(_language),
    ],
    ...,
]


class Task(Document):
    """A dataset, its templates, its answers and its cluster.

    Its templates are all of one language. Those of promptsource read a row's columns and print the answer
    themselves, so such a task has neither fields nor answer.
    """

    name: Name
    """What specs call it."""
    cluster: Name
    """Tasks of its kind: the unit of holding out."""
    family: Name | None = None
    """Tasks of one family are variants of one dataset: held out together."""
    description: str = ""
    """What it is about, in a sentence."""
    licence: str = "unknown"
    """Of the rows."""
    source: Annotated[HubSource | DatasetSource | SyntheticSource, Field(discriminator="kind")]
    """Where its rows come from."""
    prepare: Name | None = None
    """A named function of flan/tasks/prepare, from raw row to row, where columns do not suffice."""
    fields: dict[FieldName, ColumnPath] = Field(default={}, max_length=64)
    """Field of the templates → column of the rows."""
    constants: dict[FieldName, str] = Field(default={}, max_length=64)
    """Fields that hold the same text in every row: the languages of a translation."""
    long_field: FieldName | None = None
    """The field that is cut when an input is too long; None = the longest in the prompt."""
    answer: Answer | None = None
    """Where the right answer is, and what there is to choose from; templates of promptsource print it."""
    metrics: tuple[MetricName, ...] = Field(min_length=1)
    """The first one is the headline."""
    group_by: tuple[FieldName, ...] = ()
    """Fields that the rows of one question share: intervals resample such rows together."""
    templates: _Templates = Field(min_length=1, max_length=1_000)
    """Ways of asking, at least one of which asks for the answer."""
    example: dict[str, JsonValue] | None = None
    """A made-up row in the source's columns, for pages, previews and tests where no data is at hand."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if all(template.role == "inverted" for template in self.templates):
            raise ValueError("every template is inverted: none asks for the answer")
        if self.prepare is not None and self.prepare not in PREPARATIONS:
            raise ValueError(f"no preparation {self.prepare!r}; there are {sorted(PREPARATIONS)}")
        if len({template.language for template in self.templates}) > 1:
            raise ValueError("templates of two languages: make a task of each")
        if self.language == "promptsource":
            given = [name for name in ("answer", "fields", "constants", "long_field") if getattr(self, name)]
            if given:
                raise ValueError(
                    f"{given[0]}: leave it out, promptsource's templates read columns themselves"
                )
        elif self.answer is None:
            raise ValueError("answer: this field is needed")
        elif not self.fields:
            raise ValueError("fields: at least one is needed")
        else:
            self._check_slots(self.answer)
        return self

    def _check_slots(self, answer: Answer) -> None:
        known = set(self.fields) | set(self.constants) | {OPTIONS_SLOT, ANSWER_SLOT}
        reserved = (set(self.fields) | set(self.constants)) & {OPTIONS_SLOT, ANSWER_SLOT}
        if reserved:
            raise ValueError(
                f"a field cannot be called {sorted(reserved)[0]!r}: that slot is filled from the answer"
            )
        for i, template in enumerate(self.templates):
            assert isinstance(template, Template)
            missing = sorted((slots(template.input) | slots(template.target)) - known)
            if missing:
                raise ValueError(
                    f"templates/{i} asks for {{{missing[0]}}}; the task has "
                    f"{sorted({*self.fields, *self.constants})}"
                )
            if OPTIONS_SLOT in slots(template.input) and not answer.has_choices:
                raise ValueError(f"templates/{i} shows options, but the answer has no choices")
        if twice := sorted(set(self.fields) & set(self.constants)):
            raise ValueError(f"{twice[0]!r} is both a field and a constant")
        if self.long_field is not None and self.long_field not in self.fields:
            raise ValueError(f"long_field {self.long_field!r} is none of the fields {sorted(self.fields)}")

    @model_validator(mode="after")
    def _metrics_fit(self) -> Self:
        if strange := sorted(set(self.group_by) - set(self.fields)):
            raise ValueError(f"group_by {strange[0]!r} is none of the fields {sorted(self.fields)}")
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"a metric stands twice among {list(self.metrics)}")
        for metric in self.metrics:
            if need := unmet_need(metric, self.fixed_choices, self.group_by):
                raise ValueError(f"metric {metric!r} needs {need}")
        return self

    @property
    def language(self) -> Literal["slots", "promptsource"]:
        """What its templates are written in."""
        return self.templates[0].language

    @property
    def slot_templates(self) -> tuple[Template, ...]:
        """Its templates, where they are written in slots; else none."""
        return tuple(template for template in self.templates if isinstance(template, Template))

    @property
    def fixed_choices(self) -> tuple[str, ...]:
        """The choices that are the same in every row; empty where a row has its own, or there are none."""
        return self.answer.choices if self.answer else ()

    @property
    def has_choices(self) -> bool:
        """Whether it is a classification: answered by choosing an option, through every answer template."""
        if self.answer is not None:
            return self.answer.has_choices
        asking = [self.templates[i] for i in self.answer_templates]
        return all(isinstance(each, PromptsourceTemplate) and each.answer_choices for each in asking)

    @property
    def kin(self) -> str:
        """Its family; a task without one is a family of its own."""
        return self.family or self.name

    @property
    def answer_templates(self) -> tuple[int, ...]:
        """Indices of the templates an evaluation uses."""
        return tuple(i for i, template in enumerate(self.templates) if template.role == "answer")


def parse_yaml(text: str) -> Any:
    """The value of a YAML or JSON text. Raises InvalidDocument with line and column."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (a safe loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        problem = {"pointer": "", "code": "yaml", "message": f"{where}: {getattr(error, 'problem', error)}"}
        raise InvalidDocument(f"not YAML: {problem['message']}", [problem]) from error


def load_task(path: Path) -> Task:
    """The task in a YAML file. Raises NotFound, InvalidDocument."""
    if not path.is_file():
        raise NotFound(f"no file {path}")
    return parse(Task, parse_yaml(path.read_text()))


def load_collection(collection: Collection) -> dict[str, Task]:
    """Every task of a collection that comes with the platform, by name, in name order.

    In its files `templates` may name another task: the two share its list, as the variants of a dataset do.
    """
    found = [parse_yaml(path.read_text()) for path in collection_folder(collection).glob("*/*.yaml")]
    documents = {document["name"]: document for document in found}
    for document in found:
        if isinstance(document["templates"], str):
            document["templates"] = documents[document["templates"]]["templates"]
    return {name: parse(Task, documents[name]) for name in sorted(documents)}


def collection_folder(collection: Collection) -> Path:
    """Where a collection lies: taxonomy.yaml, and a folder of tasks for each cluster."""
    return Path(str(resources.files("flan.tasks"))) / ("collection" if collection == "flan" else "synthetic")
