"""Shapes of previews: what is asked of POST /render, and rows as a model would see them."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from api.schemas import AkinShape, Row, TaskShape, TaskSplitShape
from flan.data.token_view import PartName, Side
from flan.evaluate.preview import Preview, TokenView
from flan.faults import Wrong, refuse
from flan.spec import Document, FewShot, OptionsPolicy, PromptFormat, Reference
from flan.tasks.task import Task


class RenderRequest(Document):
    """Show rows as a model would see them."""

    task: Reference | None = None
    """A task of a collection, or an uploaded template set; null = `draft`."""
    draft: dict[str, Any] | None = None
    """A template set that is not uploaded yet, as POST /template-sets takes it; it is not kept."""
    template: int | None = Field(default=None, ge=0, le=1_000)
    """Which template; None = all."""
    rows: list[Row] | None = Field(default=None, min_length=1, max_length=100)
    """The rows themselves, as the dataset would have them; null = `indices` of a split."""
    split: str | None = Field(default=None, max_length=64)
    """null = the first split of the task."""
    indices: tuple[Annotated[int, Field(ge=0, le=2**31)], ...] = Field(
        default=(0,), min_length=1, max_length=100
    )
    """Rows of the split, where none are given."""
    options: OptionsPolicy = "flan2021"
    """How answer choices are shown."""
    prompt_format: PromptFormat = "instructions"
    """What a row is asked with; dataset_name and no_template are the paper's ablations, one template each."""
    few_shot: FewShot | None = None
    """Solved rows before each row, as an evaluation with this seed draws them; null = none."""
    exemplars: list[Row] | None = Field(default=None, min_length=1, max_length=64)
    """Solved rows to use instead of drawn ones, the first first; few_shot then says how many, and what parts them.
    A row that is itself asked about is passed over."""
    model: Reference | None = None
    """A registered model whose tokens are shown: `name`, `name@3` or `name@alias`. What does not fit into its
    lengths is then cut or left out, as it would be in a run."""
    input_length: int = Field(default=1_024, ge=4, le=2**20)
    """Longest input, in tokens of the model; a longer one is cut at its long field."""
    target_length: int = Field(default=256, ge=2, le=2**20)
    """Longest target, in tokens of the model; what is written freely may be as long."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of layouts and solved rows that are drawn: an evaluation with this seed shows the same."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse("RenderRequest", self._faults())
        return self

    def _faults(self) -> Iterator[Wrong]:
        hint = "give a task that is there, or a draft"
        if self.task is None and self.draft is None:
            yield Wrong((), "one_of", "nothing says what is to be shown", hint)
        if self.task is not None and self.draft is not None:
            yield Wrong(("draft",), "one_of", "draft stands beside task", hint)


class TokenPartShape(BaseModel):
    """Token ids that belong together."""

    name: PartName
    """prefix, input, separator, target or end."""
    side: Side
    """Who reads or writes them: of a decoder-only model always the decoder."""
    ids: list[int]
    """The token ids."""
    tokens: list[str]
    """Each as the vocabulary spells it."""
    texts: list[str]
    """What of the text each stands for; where a character takes several ids, the first has it."""
    loss_mask: list[int]
    """1 where the loss counts the id: on the target and its end."""


class CutShape(BaseModel):
    """What of a row did not fit."""

    field: str
    """The long field."""
    text: str
    """The end of it, which the model does not read."""


class TokensShape(BaseModel):
    """An example token by token."""

    parts: list[TokenPartShape]
    """In the order in which they are read and written."""
    num_tokens: int
    """Of all parts."""
    num_input: int
    """What is read before the answer: prefix of a decoder, solved rows and separator included."""
    num_target: int
    """What is to be written, its end included."""
    input_length: int
    """Longest input here: input_length, or what leaves the model room for an answer."""
    target_fits: bool
    """Whether the target is within target_length; training leaves out an example whose target is not."""
    cut: CutShape | None
    """What was cut; null = all of the row is read."""

    @classmethod
    def of(cls, view: TokenView) -> "TokensShape":
        """What is shown of an example."""
        return cls(
            parts=[TokenPartShape.model_validate(part, from_attributes=True) for part in view.parts],
            num_tokens=sum(len(part.ids) for part in view.parts),
            num_input=view.num_input,
            num_target=view.num_target,
            input_length=view.input_length,
            target_fits=view.target_fits,
            cut=CutShape.model_validate(view.cut, from_attributes=True) if view.cut else None,
        )


class RenderErrorShape(BaseModel):
    """Why a row cannot be asked about through a template."""

    code: str
    """What kind of fault it is, for programs."""
    message: str
    """What is wrong, in words."""
    hint: str | None
    """The way out, where one is known."""


class RenderedShape(BaseModel):
    """A row through a template."""

    row: int
    """Which row: its place among those given, or its number in the split."""
    template: int
    """Which template, from 0."""
    role: str
    """answer, or inverted: it asks for what was the input."""
    input: str | None = None
    """What a model reads; null where there is an error."""
    target: str | None = None
    """What it should answer; null where there is an error."""
    choices: list[str] = []
    """The answers there are to choose from; none = the answer is free."""
    answer: str | None = None
    """The right answer; null where there is an error."""
    references: list[str] = []
    """Every answer that counts as right."""
    exemplars: list[int] = []
    """The solved rows before it, in their order: their numbers in few_shot.split, or places in `exemplars`."""
    tokens: TokensShape | None = None
    """Its tokens; null where no model was named."""
    error: RenderErrorShape | None = None
    """Why the row cannot be asked about through this template; null = it can."""

    @classmethod
    def of(cls, task: Task, row: int, preview: Preview) -> "RenderedShape":
        """What is shown of row number `row` through one of the task's templates."""
        shown = preview.rendered._asdict() if preview.rendered else {}
        error = preview.error
        return cls(
            row=row,
            template=preview.template,
            role=task.templates[preview.template].role,
            exemplars=list(preview.exemplars),
            tokens=TokensShape.of(preview.tokens) if preview.tokens else None,
            error=RenderErrorShape(code=error.code, message=error.message, hint=error.hint)
            if error
            else None,
            **shown,
        )


class RenderingShape(BaseModel):
    """The answer of POST /render."""

    object: Literal["rendering"] = "rendering"
    task: str
    """Which task."""
    data: list[RenderedShape]
    """Every row through every template that was asked for."""


class WholeTaskShape(TaskShape):
    """A task with what it is akin to, how many rows it has, and how it is asked."""

    akin: list[AkinShape]
    """Tasks made from the same texts: who trained on one has read parts of this one."""
    splits: dict[str, TaskSplitShape]
    """Split → what it is made of, and how many rows it has."""
    samples: list[RenderedShape]
    """A made-up row through each of its templates."""
