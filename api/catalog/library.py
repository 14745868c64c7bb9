"""What the names in a spec mean here: tasks of the collections, uploads, models."""

import re
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.orm import Session

from api.catalog import template_sets
from api.catalog.collections import tasks_of
from flan.card import ModelCard
from flan.data.bases import PRESET_PREFIX, import_base
from flan.errors import FlanError, NotFound
from flan.store import Store
from flan.tasks.task import Collection, Task
from workers.ledger import models

_TOO_MANY_DIGITS = re.compile(r"@\d{10,}$")  # more than any version has, and than the database counts


class ForbiddenPath(FlanError):
    """A spec names a directory outside the folder that operators opened for models."""

    code, blame = "path_forbidden", "user"


class CatalogLibrary:
    """The library of one transaction (flan/data/resolve.py asks it)."""

    def __init__(self, session: Session, store: Store, models_folder: Path | None) -> None:
        self._session = session
        self._store = store
        self._models_folder = models_folder

    def tasks(self, collection: Collection) -> Mapping[str, Task]:
        """Every task of a collection."""
        return tasks_of(collection)

    def task(self, reference: str) -> Task:
        """A task of a collection, or an uploaded template set. Raises NotFound."""
        return template_sets.any_task(self._session, reference)

    def model(self, reference: str) -> tuple[str | None, ModelCard | None]:
        """Digest and card of a preset (neither), a registered model, a directory or a cached hub model.

        Raises NotFound, ForbiddenPath, UnsafeWeights.
        """
        if reference.startswith(PRESET_PREFIX):
            return import_base(reference, self._store)
        if _TOO_MANY_DIGITS.search(reference):
            raise NotFound(f"no model {reference!r}")
        try:
            version = models.find(self._session, reference)
        except models.ModelNotFound as error:
            unknown = error
        else:
            return version.digest, models.card_of(version)
        # A name that happens to be a folder beside the running API must not open that folder.
        if reference.startswith((".", "/", "~")) or Path(reference).exists():
            return import_base(str(self._allowed(reference)), self._store)
        try:
            return import_base(reference, self._store)
        except NotFound as error:
            raise NotFound(
                f"no model {reference!r}: not registered here, nor in the hub cache of this machine",
                hint=error.hint,
            ) from unknown

    def _allowed(self, reference: str) -> Path:
        """The directory, which must lie below the models folder, links followed. Raises ForbiddenPath."""
        folder = self._models_folder
        if folder is None:
            raise ForbiddenPath(
                "this server opens no directories", hint="set FLAN_MODELS to a folder of models"
            )
        path = (folder / reference).resolve()
        if not path.is_relative_to(folder):
            raise ForbiddenPath(f"{reference!r} is outside the models folder of this server")
        return path
