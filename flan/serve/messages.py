"""What can be asked of a served model: documents, the same for HTTP and command line.

A question comes as a `prompt`, the whole text as it is; as an `instruction`, with the text it is about and the
options to choose from; or as a row of a task and the template to put it through.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from flan.faults import Wrong, refuse
from flan.spec import Document, FewShot, OptionsPolicy, PromptFormat, Reference
from flan.tasks.task import Task

MAX_PROMPT_CHARS = 262_144
MAX_OPTIONS = 64
MAX_SAMPLES = 16
MAX_INPUTS = 64
MAX_STOPS = 16

Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARS)]
Option = Annotated[str, Field(min_length=1, max_length=1_024)]
Continuation = Annotated[str, Field(max_length=32_768)]
StopString = Annotated[str, Field(min_length=1, max_length=256)]
Row = dict[Annotated[str, Field(max_length=256)], JsonValue]
Timeout = Annotated[float, Field(gt=0, le=3_600)]


class TemplateUse(Document):
    """A template of a task, and how rows are put through it: as training and evaluation do."""

    task: Reference | Task
    """A task of a collection, an uploaded template set, or the document of a task itself."""
    number: Annotated[int, Field(ge=0, le=1_000)] | Literal["all"] = 0
    """Which template, from 0; all: every one that asks for the answer, to classify by vote."""
    options: OptionsPolicy = "flan2021"
    """How answer choices are shown."""
    prompt_format: PromptFormat = "instructions"
    """What a row is asked with; dataset_name and no_template are the paper's ablations, one template each."""
    few_shot: FewShot | None = None
    """Solved rows before the question: drawn from the task's rows by the platform, or `exemplars`; null = none."""
    exemplars: tuple[Row, ...] | None = Field(default=None, min_length=1, max_length=64)
    """The solved rows, the first first; few_shot then says how many, and what parts them."""
    exemplar_numbers: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Their numbers in the split they come from, on which drawn layouts depend; null = their places."""
    input_length: int = Field(default=1_024, ge=4, le=2**20)
    """Longest prompt, in tokens; a longer one is cut at its long field, as in training, and that is said."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of layouts and solved rows that are drawn."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse("TemplateUse", self._faults())
        return self

    def _faults(self) -> Iterator[Wrong]:
        if self.exemplar_numbers is not None and len(self.exemplar_numbers) != len(self.exemplars or ()):
            said = f"{len(self.exemplar_numbers)} numbers for {len(self.exemplars or ())} exemplars"
            yield Wrong(("exemplar_numbers",), "contradiction", said, "one for each, or leave it out")


