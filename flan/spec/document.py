"""What every document is: a frozen value that refuses unknown fields and is known by its digest."""

import hashlib
import json
from functools import lru_cache
from typing import Annotated, Any, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from flan.errors import InvalidDocument, problem
from flan.faults import translate

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""A name a person chose. Never used as a path."""
Reference = Annotated[str, Field(min_length=1, max_length=512)]
"""`name`, `name@3`, `name@alias`; for models also `preset:nano`, a hub id or a directory."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
D = TypeVar("D", bound="Document")


class Document(BaseModel):
    """A frozen value that refuses unknown fields and is known by its digest."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def canonical(self) -> str:
        """JSON with sorted keys and no spaces: equal documents, equal text."""
        return canonical_json(self.model_dump(mode="json"))

    def digest(self) -> str:
        """sha256 of the canonical text, in hex."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """The document in `value` (parsed JSON or YAML). Raises InvalidDocument naming every fault."""
        return parse(cls, value)


def parse(document: type[D], value: Any) -> D:
    """`value` as a `document`. Raises InvalidDocument naming every fault."""
    return cast(D, validated(_adapter(document), value, document.__name__))


@lru_cache(1_000)
def _adapter(document: type[Document]) -> TypeAdapter[Any]:
    return TypeAdapter(document)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces. Raises ValueError on NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def validated(adapter: TypeAdapter[Any], value: Any, what: str) -> Any:
    """`value` as `adapter` has it; `what` it is called in messages. Raises InvalidDocument naming every fault."""
    # Through JSON, so that strict mode takes a list for a tuple but never "3" for 3 or true for 1.0.
    try:
        text = canonical_json(value)
    except (TypeError, ValueError) as error:
        raise InvalidDocument(f"{what}: not JSON: {error}", [problem("", "not_json", str(error))]) from error
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        problems = translate(error.errors(include_url=False), adapter.json_schema())
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        message = f"{what}: {first['pointer'] or 'the document'}: {first['message']}{more}"
        raise InvalidDocument(message, problems) from error
