"""Which weights are trained."""

from typing import Annotated, Literal

from pydantic import Field

from flan.spec.document import Document


class FullTuning(Document):
    """Every weight is trained."""

    kind: Literal["full"] = "full"
    """All weights."""


ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,127}$")]


class Lora(Document):
    """A low-rank addition to matrices that stay as they are (Hu et al. 2021): W + (alpha / rank) · B · A."""

    kind: Literal["lora"] = "lora"
    """Low-rank additions alone."""
    rank: int = Field(default=8, ge=1, le=4_096)
    """Rows of A and columns of B."""
    alpha: float = Field(default=16.0, gt=0, le=65_536)
    """How much the addition counts: it is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of what an addition reads that is set to zero in training."""
    target_modules: tuple[ModuleName, ...] | None = Field(default=None, min_length=1, max_length=256)
    """Modules that get one, by the end of their names: q_proj, mlp.up_proj. None = every matrix of attention and
    feed-forward; never embeddings or the head."""


class SoftPrompt(Document):
    """Learned embeddings before every input of a model whose weights stay as they are (Lester et al. 2021)."""

    kind: Literal["soft_prompt"] = "soft_prompt"
    """A learned prompt alone."""
    length: int = Field(default=10, ge=1, le=1_024)
    """Tokens of the prompt; they count as part of input_length. FLAN: 10 (Wei et al. 2022, 4.5)."""


Method = Annotated[FullTuning | Lora | SoftPrompt, Field(discriminator="kind")]
"""Which weights are trained."""
