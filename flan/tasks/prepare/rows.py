"""What a preparation takes and gives."""

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]
