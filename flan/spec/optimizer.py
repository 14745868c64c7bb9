"""How weights are moved, with every setting."""

from typing import Literal, Self

from pydantic import Field, model_validator

from flan.faults import Wrong, refuse
from flan.spec.document import Document


class Optimizer(Document):
    """FLAN: Adafactor at a constant 3e-5, with the settings of T5X."""

    name: Literal["adafactor", "adamw"] = "adafactor"
    """adafactor: what FLAN was tuned with. adamw: needs two more numbers for each weight."""
    learning_rate: float = Field(default=3e-5, gt=0, le=10)
    """The highest rate, reached after warm-up."""
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt"] = "constant"
    """After warm-up: constant, or down to zero at the last step; inverse_sqrt: T5's, with 1/√step."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the rate rises from zero; with inverse_sqrt, over which it has its highest value."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """How strongly all weights are drawn to zero: each step by this share of the rate; 0 = off."""
    gradient_clip: float = Field(default=0.0, ge=0)
    """Largest global norm of a step's gradient; 0 = off."""
    scale_parameter: bool = True
    """Adafactor only: updates relative to the size of the weights, as T5X does."""
    scale_epsilon: float = Field(default=1e-3, gt=0)
    """Adafactor only: weights smaller than this (root mean square) count as of this size. T5X: epsilon2."""
    update_clip: float = Field(default=1.0, ge=0)
    """Adafactor only: largest root mean square of a weight's update, before the rate; 0 = off."""
    decay_exponent: float = Field(default=0.8, gt=0, le=1)
    """Adafactor only: at step t the moments keep 1 − t^−decay_exponent of what they were."""
    square_epsilon: float = Field(default=1e-30, gt=0, le=1)
    """Adafactor only: added to squared gradients. T5X: epsilon1."""
    factored_from: int = Field(default=128, ge=1)
    """Adafactor only: a matrix with fewer rows or columns keeps a moment for each weight, not for each row
    and column. T5X: min_dim_size_to_factor."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """AdamW only: how much of the mean of gradients is kept at each step."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """AdamW only: how much of the mean of squared gradients is kept at each step."""
    epsilon: float = Field(default=1e-8, gt=0, le=1)
    """AdamW only: added to the root of the mean of squares."""

    @model_validator(mode="after")
    def _settings_are_its_own(self) -> Self:
        # Left at its default a setting of the other optimizer says nothing.
        fields = type(self).model_fields
        other = ADAMW_ONLY if self.name == "adafactor" else ADAFACTOR_ONLY
        refuse(
            "Optimizer",
            [
                Wrong(
                    (field,),
                    "not_of_this_optimizer",
                    f"{self.name} has no {field}",
                    "leave it out, or take the other optimizer",
                )
                for field in other
                if getattr(self, field) != fields[field].default
            ],
        )
        return self


ADAFACTOR_ONLY = (
    "scale_parameter",
    "scale_epsilon",
    "update_clip",
    "decay_exponent",
    "square_epsilon",
    "factored_from",
)
ADAMW_ONLY = ("beta1", "beta2", "epsilon")
