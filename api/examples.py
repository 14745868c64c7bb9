"""One example of every operation, by operation id: what is sent, and what comes back.

They are shown in the reference and carried out by a test, against a platform on which the things they speak
of exist.
"""

from typing import Any, NamedTuple


class Example(NamedTuple):
    """A request and its answer. A body is JSON, or text of `media_type`."""

    status: int = 200
    parameters: dict[str, Any] = {}
    body: Any = None
    media_type: str = "application/json"
    answer: Any = None


EXAMPLES: dict[str, Example] = {}
