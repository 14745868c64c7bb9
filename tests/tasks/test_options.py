"""The OPTIONS block: written in FLAN's layout, read back from any prompt that ends in one."""

from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st

from flan.tasks.options import FLAN_2021, Layout, read_options, vary, write_options

choices = st.lists(
    st.text(st.characters(exclude_characters="\n"), min_size=1).filter(lambda text: text == text.strip()),
    min_size=1,
)


def test_the_layout_is_that_of_the_released_code() -> None:
    """Token, then newline, hyphen, space, text for each choice, and nothing after."""
    assert write_options(["yes", "no"]) == "OPTIONS:\n- yes\n- no"


@given(st.text(), choices)
def test_what_is_written_is_read_back(before: str, written: list[str]) -> None:
    """Whatever stands before the block, and whatever a choice holds but line breaks."""
    assert read_options(f"{before}\n\n{write_options(written)}\n") == tuple(written)


numbers = st.lists(st.integers(0, 2**63), min_size=5, max_size=5)


@given(choices, numbers)
def test_a_varied_block_is_read_back_in_its_own_order(written: list[str], draw: list[int]) -> None:
    """Wherever it has a heading and marks; a full stop stays with its choice."""
    layout = vary(len(written), draw)
    assert layout.order is not None and sorted(layout.order) == list(range(len(written)))
    shown = [written[i] for i in layout.order]
    has_own_semicolons = not layout.ending and all(choice.endswith(";") for choice in shown)
    assume(layout.header and layout.marks != ("",) and not has_own_semicolons)
    # A choice may look like a mark of another kind: "- " before "- x".
    read = read_options(write_options(written, layout))

    ending = layout.ending if layout.ending == "." else ""
    assert read == tuple(f"{choice}{ending}" for choice in shown)


@given(st.integers(2, 40), numbers)
def test_a_mark_that_tells_choices_apart_is_their_name(count: int, draw: list[int]) -> None:
    """Each choice has one name, the one that stands before it in the block."""
    layout = vary(count, draw)
    assume(layout.tells_apart)
    names = [layout.name_of(i) for i in range(count)]
    block = write_options([f"choice {i}" for i in range(count)], layout).split("\n")

    assert len(set(names)) == count
    for i, name in enumerate(names):
        assert any(line.startswith(name) and f"choice {i}{layout.ending}" == line[-len(f"choice {i}{layout.ending}"):]
                   for line in block)  # fmt: skip


def test_about_three_of_four_layouts_name_the_choices() -> None:
    """As in Flan 2022, and every heading, kind of mark and order comes up."""
    rng = Random(0)
    layouts = [vary(3, [rng.getrandbits(63) for _ in range(5)]) for _ in range(4_000)]

    assert 0.72 < sum(layout.tells_apart for layout in layouts) / 4_000 < 0.78
    assert len({layout.header for layout in layouts}) == 16
    assert len({layout.marks for layout in layouts}) >= 50
    assert len({layout.order for layout in layouts}) == 6
    assert {layout.ending for layout in layouts} == {"", ";", "."}


def test_the_plain_layout_names_nothing() -> None:
    """FLAN 2021 answers with the choice's text."""
    assert not FLAN_2021.tells_apart
    assert (
        write_options(["a", "b"], Layout("Pick one:", ("A. ", "B. "), ";", (1, 0)))
        == "Pick one:\nA. b;\nB. a;"
    )
    assert Layout(marks=("A. ", "B. "), order=(1, 0)).name_of(0) == "B."


def test_a_prompt_without_a_block_at_its_end_has_none() -> None:
    """A block in the middle, a header without choices, an empty choice, a list of another kind."""
    assert read_options("Is it so?") is None
    assert read_options("OPTIONS:\n- yes\n- no\nIs it so?") is None
    assert read_options("Is it so?\nOPTIONS:") is None
    assert read_options("Buy:\n- milk\n- bread") is None
    assert read_options("OPTIONS:\n- yes\n-no") is None


def test_the_last_block_counts() -> None:
    """A solved row before the question may have shown a block too."""
    assert read_options("OPTIONS:\n- a\n- b\na\n\nOPTIONS:\n- c\n- d") == ("c", "d")
