"""What a lint says: findings, and the tally that makes one finding of a fault of many rows."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

Severity = Literal["error", "warning"]
RoundTrip = Callable[[str], str]
"""Text → what a tokenizer makes of its ids."""


class Finding(NamedTuple):
    """One fault. `template` and `row` are indices; None where the fault is not of one template or row."""

    template: int | None
    code: str
    severity: Severity
    message: str
    row: int | None = None
    task: str | None = None
    """Whose fault it is, where a whole collection was looked at."""


class Fault(NamedTuple):
    """What is wrong, before it is known where."""

    code: str
    severity: Severity
    message: str


class Limits(NamedTuple):
    """Longest input and target, in characters: FLAN's 1,024 and 256 tokens at about four characters each."""

    input_chars: int = 4_096
    target_chars: int = 1_024


FLAN_LIMITS = Limits()
HABIT = 0.05
"""A fault of wording that shows in more than this share of the rows is the template's, else the row's."""
_WORDING = frozenset({"doubled_punctuation", "run_on", "wrong_article"})


class Tally:
    """Faults of rows by place and code: how often, where first, and what was said there."""

    def __init__(self) -> None:
        self._rows: defaultdict[tuple[int | None, str], set[int]] = defaultdict(set)
        self._firsts: dict[tuple[int | None, str], tuple[int, Fault]] = {}

    def add(self, row: int, template: int | None, fault: Fault) -> None:
        """Count a fault of a row, seen through a template or through none in particular."""
        key = (template, fault.code)
        self._rows[key].add(row)
        self._firsts.setdefault(key, (row, fault))

    def findings(self, num_rows: int) -> Iterator[Finding]:
        """One for each place and code."""
        for (template, code), (row, fault) in self._firsts.items():
            count = len(self._rows[template, code])
            if code in _WORDING and count <= HABIT * num_rows:
                continue
            # Some broken rows are a loss; all of them are a fault of the task.
            is_lost = code in ("row_dropped", "row_passed_over") and count == num_rows
            message = f"{count} of {num_rows} rows; first: {fault.message}"
            yield Finding(template, code, "error" if is_lost else fault.severity, message, row)
