"""Every error raised on purpose, one tree.

Each error says what happened, whose it is to mend (`blame`), and the way out (`hint`). `code` is stable:
clients, tests and the job's failure record match on it. An error that belongs to one room is defined
in that room; only those that several rooms raise stand here.
"""

import copyreg
import difflib
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

Blame = Literal["user", "system", "infra"]
"""user: the request must change. system: our bug. infra: the machine; trying again may help."""


class FlanError(Exception):
    """Root of all errors raised on purpose.

    `pointer` is a JSON pointer to the faulty place of a document ("/mixture/tasks/0"), `values` are the
    figures a client may want to show; both end up in the problem document of the API.
    """

    code: ClassVar[str] = "internal"
    blame: ClassVar[Blame] = "system"

    def __init__(
        self, message: str, *, hint: str | None = None, pointer: str | None = None, **values: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.pointer = pointer
        self.values = values

    def __reduce__(self) -> tuple[Any, ...]:
        # Without __init__: the subclasses ask for arguments of their own.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class InvalidDocument(FlanError):
    """A spec, template set or other document does not have its form; `problems` lists every fault."""

    code, blame = "invalid_document", "user"

    def __init__(self, message: str, problems: list["Problem"]) -> None:
        super().__init__(message, pointer=problems[0]["pointer"] if problems else None, problems=problems)
        self.problems = problems


class NotFound(FlanError):
    """Something named does not exist."""

    code, blame = "not_found", "user"


class Conflict(FlanError):
    """The request contradicts what is already there."""

    code, blame = "conflict", "user"


class DiskFull(FlanError):
    """A write did not fit."""

    code, blame = "disk_full", "infra"


class StoreCorrupt(FlanError):
    """Bytes on disk no longer have the digest they are known by."""

    code, blame = "store_corrupt", "infra"


Problem = dict[str, Any]
"""One fault of a document: {"pointer", "code", "message"} and, where we have an idea, "hint"."""


def problem(pointer: str, code: str, message: str, hint: str | None = None) -> Problem:
    """A fault at `pointer`, a JSON pointer into the document."""
    return {"pointer": pointer, "code": code, "message": message} | ({"hint": hint} if hint else {})


def more_tasks(count: int) -> str:
    """What a message that names the first of several tasks says of the others."""
    return f" (and {count} more task{'s' if count > 1 else ''})" if count else ""


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """A hint with the likeliest of `known`; None when none is spelt like `name`."""
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)
    return f"did you mean {found[0]!r}?" if found else None
