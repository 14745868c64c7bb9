"""promptsource's rendering with the real Jinja2, sandboxed: what the importer is compared with.

Follows promptsource/templates.py step by step: only the top-level texts of a row are guarded, and the answer
choices come back unguarded. Random choices are those of `draw`; as context filters they are made when a row is
rendered, not while the template is compiled.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import pass_context
from jinja2.sandbox import SandboxedEnvironment

GUARD = "3ed2dface8203c4c9dfb1a5dc58e41e0"


def environment(draw: Callable[[int], int]) -> SandboxedEnvironment:
    """promptsource's environment: zip, choice, most_frequent; chance is `draw`."""
    made = SandboxedEnvironment()
    made.globals.update(zip=zip)

    @pass_context
    def choice(_context: Any, items: Any) -> Any:
        if not len(items):
            raise IndexError("no items")
        return items[draw(len(items))]

    @pass_context
    def random(context: Any, items: Any) -> Any:
        try:
            return choice(context, items)
        except IndexError:
            return context.environment.undefined("No random item, sequence was empty.")

    def most_frequent(items: Any) -> list[Any] | None:
        if not items:
            return None
        counts = Counter(items).most_common()
        return [item for item, count in counts if count == counts[0][1]]

    made.filters.update(choice=choice, random=random, most_frequent=most_frequent)
    return made


def render(
    jinja: str, answer_choices: str | None, row: Mapping[str, Any], draw: Callable[[int], int], truncate: bool
) -> tuple[list[str], list[str] | None]:
    """(parts, choices) as promptsource gives them. Raises whatever Jinja raises."""
    env = environment(draw)
    guarded = {
        key: value.replace("|||", GUARD) if isinstance(value, str) else value for key, value in row.items()
    }
    choices = None
    if answer_choices is not None:
        printed = env.from_string(answer_choices).render(**guarded)
        choices = [choice.strip().replace(GUARD, "|||") for choice in printed.split("|||")]
    source = jinja.replace("}}", " | string | truncate(2048) }}") if truncate else jinja
    printed = env.from_string(source).render(**guarded, answer_choices=choices)
    return [part.replace(GUARD, "|||").strip() for part in printed.split("|||")], choices
