"""Tokenizers of registered models, for previews: read once, and kept."""

from functools import lru_cache
from pathlib import Path

from sqlalchemy.orm import Session

from api.deps import Platform
from flan.card import ModelCard
from flan.data.token_view import Speller, read_speller
from flan.errors import FlanError
from workers.ledger import models

_TOKENIZERS_KEPT = 4


def speller_of(session: Session, here: Platform, reference: str) -> Speller:
    """The tokenizer and card of a registered model. Raises NotFound, UnusableTokenizer, at `/model`."""
    try:
        version = models.find(session, reference)
        return _read(here.store.path(version.digest), models.card_of(version).canonical())
    except FlanError as error:
        if error.blame == "user":
            error.pointer = "/model"
        raise


@lru_cache(_TOKENIZERS_KEPT)
def _read(directory: Path, card: str) -> Speller:
    # What is stored is never changed: a tokenizer that was read stays the model's.
    return read_speller(directory, ModelCard.model_validate_json(card))
