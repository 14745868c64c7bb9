"""What the names in a spec mean here: tasks of the collections, uploads, models."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from sqlalchemy.orm import Session

from api.catalog import datasets, template_sets
from api.catalog.collections import tasks_of
from flan.card import ModelCard
from flan.data.bases import PRESET_PREFIX, PRESETS, NotOnThisMachine, import_base
from flan.errors import FlanError, NotFound, did_you_mean
from flan.store import Store
from flan.tasks.task import Collection, DatasetSource, Task
from workers.ledger import models

_TOO_MANY_DIGITS = re.compile(r"@\d{10,}$")  # more than any version has, and than the database counts

_SHOWN = 5  # names listed where none is like the one that was given


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

    def names(self) -> Iterable[str]:
        """What uploaded template sets are called."""
        return template_sets.names(self._session)

    def dataset(self, reference: str) -> DatasetSource:
        """The uploaded dataset, at the version that `reference` means now. Raises NotFound."""
        return datasets.source_of(datasets.find(self._session, reference))

    def model(self, reference: str) -> tuple[str | None, ModelCard | None]:
        """Digest and card of a preset (neither), a registered model, a directory or a cached hub model.

        Raises NotFound, ForbiddenPath, UnsafeWeights.
        """
        if reference.startswith(PRESET_PREFIX):
            return import_base(reference, self._store)
        if _TOO_MANY_DIGITS.search(reference):
            raise self._unknown(reference)
        try:
            version = models.find(self._session, reference)
        except models.ModelNotFound as error:
            unknown = error
        else:
            return version.digest, models.card_of(version)
        is_path = reference.startswith((".", "/", "~"))
        # A name that happens to be a folder beside the running API must not open that folder.
        is_folder_here = Path(reference).exists()
        if is_folder_here and not is_path and self._models_folder is None:
            raise self._unknown(reference) from unknown
        try:
            where = str(self._allowed(reference)) if is_path or is_folder_here else reference
            return import_base(where, self._store)
        except NotOnThisMachine as error:
            raise self._unknown(reference) from error

    def _unknown(self, reference: str) -> NotFound:
        """That no model goes by `reference`; the hint says only what this server can do about it."""
        name, _, _ = reference.partition("@")
        known = [version.name for version in models.page(self._session, limit=models.PAGE)]
        if name in known:
            newest = models.versions(self._session, name)[0].version
            called = [f"@{alias}" for alias in models.aliases(self._session, name)]
            hint = f"{name} has the versions {', '.join([f'@1 to @{newest}', *called])}"
        elif near := did_you_mean(name, known):
            hint = near
        elif reference.count("/") == 1 and not reference.startswith((".", "/", "~")):
            hint = f"the server's operator can fetch it from the hub: hf download {reference}"
        else:
            some = f"registered are: {', '.join(known[:_SHOWN])}" if known else "no model is registered yet"
            hint = f"{some}; a tune job can start from {next(iter(PRESETS))} and its like"
        return NotFound(f"there is no model {reference!r} here", hint=hint)

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
