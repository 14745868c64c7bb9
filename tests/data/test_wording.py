"""Words of a text: what counts as one, and where it stands."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from flan.data.wording import extents, texts, words


def test_case_signs_and_spacing_do_not_count() -> None:
    """Two ways of writing the same words are the same words."""
    assert words("The  “OWL”, it said:\tflew!") == words("the owl - it_said flew")


def test_a_script_without_spaces_has_a_word_a_letter() -> None:
    """A run of words exists in Chinese, Japanese and Thai too."""
    assert words("猫は3匹 owls") == ["猫", "は", "3", "匹", "owls"]


@given(st.text())
@example("İstanbul STRASSE Straße ŉ ﬃ _ΑΣ_ ς")
def test_words_are_found_at_their_places(text: str) -> None:
    """Each extent holds exactly the letters its word is made of, in order and apart, whatever casefolding does."""
    places = extents(text)

    assert len(places) == len(words(text))
    for word, (start, end) in zip(words(text), places, strict=True):
        assert word in text[start:end].casefold()
    assert all(a.start < b.end and a.start <= b.start for a, b in pairwise(places))


@given(st.text())
def test_offsets_of_plain_words_are_exact(text: str) -> None:
    """Where casefolding keeps the number of letters, the extent is the word itself."""
    if all(len(letter.casefold()) == 1 for letter in text):
        assert [text[a:b].casefold() for a, b in extents(text)] == words(text)


def test_every_string_of_a_row_is_a_text_with_its_path() -> None:
    """Nested columns count; what is too short to be told from chance does not."""
    long = "a text of more than thirty letters it is"
    row = {"a": long, "label": "entailment", "n": 3, "b": {"c": [None, "short", long + "!"]}}

    assert list(texts(row)) == [("a", long), ("b.c.2", long + "!")]


@given(st.text(st.characters(max_codepoint=127)))
def test_plain_text_has_the_same_words_either_way(text: str) -> None:
    """The quick way for ASCII finds what the expression finds: a letter beyond ASCII at the end changes nothing."""
    assert words(text) == words(f"{text} é")[:-1]
