"""The report on shared passages: planted leaks are found where they stand, clean rows are left alone."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flan.data.leakage import LeakageReport, TrainingRows, find_leakage
from flan.data.rows import UnreadableRow
from flan.spec import Leakage

from .leaks import made_words, report, sentence

PASSAGE = sentence(1)
QUESTION = "Which owl of the seven mills wrote the longest letter?"
ROWS = [{"text": sentence(seed), "question": sentence(seed + 500, 9)} for seed in range(100, 160)]
"""Clean rows."""


def spans(found: LeakageReport) -> list[tuple[int, str, str]]:
    """Of each passage shown: both rows' number and field, as the training row tells them, and its text."""
    return [(each.train.row, each.train.field, each.text) for pair in found.shared for each in pair.passages]


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        pytest.param({"text": PASSAGE}, {"text": PASSAGE}, id="verbatim"),
        pytest.param(
            {"inputs": f"Read this article:\n\n{PASSAGE}\n\nIs it sad? OPTIONS: - yes - no"},
            {"text": PASSAGE},
            id="behind another template",
        ),
        pytest.param({"summary": {"en": [PASSAGE]}}, {"article": PASSAGE}, id="in another field"),
        pytest.param({"text": PASSAGE.upper().replace(" ", " - ")}, {"text": PASSAGE}, id="in other dress"),
        pytest.param(
            {"text": sentence(2) + " " + " ".join(PASSAGE.split()[3:17]) + " " + sentence(3)},
            {"text": f"{PASSAGE} {sentence(4)}"},
            id="in part",
        ),
        pytest.param({"q": f"Tell me: {QUESTION}"}, {"question": QUESTION}, id="a short text"),
        pytest.param(
            {"a": "Hullabaloo, notwithstanding thunderstorms!"},
            {"b": "hullabaloo notwithstanding thunder-storms"},
            id="a whole text of few words",
        ),
    ],
)
def test_a_planted_leak_is_found(train: dict[str, Any], held_out: dict[str, Any]) -> None:
    """One leaking row among clean ones is named, and nothing else is."""
    found = report([*ROWS[:20], train, *ROWS[20:]], [{"text": sentence(9)}, held_out])

    assert found.train_rows == {"seen": (20,)}
    assert found.held_out_rows == {"asked/test": (1,)}
    assert found.shared[0].train_rows == found.shared[0].held_out_rows == 1


def test_clean_rows_share_nothing() -> None:
    """Rows of one kind, made of other words each, are not flagged."""
    assert report(ROWS[:30], ROWS[30:]).shared == ()


def test_a_run_shorter_than_the_limit_is_no_passage() -> None:
    """Twelve words in a row are not thirteen, and seven of a short text not eight."""
    common, short = made_words(5, 12), made_words(6, 7)
    train = [
        {"text": " ".join([*made_words(7, 9), *common, *made_words(8, 9)])},
        {"q": " ".join([*short, "owl"])},
    ]
    held_out = [{"text": " ".join([*common, *made_words(9, 9)])}, {"q": " ".join([*short, "oak", "elm"])}]

    assert report(train, held_out).shared == ()
    assert report(train, held_out, Leakage(words=12, short_words=7)).held_out_rows == {"asked/test": (0, 1)}


@settings(max_examples=60, deadline=None)
@given(
    before=st.integers(0, 30),
    after=st.integers(0, 30),
    held_before=st.integers(0, 30),
    held_after=st.integers(0, 30),
    length=st.integers(13, 40),
    gap=st.sampled_from([" ", ", ", " — ", "\n\n", " ß ", " İ ", "_"]),
    seed=st.integers(0, 10**6),
)
def test_a_planted_run_is_found_at_its_place(
    before: int, after: int, held_before: int, held_after: int, length: int, gap: str, seed: int
) -> None:
    """A run of n words or more is found whatever surrounds it, from its first letter to its last, on both sides."""
    passage = " ".join(made_words(seed, length)).title()
    text = gap.join([*made_words(seed + 1, before), passage, *made_words(seed + 2, after)])
    other = " ".join([*made_words(seed + 3, held_before), passage.lower(), *made_words(seed + 4, held_after)])
    found = report([*ROWS[:3], {"text": text}], [ROWS[40], {"a": {"b": other}}])

    ((pair,),) = (found.shared,)
    shown = pair.passages[0]
    assert (shown.train.row, shown.train.field) == (3, "text")
    assert (shown.held_out.row, shown.held_out.field) == (1, "a.b")
    assert text[shown.train.start : shown.train.end] == passage
    assert other[shown.held_out.start : shown.held_out.end] == shown.text == passage.lower()
    assert shown.words == length
    assert shown.coverage == pytest.approx(length / (held_before + length + held_after))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(made_words(0, 4)), max_size=40), max_size=6),
    st.lists(st.lists(st.sampled_from(made_words(0, 4)), max_size=40), max_size=6),
)
def test_only_what_shares_a_run_is_flagged(train: list[list[str]], held_out: list[list[str]]) -> None:
    """Of texts made of four words, with all the near misses there are, none is flagged without a shared run."""
    found = report([{"a": " ".join(each)} for each in train], [{"a": " ".join(each)} for each in held_out])
    for number, text in enumerate(train):
        is_flagged = number in found.train_rows.get("seen", ())
        assert not is_flagged or any(_shares(text, other) for other in held_out)


def _shares(text: list[str], other: list[str]) -> bool:
    """Said slowly: the same letters as a whole, or a common run as long as the held-out text asks for."""
    size = 13 if len(other) >= 13 else 8
    runs = {tuple(other[i : i + size]) for i in range(len(other) - size + 1)}
    return "".join(text) == "".join(other) or any(
        tuple(text[i : i + size]) in runs for i in range(len(text) - size + 1)
    )


