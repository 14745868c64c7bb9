"""A task: where its rows come from, what their fields are, what the answer is, and how to ask for it.

One YAML file is one task; the files of the collection and the template sets people upload have the same
form. Tasks are data: loading one runs no code of its author.
"""

from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator

from flan.errors import InvalidDocument, Problem, did_you_mean
from flan.faults import Wrong, refuse
from flan.spec import Document, Name, Reference, Sha256, parse
from flan.tasks.metric_names import MetricName, unmet_need
from flan.tasks.post import PostProcessing
from flan.tasks.prepare import PREPARATIONS
from flan.tasks.promptsource import PromptsourceTemplate
from flan.tasks.synthetic import GENERATORS, SPLITS
from flan.tasks.template import ANSWER_SLOT, OPTIONS_SLOT, Template, slots
from flan.tasks.yaml_text import parse_json, parse_yaml, place_of, read_text_file

FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
ColumnPath = Annotated[str, Field(min_length=1, max_length=256)]
"""`label`, or with dots into nested values: `answers.text.0`."""
DatasetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}(/[a-z0-9][a-z0-9._-]{0,63})?$")]
"""A dataset as flan/tasks/joins.yaml calls it: `snli`, or with its configuration `glue/rte`."""
Collection = Literal["flan", "synthetic"]
_MAX_SHOWN_SLOTS = 5
MAX_MADE_ROWS = 100_000
"""Of a split whose rows are made: they are kept in memory."""

_PART = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(\[(-?\d{1,9})?:(-?\d{1,9})?\])?$"


class Part(NamedTuple):
    """A split of the hub, or some of its rows by their places in a fixed random order."""

    split: str
    which: slice | None

    def count(self, num_rows: int) -> int:
        """How many rows it has when the split has `num_rows`."""
        return num_rows if self.which is None else len(range(num_rows)[self.which])


def _is_empty(part: Part) -> bool:
    """Whether it has no row, however many its split has."""
    start, stop = (part.which.start or 0, part.which.stop) if part.which else (0, None)
    return stop is not None and (start < 0) == (stop < 0) and start >= stop


