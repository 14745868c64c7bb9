"""Preview: what a mixture is made of, before a job is handed in."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field

from api.auth import needs
from api.bodies import Body
from api.catalog.library import CatalogLibrary
from api.deps import Here
from api.openapi import takes
from api.spellers import speller_of
from flan.data.composition import Ruler, words
from flan.data.mixture_preview import MixturePreview, preview_mixture
from flan.spec import Document, Leakage, Mixture, Reference, TuneSpec, parse

router = APIRouter(tags=["Mixtures"])
MAX_MEASURED = 5_000
"""Examples that one request renders to measure them."""
MAX_COMPARED = 150_000
"""Rows, training and held-out ones, that one request reads to compare them."""


class MixtureRequest(Document):
    """Show what a mixture is made of."""

    mixture: Mixture
    """As in a tune spec."""
    model: Reference | None = None
    """A registered model that would be tuned: lengths are then in its tokens, and what it has seen is warned of;
    null = in words."""
    rows_per_template: int = Field(default=1, ge=0, le=16)
    """Rows of each task that are rendered through each of its templates to measure lengths; 0 = measure nothing."""
    sample: int = Field(default=5, ge=0, le=50)
    """How many of a run's first examples are shown."""
    leakage_rows: int = Field(default=0, ge=0, le=30_000)
    """Training rows of each task, a seeded sample, that are compared with all that is held out; 0 = none."""
    leakage: Leakage = Leakage()
    """With what they are compared, and how long a shared passage is: as in a tune spec."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of the run: decides which examples come in which order."""
    input_length: int = Field(default=1_024, ge=4, le=8_192)
    """Longest input; a longer one is cut at its long field."""
    target_length: int = Field(default=256, ge=2, le=8_192)
    """Longest target; an example with a longer one is dropped."""


@router.post(
    "/mixtures",
    operation_id="preview_mixture",
    response_model=MixturePreview,
    dependencies=[needs("jobs:read")],
    openapi_extra=takes(MixtureRequest),
)
def preview(here: Here, wanted: Annotated[MixtureRequest, Depends(Body(MixtureRequest))]) -> MixturePreview:
    """Shares of examples and tokens by part, cluster, task and template, and what a run would draw first.

    Nothing is recorded: asked again, of the same catalog, it answers the same. What is held out stands there with its
    reason, and what is missing with its share; and, asked for, the passages that training rows share with it.
    """
    with here.sessions.begin() as session:
        model = speller_of(session, here, wanted.model) if wanted.model else None
        return preview_mixture(
            _spec(wanted),
            CatalogLibrary(session, here.store, here.settings.models),
            here.places,
            Ruler("tokens", model.tokenizer, model.card.contract) if model else words(),
            rows_per_template=wanted.rows_per_template,
            num_sampled=wanted.sample,
            num_compared=wanted.leakage_rows,
            most=MAX_MEASURED,
            most_compared=MAX_COMPARED,
        )


def _spec(wanted: MixtureRequest) -> TuneSpec:
    asked = wanted.model_dump(
        mode="json",
        include={"mixture", "leakage", "seed", "input_length", "target_length"},
        exclude_unset=True,
    )
    return parse(TuneSpec, {"name": "preview", "base": wanted.model or "preset:nano", **asked})
