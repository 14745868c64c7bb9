"""The OPTIONS block: how answer choices are shown in a prompt, and how they are read back from one.

    OPTIONS:
    - yes
    - no

That is the layout of FLAN's released code (token, then per choice: newline, hyphen, space, text), in the
dataset's label order. Flan 2022 varies it from example to example (Longpre et al. 2023, 3; released code):
another heading, another mark before each choice, another order, and where the marks tell the choices apart
the target is the mark. `vary` draws such a layout; headings and marks are our own.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from flan.spec import OptionsPolicy

MAX_MARKED = 26
"""More choices than that have no letters: they are listed with bullets or numbers."""
_BULLETS = ("- ", "* ", "+ ", "• ", "– ", "> ", "# ", "~ ", "")
_WRAPPERS = ("{}. ", "{}) ", "({}) ", "[{}] ", "{}: ", "<{}> ", "{} - ", "{} = ", "{}/ ")
_COUNTS = ("A", "a", "1", "I", "i")
_HEADERS = (
    "OPTIONS:",
    "Options:",
    "Choices:",
    "Possible answers:",
    "Pick one:",
    "Choose from:",
    "Select one of these:",
    "The choices are:",
    "The answer is one of:",
    "Candidates:",
    "Available options:",
    "Which of these?",
    "Answers to choose from:",
    "Options to choose from:",
    "One of the following:",
    "",
)
_ENDINGS = ("", ";", ".")


class Layout(NamedTuple):
    """How one block looks."""

    header: str = "OPTIONS:"
    """The line above the choices; empty = none."""
    marks: tuple[str, ...] = ("- ",)
    """What stands before each place of the list; a single one stands before all of them."""
    ending: str = ""
    """What stands after each choice."""
    order: tuple[int, ...] | None = None
    """Which choice comes first, second, …; None = in label order."""

    @property
    def tells_apart(self) -> bool:
        """Whether the marks name the choices, so that an answer is given by its mark."""
        return len(self.marks) > 1

    def mark_of(self, place: int) -> str:
        """The mark as it is written, with its blank."""
        return self.marks[place if self.tells_apart else 0]

    def name_of(self, choice: int) -> str:
        """What an answer calls a choice: its mark without the blanks."""
        place = choice if self.order is None else self.order.index(choice)
        return self.mark_of(place).strip()


FLAN_2021 = Layout()


def write_options(choices: Sequence[str], layout: Layout = FLAN_2021) -> str:
    """The block for `choices`, without a trailing newline."""
    ordered = choices if layout.order is None else [choices[i] for i in layout.order]
    marks = layout.marks if layout.tells_apart else layout.marks * len(ordered)
    lines = [mark + choice + layout.ending for mark, choice in zip(marks, ordered, strict=True)]
    return "\n".join([layout.header, *lines] if layout.header else lines)


def layout_of(policy: OptionsPolicy, num_choices: int, *key: str | int) -> Layout | None:
    """How a block of so many choices looks under `policy`; None = there is none. Equal keys, equal layouts."""
    if policy == "none":
        return None
    if policy == "flan2021":
        return FLAN_2021
    digest = hashlib.blake2b(repr(key).encode(), digest_size=40).digest()
    return vary(num_choices, [int.from_bytes(digest[i : i + 8]) for i in range(0, 40, 8)])


def vary(num_choices: int, draw: Sequence[int]) -> Layout:
    """A Flan 2022 layout for so many choices; `draw` are five large random numbers, each for one decision.

    About three of four layouts tell the choices apart.
    """
    by_header, by_kind, by_mark, by_ending, by_order = draw
    marks: tuple[str, ...] = (_BULLETS[by_mark % len(_BULLETS)],)
    if by_kind % 4 and num_choices > 1:
        wrapper = _WRAPPERS[by_mark % len(_WRAPPERS)]
        kinds = _COUNTS if num_choices <= MAX_MARKED else ("1",)
        kind = kinds[by_mark // len(_WRAPPERS) % len(kinds)]
        marks = tuple(wrapper.format(_count(kind, place)) for place in range(num_choices))
    header = _HEADERS[by_header % len(_HEADERS)]
    # FLAN's own block never has endings: there, a semicolon is the choice's.
    is_plain = (header, *marks[:1]) == (FLAN_2021.header, *FLAN_2021.marks)
    ending = "" if is_plain else _ENDINGS[by_ending % len(_ENDINGS)]
    return Layout(header, marks, ending, _permutation(num_choices, by_order))


def read_options(prompt: str) -> tuple[str, ...] | None:
    """The choices of the block that ends `prompt`, in their order there; None when it does not end in one.

    Every layout with a heading and marks is recognised; a full stop behind each choice counts as its own.
    Trailing white space is ignored. A choice is one line; a block has at least one.
    """
    lines = prompt.rstrip().split("\n")
    for start in range(len(lines) - 1, -1, -1):
        if (header := lines[start].rstrip()) and header in _HEADERS:
            return _read_lines(header, lines[start + 1 :])
        if not lines[start].strip():
            return None
    return None


def _read_lines(header: str, lines: Sequence[str]) -> tuple[str, ...] | None:
    marks = _marks_of(lines)
    if (
        not lines
        or marks is None
        or any(len(line) == len(mark) for line, mark in zip(lines, marks, strict=True))
    ):
        return None
    choices = [line[len(mark) :] for line, mark in zip(lines, marks, strict=True)]
    is_plain = (header, *marks[:1]) == (FLAN_2021.header, *FLAN_2021.marks)
    if not is_plain and all(choice.endswith(";") and len(choice) > 1 for choice in choices):
        choices = [choice[:-1] for choice in choices]
    return tuple(choices)


def _marks_of(lines: Sequence[str]) -> list[str] | None:
    """The marks that these lines begin with, if they are those of one layout."""
    for bullet in filter(None, _BULLETS):
        if all(line.startswith(bullet) for line in lines):
            return [bullet] * len(lines)
    for kind in _COUNTS if len(lines) <= MAX_MARKED else ("1",):
        for wrapper in _WRAPPERS:
            marks = [wrapper.format(_count(kind, place)) for place in range(len(lines))]
            if all(line.startswith(mark) for line, mark in zip(lines, marks, strict=True)):
                return marks
    return None


def _count(kind: str, place: int) -> str:
    if kind == "1":
        return str(place + 1)
    if kind in "Aa":
        return chr(ord(kind) + place)
    roman = _ROMAN[place]
    return roman if kind == "I" else roman.lower()


def _permutation(size: int, number: int) -> tuple[int, ...]:
    """One of the orders of `size` things, by its number (Lehmer's code)."""
    left, order = list(range(size)), []
    for remaining in range(size, 0, -1):
        number, place = divmod(number, remaining)
        order.append(left.pop(place))
    return tuple(order)


def _romans(count: int) -> tuple[str, ...]:
    values = ((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))
    made = []
    for number in range(1, count + 1):
        text, rest = "", number
        for value, letters in values:
            repeats, rest = divmod(rest, value)
            text += letters * repeats
        made.append(text)
    return tuple(made)


_ROMAN = _romans(MAX_MARKED)