class HubSource(Document):
    """A dataset of the Hugging Face hub, kept on this machine in hub layout."""

    kind: Literal["hub"] = "hub"
    """Rows of a dataset of the hub."""
    id: str = Field(min_length=1)
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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse("HubSource", self._faults())
        return self

    def _faults(self) -> Iterator[Wrong]:
        for split, part in self.splits.items():
            if _is_empty(self.part(split)):
                said = f"{part} is no row: it ends before it begins"
                yield Wrong(
                    ("splits", split), "empty_part", said, "count from the start, or with - from the end"
                )

    def part(self, split: str) -> Part:
        """What `split` is made of."""
        name, _, ends = self.splits[split].removesuffix("]").partition("[")
        if not ends:
            return Part(name, None)
        start, stop = (int(end) if end else None for end in ends.split(":"))
        return Part(name, slice(start, stop))

    def published_rows(self, split: str) -> int | None:
        """How many rows `split` has where the dataset is whole; None where that is not on record."""
        part = self.part(split)
        return part.count(self.rows[part.split]) if part.split in self.rows else None


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
    splits: dict[Name, Annotated[int, Field(ge=1, le=MAX_MADE_ROWS)]] = Field(min_length=1)
    """Split → number of rows."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse("SyntheticSource", self._faults())
        return self

    def _faults(self) -> Iterator[Wrong]:
        if self.generator not in GENERATORS:
            hint = did_you_mean(self.generator, GENERATORS) or f"there are {', '.join(sorted(GENERATORS))}"
            yield Wrong(
                ("generator",), "unknown_generator", f"there is no generator {self.generator!r}", hint
            )
        for split in self.splits:
            if split not in SPLITS:
                said = f"a generator makes no split {split!r}"
                yield Wrong(("splits", split), "unknown_split", said, f"there are {' and '.join(SPLITS)}")


class CorpusSource(Document):
    """Plain text in pieces, each a row with `text`, and with `ends` where a document ends with it."""

    kind: Literal["corpus"] = "corpus"
    """Rows that are cut from plain text."""
    name: Name
    """Of the text: a file `corpus/<name>.txt` or `.jsonl` of the folder of datasets; or what a dataset is called."""
    dataset: DatasetSource | None = None
    """The uploaded dataset that has it; null = the folder."""
    column: Annotated[str, Field(min_length=1, max_length=256)] = "text"
    """Where the text is in JSON lines, each of which is a document."""
    documents: Literal["whole", "lines", "blank_lines"] = "whole"
    """How a plain text is parted into documents."""
    piece_chars: int = Field(ge=8, le=2**18)
    """Longest piece, in characters."""
    splits: dict[Literal["train"], Name] = {"train": "train"}
    """Its one split, and which of a dataset's it is."""


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
        refuse("Answer", self._faults())
        return self

    def _faults(self) -> Iterator[Wrong]:
        for i, choice in enumerate(self.choices):
            if choice in self.choices[:i]:
                yield Wrong(("choices", i), "doubled", f"the choice {choice!r} stands twice", "leave one out")
            if choice.splitlines() != [choice]:
                said = "a choice is one line of the OPTIONS block: it cannot hold a line break"
                yield Wrong(("choices", i), "line_break", said, "write it on one line")
            elif choice != choice.strip():
                said = f"the choice {choice!r} begins or ends with a blank: no answer could be equal to it"
                yield Wrong(("choices", i), "outer_blank", said, "take the blanks away")
        if self.choices and self.choices_from:
            yield Wrong(
                ("choices_from",), "contradiction", "choices are given too: which of the two?", "give one"
            )
        if self.names_from and not self.choices_from:
            said = "names_from names the choices of each row, and there is no choices_from"
            yield Wrong(("names_from",), "contradiction", said, "give choices_from, or leave it out")
        if self.keys_from and not self.has_choices:
            said = "keys_from tells choices apart, and there are none"
            yield Wrong(("keys_from",), "contradiction", said, "give choices_from, or leave it out")
        if self.choices and self.labels:
            yield from self._unequal_labels()

    def _unequal_labels(self) -> Iterator[Wrong]:
        for label, choice in self.labels.items():
            if choice not in self.choices:
                said = f"{choice!r} is none of the choices {list(self.choices)}"
                yield Wrong(("labels", label), "unknown_choice", said, did_you_mean(choice, self.choices))
        for i, choice in enumerate(self.choices):
            if choice not in self.labels.values():
                said = f"no label stands for {choice!r}: it could be shown, and never be the answer"
                yield Wrong(("choices", i), "choice_without_label", said, "add its label under answer.labels")

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
    origins: tuple[DatasetName, ...] | None = Field(default=None, max_length=64)
    """Datasets that its rows were made from, `unknown` where nobody knows, [] where they are its own; null: its
    dataset of the hub, or rows of its own."""
    description: str = ""
    """What it is about, in a sentence."""
    licence: str = "unknown"
    """Of the rows."""
    source: Annotated[HubSource | DatasetSource | SyntheticSource | CorpusSource, Field(discriminator="kind")]
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
    post: PostProcessing = "as_written"
    """What of a written answer is compared: all of it, or its first line or word."""
    templates: _Templates = Field(min_length=1, max_length=1_000)
    """Ways of asking, at least one of which asks for the answer."""
    example: dict[str, JsonValue] | None = None
    """A made-up row in the source's columns, for pages, previews and tests where no data is at hand."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse("Task", [*self._faults_of_fields(), *self._faults_of_templates(), *self._faults_of_metrics()])
        return self

    def _faults_of_templates(self) -> Iterator[Wrong]:
        if all(template.role == "inverted" for template in self.templates):
            said = "every template is inverted: none asks for the answer"
            yield Wrong(("templates",), "no_answer_template", said, "add one whose target holds {answer}")
        for i, template in enumerate(self.templates):
            if template.language != self.language:
                said = f"written in {template.language}, and those before it in {self.language}"
                hint = "all templates of a task are of one language: make a task of each"
                yield Wrong(("templates", i, template.language, "language"), "two_languages", said, hint)
            elif isinstance(template, Template) and self.answer is not None and self.fields:
                yield from self._unknown_slots(i, template, self.answer)

    def _unknown_slots(self, i: int, template: Template, answer: Answer) -> Iterator[Wrong]:
        fields = sorted({*self.fields, *self.constants})
        for place in ("input", "target"):
            known = {*fields, OPTIONS_SLOT, ANSWER_SLOT}
            if unknown := sorted(slots(getattr(template, place)) - known):
                shown = ", ".join(f"{{{slot}}}" for slot in unknown[:_MAX_SHOWN_SLOTS])
                said = f"no field for {shown}; the task has {', '.join(fields)}"
                hint = did_you_mean(unknown[0], known)
                hint = hint or "name its column under fields, or write {{ and }} for braces"
                yield Wrong(("templates", i, "slots", place), "unknown_slot", said, hint)
        if OPTIONS_SLOT in slots(template.input) and not answer.has_choices:
            said = "{options_} shows the choices, and the answer has none"
            hint = "give answer.choices or answer.choices_from, or take {options_} out"
            yield Wrong(("templates", i, "slots", "input"), "no_choices", said, hint)

    def _faults_of_fields(self) -> Iterator[Wrong]:
        if self.prepare is not None and self.prepare not in PREPARATIONS:
            hint = did_you_mean(self.prepare, PREPARATIONS) or f"there are {', '.join(sorted(PREPARATIONS))}"
            yield Wrong(
                ("prepare",), "unknown_preparation", f"there is no preparation {self.prepare!r}", hint
            )
        if self.language == "promptsource":
            for name in ("answer", "fields", "constants", "long_field"):
                if getattr(self, name):
                    said = "templates of promptsource read columns themselves, and print the answer"
                    yield Wrong((name,), "contradiction", said, "leave it out")
            return
        if self.answer is None:
            yield Wrong(
                ("answer",), "missing", "this field is needed", "say where the answer is: {column: label}"
            )
        if not self.fields:
            yield Wrong(("fields",), "missing", "at least one is needed", "name a column: {text: text}")
        for where, named in (("fields", self.fields), ("constants", self.constants)):
            for name in sorted({*named} & {OPTIONS_SLOT, ANSWER_SLOT}):
                said = f"{name!r} is reserved: that slot is filled from the answer"
                yield Wrong((where, name), "reserved_name", said, "give it another name")
        for name in sorted({*self.fields} & {*self.constants}):
            said = f"{name!r} is a field too: which of the two?"
            yield Wrong(("constants", name), "contradiction", said, "leave one out")
        if self.long_field is not None and self.long_field not in self.fields:
            said = f"{self.long_field!r} is none of the fields: {', '.join(self.fields)}"
            yield Wrong(
                ("long_field",), "unknown_field_name", said, did_you_mean(self.long_field, self.fields)
            )

    def _faults_of_metrics(self) -> Iterator[Wrong]:
        for i, name in enumerate(self.group_by):
            if name not in self.fields:
                said = f"{name!r} is none of the fields: {', '.join(self.fields) or 'there are none'}"
                yield Wrong(("group_by", i), "unknown_field_name", said, did_you_mean(name, self.fields))
        for i, metric in enumerate(self.metrics):
            if metric in self.metrics[:i]:
                yield Wrong(("metrics", i), "doubled", f"the metric {metric!r} stands twice", "leave one out")
            elif need := unmet_need(metric, self.fixed_choices, self.group_by):
                hint = "choose another metric, or give what it needs"
                yield Wrong(("metrics", i), "metric_unfit", f"{metric} needs {need}", hint)

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


def load_task(path: Path) -> Task:
    """The task in a YAML or JSON file. Raises NotFound; InvalidDocument naming the file, and the lines in it."""
    text = read_text_file(path)
    read = parse_json if path.suffix == ".json" else parse_yaml
    try:
        value = read(text)
    except InvalidDocument as error:
        raise InvalidDocument(f"{path}: {error.message}", error.problems) from error
    try:
        return parse(Task, value)
    except InvalidDocument as error:
        problems = [{**each, **place_of(text, each["pointer"])} for each in error.problems]
        raise InvalidDocument(f"{path}: {_told(problems)}", problems) from error


def _told(problems: Sequence[Problem]) -> str:
    first = problems[0]
    where = f"line {first['line']}, column {first['column']}, "
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}{first['pointer'] or 'the document'}: {first['message']}{more}"


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