def test_what_many_texts_of_a_task_say_is_stock() -> None:
    """A stock phrase flags no row, on whichever side it is frequent; one that two rows share does."""
    phrase = " ".join(made_words(11, 14))
    many = [{"text": f"{sentence(seed, 5)} {phrase} {sentence(seed + 1, 5)}"} for seed in range(200, 260, 2)]
    few = [{"text": f"{phrase} {sentence(3, 9)}"}]

    assert report([*ROWS, *many], few).shared == ()
    assert report(few, [*ROWS, *many]).shared == ()
    assert report([*ROWS, *many[:2]], few).train_rows == {"seen": (60, 61)}


def test_a_page_that_many_questions_are_asked_about_is_no_stock() -> None:
    """The longer a passage, the more texts may quote it."""
    page = sentence(12, 120)
    asked = [{"inputs": f"{page}\nQuestion: {sentence(seed, 8)}"} for seed in range(300, 350)]

    assert report([*ROWS, *asked], [{"context": page}]).train_rows == {"seen": tuple(range(60, 110))}


def test_a_text_that_most_rows_repeat_is_stock() -> None:
    """Instructions are the same in every row and give none away; a page of some rows is a page."""
    told, page = sentence(13, 40), sentence(14, 40)
    train = [row | {"definition": told} | ({"page": page} if i < 12 else {}) for i, row in enumerate(ROWS)]
    held_out = [{"definition": told, "text": sentence(seed)} for seed in range(700, 740)]

    assert report(train, held_out).shared == ()
    assert report(train, [*held_out, {"page": page}]).train_rows == {"seen": tuple(range(12))}


def test_stock_within_a_passage_does_not_break_it() -> None:
    """A frequent phrase is part of the passage that it stands in, though it would be none alone."""
    phrase = " ".join(made_words(15, 14))
    leak = f"{sentence(16, 15)} {phrase} {sentence(17, 15)}"
    many = [{"text": f"{sentence(seed, 5)} {phrase} {sentence(seed + 1, 5)}"} for seed in range(800, 1100, 2)]
    found = report([*many, {"text": leak}], [{"text": leak + " " + sentence(18, 3)}])

    assert found.train_rows == {"seen": (150,)}
    assert found.shared[0].passages[0].words == 44


def test_two_tasks_are_judged_apart() -> None:
    """What one training task shares does not depend on which others there are."""
    phrase = " ".join(made_words(19, 14))
    many = [{"text": f"{sentence(seed, 5)} {phrase}"} for seed in range(1200, 1230)]
    few, held_out = [{"text": f"{phrase} {sentence(20, 3)}"}], {"asked/test": [{"text": phrase}]}
    both = [TrainingRows("many", many, range(30)), TrainingRows("few", few, range(1))]

    alone = find_leakage(both[1:], held_out, Leakage())
    assert alone.shared == find_leakage(both, held_out, Leakage()).shared
    assert alone.train_rows == {"few": (0,)}


def test_only_the_rows_that_are_trained_on_are_compared() -> None:
    """Rows beyond a task's cap do not count; numbers are those of the split."""
    train = [*ROWS, {"text": PASSAGE}, {"text": PASSAGE + " " + sentence(2)}]
    rows = [TrainingRows("seen", train, [3, 61])]
    found = find_leakage(rows, {"asked/test": [{"text": PASSAGE}]}, Leakage())

    assert found.train == {"seen": 2}
    assert found.train_rows == {"seen": (61,)}


def test_rows_that_cannot_be_read_are_counted() -> None:
    """A broken line on either side stops nothing, and is on record."""

    class Broken(list[dict[str, Any]]):
        def __getitem__(self, index: Any) -> Any:
            if index == 0:
                raise UnreadableRow("line 1 is no JSON")
            return super().__getitem__(index)

    rows = Broken([{}, {"text": PASSAGE}])
    found = find_leakage([TrainingRows("seen", rows, range(2))], {"asked/test": rows}, Leakage())

    assert found.unreadable == {"seen": 1, "asked/test": 1}
    assert found.train_rows == {"seen": (1,)}


def test_the_passages_that_cover_most_are_shown_first() -> None:
    """Five at most of each pair, of five held-out rows, the worst first; all are counted."""
    held_out = [{"text": sentence(seed, 20)} for seed in range(40, 50)]
    train = [{"text": " ".join(row["text"].split()[: 13 + i % 8])} for i, row in enumerate(held_out)]
    (pair,) = report(train, held_out).shared

    assert (pair.train_rows, pair.held_out_rows, pair.whole_held_out_rows) == (10, 10, 1)
    assert [round(20 * each.coverage) for each in pair.passages] == [20, 19, 18, 17, 16]
    assert len({each.held_out.row for each in pair.passages}) == 5


def test_progress_is_told() -> None:
    """After every thousand rows, and at the end."""
    told: list[tuple[str, int]] = []
    rows = [{"text": "x"}] * 2_500
    find_leakage(
        [TrainingRows("seen", rows, range(2_500))], {}, Leakage(), on_rows=lambda *each: told.append(each)
    )

    assert told == [("seen", 1000), ("seen", 1000), ("seen", 500)]


def test_a_shorter_run_for_longer_texts_is_refused() -> None:
    """The spec says which of the two lengths is for which texts."""
    with pytest.raises(ValueError, match=re.escape("short_words 9 is more than words 8")):
        Leakage(words=8, short_words=9)
