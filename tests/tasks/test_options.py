"""The OPTIONS block: written in FLAN's layout, read back from any prompt that ends in one."""

from hypothesis import given
from hypothesis import strategies as st

from flan.tasks.options import read_options, write_options

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