class _Question(Document):
    """What requests share that put one question, in one of three forms, to be answered freely or by choosing."""

    model: Reference | None = None
    """Which model; may be left out where one is served."""
    prompt: Prompt | None = None
    """The question, as it is: with its OPTIONS block at the end where it has one."""
    instruction: Prompt | None = None
    """Or what is to be done, in words; `input` stands below it, and `options` below that."""
    template: TemplateUse | None = None
    """Or a template of a task, through which `input` is put as in training."""
    input: Prompt | Row | None = None
    """What the question is about: text for an instruction, a row for a template. The row may lack its answer."""
    options: tuple[Option, ...] | None = Field(default=None, min_length=1, max_length=MAX_OPTIONS)
    """Answers to choose from; null = those of the OPTIONS block that ends the prompt, if it has one."""
    options_in_prompt: bool = True
    """Whether `options` are also shown, as an OPTIONS block after a prompt that has none."""
    timeout_s: Timeout | None = None
    """The answer is given up when it is not there after so many seconds; null = as the deployment says."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse(type(self).__name__, self._faults())
        return self

    def _faults(self) -> Iterator[Wrong]:
        yield from self._faults_of_form()
        options = self.options or ()
        for place, option in enumerate(options):
            if option in options[:place]:
                yield Wrong(
                    ("options", place), "doubled", f"the option {option!r} stands twice", "leave one out"
                )
            elif self.options_in_prompt and option.splitlines() != [option]:
                said = "an option of an OPTIONS block is one line"
                yield Wrong(("options", place), "line_break", said, "set options_in_prompt: false")

    def _faults_of_form(self) -> Iterator[Wrong]:
        given = [name for name in ("prompt", "instruction", "template") if getattr(self, name) is not None]
        if not given:
            said = "this field is needed, or an instruction, or a template"
            yield Wrong(("prompt",), "missing", said, "give one of the three")
        for name in given[1:]:
            said = f"{given[0]} is given too: which of the two is the question?"
            yield Wrong((name,), "contradiction", said, "give one of prompt, instruction and template")
        if len(given) == 1:
            yield from self._faults_of_input(given[0])

    def _faults_of_input(self, form: str) -> Iterator[Wrong]:
        yield from wrong_input(form, ("input",), self.input)
        if form == "template" and self.options is not None:
            said = "a template brings the answer choices of its task"
            yield Wrong(("options",), "contradiction", said, "leave it out")


def wrong_input(form: str, place: tuple[str | int, ...], value: Any) -> Iterator[Wrong]:
    """What is wrong with the `input` of a question that comes as `form`: prompt, instruction or template."""
    if form == "prompt" and value is not None:
        said = "a prompt is the whole text: there is no place for an input"
        yield Wrong(place, "contradiction", said, "write it into the prompt, or give an instruction")
    elif form == "instruction" and isinstance(value, dict):
        yield Wrong(place, "not_text", "what an instruction is about is text", "a row needs a template")
    elif form == "template" and not isinstance(value, dict):
        said = (
            "this field is needed: a row" if value is None else "a template asks about a row, not about text"
        )
        yield Wrong(place, "missing" if value is None else "not_a_row", said, "give an object, column: value")


class GenerateRequest(_Question):
    """`POST /generate`. What is left out has the served model's default.

    With mode `auto`, a question that has options is answered by rank classification, unless the request sets
    n, temperature, top_k, top_p, repetition_penalty or stop, or asks for a stream: then it is sampled. `null` sets
    nothing.
    """

    mode: Literal["auto", "sample", "classify"] = "auto"
    """auto: options are ranked where there are any, else the answer is sampled."""
    n: int | None = Field(default=None, ge=1, le=MAX_SAMPLES)
    """How many answers."""
    temperature: float | None = Field(default=None, ge=0, le=100)
    """0 = always the most probable token."""
    top_k: int | None = Field(default=None, ge=0, lt=2**31)
    """0 = off."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Only the most probable tokens that together reach this probability are drawn from; 1 = off."""
    repetition_penalty: float | None = Field(default=None, ge=0.1, le=10)
    """Tokens of prompt and answer become so much less probable as they come again; 1 = off."""
    stop: tuple[StopString, ...] | None = Field(default=None, max_length=MAX_STOPS)
    """The answer ends before the first of these; it is not part of the text."""
    max_new_tokens: int | None = Field(default=None, ge=1, le=8_192)
    """The answer is cut after this many tokens."""
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Same request, same seed, same answer, whatever else the model is asked."""
    stream: bool = False
    """Whether the answer comes token by token, as server-sent events."""
    logprobs: bool = False
    """Whether each token's log-probability is reported."""

    def _faults(self) -> Iterator[Wrong]:
        yield from super()._faults()
        if self.template is not None and self.template.number == "all":
            said = "an answer is given to one prompt"
            yield Wrong(("template", "number"), "contradiction", said, "name one template, or ask /classify")


class ClassifyRequest(_Question):
    """`POST /classify`: how probable each option is as the whole answer to a question, or to many."""

    inputs: tuple[Prompt | Row, ...] | None = Field(default=None, min_length=1, max_length=MAX_INPUTS)
    """Many inputs of one instruction or template, each classified; the answer is then a list."""

    def _faults_of_input(self, form: str) -> Iterator[Wrong]:
        if self.inputs is None:
            yield from super()._faults_of_input(form)
            return
        if self.input is not None:
            yield Wrong(("input",), "contradiction", "inputs are given too", "give one of the two")
        for place, value in enumerate(self.inputs):
            yield from wrong_input(form, ("inputs", place), value)
        if form == "template" and self.options is not None:
            said = "a template brings the answer choices of its task"
            yield Wrong(("options",), "contradiction", said, "leave it out")


class ScoreRequest(Document):
    """`POST /score`: log-probabilities of continuations of a prompt, as targets: their end included."""

    model: Reference | None = None
    """Which model; may be left out where one is served."""
    prompt: Prompt
    """The text before the continuations."""
    continuations: tuple[Continuation, ...] = Field(min_length=1, max_length=MAX_OPTIONS)
    """What to score, each as the whole answer to the prompt."""
    timeout_s: Timeout | None = None
    """The answer is given up when it is not there after so many seconds; null = as the deployment says."""
