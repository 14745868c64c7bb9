"""Named preparations: raw row → row, for datasets whose columns no slot can reach directly.

A task names one under `prepare`. Each is pure and documented with the rows it expects.
"""

from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]

PREPARATIONS: dict[str, Callable[[Row], Row]] = {}
