"""The OPTIONS block: how answer choices are shown in a prompt, and how they are read back from one.

    OPTIONS:
    - yes
    - no

The layout is that of FLAN's released code (token, then per choice: newline, hyphen, space, text), in the
dataset's label order.
"""

from collections.abc import Sequence

HEADER = "OPTIONS:"
_BULLET = "- "


def write_options(choices: Sequence[str]) -> str:
    """The block for `choices`, without a trailing newline."""
    return "\n".join([HEADER, *(f"{_BULLET}{choice}" for choice in choices)])


def read_options(prompt: str) -> tuple[str, ...] | None:
    """The choices of the OPTIONS block that ends `prompt`; None when it does not end in one.

    Trailing white space is ignored. A choice is one line; a block has at least one.
    """
    lines = prompt.rstrip().split("\n")
    for start in range(len(lines) - 1, -1, -1):
        if lines[start].rstrip() == HEADER:
            bullets = lines[start + 1 :]
            is_block = bool(bullets) and all(len(line) > len(_BULLET) for line in bullets)
            return tuple(line[len(_BULLET) :] for line in bullets) if is_block else None
        if not lines[start].startswith(_BULLET):
            return None
    return None
