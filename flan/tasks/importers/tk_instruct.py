"""Tk-Instruct's prompts: a task's definition, its examples, then the input to answer.

    Definition: Write a title for the story.

     Positive Example 1 -
    Input: A dog ran home.
     Output: The dog.

    Now complete the following example -
    Input: A cat ran away.
    Output:

Source of the layout: Wang et al. 2022, and the collator of the released code.
"""

import string
from collections.abc import Callable
from typing import NamedTuple

from pydantic import Field

from flan.spec import Document
from flan.tasks.template import MAX_PATTERN_CHARS

_PUNCTUATION = tuple(string.punctuation)
_SLOT_ENDING = "{input}\nOutput: "


class Encoding(Document):
    """What a prompt holds beside the input. The default is the paper's best."""

    task_name: bool = False
    definition: bool = True
    positive: int = Field(default=2, ge=0)
    """At most this many right examples."""
    negative: int = Field(default=0, ge=0)
    """At most this many wrong ones."""
    explanations: bool = False
    """Whether an example says why it is right or wrong."""


PAPER = Encoding()
TK_INSTRUCT: dict[str, Encoding] = {
    "definition": Encoding(positive=0),
    "positive": Encoding(definition=False),
    "definition_positive": PAPER,
    "definition_positive_negative": Encoding(negative=2),
    "definition_positive_explained": Encoding(explanations=True),
}
"""The five encodings that Tk-Instruct draws from, each as likely."""


class Exemplar(NamedTuple):
    """A solved input that comes with the instructions."""

    input: str
    output: str
    explanation: str | None


class Instructions(NamedTuple):
    """What a file says about its task."""

    name: str
    """The file's name without ending, as the lists of splits have it."""
    definition: str
    positive: tuple[Exemplar, ...]
    negative: tuple[Exemplar, ...]
    """Wrong answers."""
    categories: tuple[str, ...]
    domains: tuple[str, ...]
    reasoning: tuple[str, ...]
    input_languages: tuple[str, ...]
    output_languages: tuple[str, ...]
    instruction_languages: tuple[str, ...]
    sources: tuple[str, ...]
    urls: tuple[str, ...]
    contributors: tuple[str, ...]
    licences: tuple[str, ...]


def encode(
    instructions: Instructions,
    input: str,
    encoding: Encoding = PAPER,
    fits: Callable[[str], bool] | None = None,
) -> str:
    """The prompt for one input. Examples are added in turn while `fits` holds for the whole prompt.

    The first right example that does not fit ends the right ones, the first wrong one the wrong ones, as in
    the released code (there: 1,024 tokens). What does not fit without any example is returned as it is.
    """
    head = f"{instructions.name}. " if encoding.task_name else ""
    head += f"Definition: {closed(instructions.definition)}\n\n" if encoding.definition else ""
    question = f"Now complete the following example -\nInput: {closed(input)}\nOutput: "
    for kind, exemplars in (
        ("Positive", instructions.positive[: encoding.positive]),
        ("Negative", instructions.negative[: encoding.negative]),
    ):
        for number, exemplar in enumerate(exemplars, 1):
            longer = head + f" {kind} Example {number} -\n" + _solved(exemplar, encoding.explanations)
            if fits is not None and not fits(longer + question):
                break
            head = longer
    return head + question


def closed(text: str) -> str:
    """`text` without outer white space, ended by a full stop unless it ends in ASCII punctuation."""
    text = text.strip()
    return text if text.endswith(_PUNCTUATION) else f"{text}."


def pattern(instructions: Instructions, encoding: Encoding = PAPER) -> str:
    """The template pattern that lays out every input as `encode` does: literal text and the slot {input}.

    Its field is `closed` already. Examples that would make it longer than a pattern may be are left out.
    """

    def written(prompt: str) -> str:
        return prompt.removesuffix(_SLOT_ENDING).replace("{", "{{").replace("}", "}}") + _SLOT_ENDING

    # The slot ends in punctuation: nothing is added to it.
    return written(
        encode(instructions, "{input}", encoding, lambda it: len(written(it)) <= MAX_PATTERN_CHARS)
    )


def _solved(exemplar: Exemplar, is_explained: bool) -> str:
    text = f"Input: {closed(exemplar.input)}\n Output: {closed(exemplar.output)}\n"
    if is_explained and exemplar.explanation is not None:
        text += f" Explanation: {closed(exemplar.explanation)}\n"
    return text + "\n"
