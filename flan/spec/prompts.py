"""How a row is asked, whoever asks it: layout of the options, form of the prompt, solved rows before it."""

from typing import Literal

from pydantic import Field

from flan.spec.document import Document, Name

OptionsPolicy = Literal["flan2021", "flan2022", "none"]
"""How answer choices are shown: in FLAN's one layout, in one drawn for each example, or not at all."""
PromptFormat = Literal["instructions", "dataset_name", "no_template"]
"""What a row is asked with: templates, a tag that names its dataset, or nothing (Wei et al. 2022, 4.3)."""


class FewShot(Document):
    """Solved rows before each question (Wei et al. 2022, 4.4)."""

    shots: int = Field(ge=1, le=64)
    """How many; fewer where they do not fit. FLAN: 16 at most."""
    max_tokens: int = Field(default=960, ge=1, le=2**20)
    """Solved rows and question together, in tokens; the last solved rows are left out first."""
    balanced: bool = False
    """Every answer once before any comes twice."""
    split: Name = "train"
    """Where they are drawn from; never the row that is asked."""
    before_target: str = Field(default="\n", max_length=256)
    """Text between a solved row's question and its answer."""
    after_target: str = Field(default="\n\n", max_length=256)
    """Text after a solved row's answer."""
