"""Plain text becomes documents and pieces without losing a character, and pieces become ids."""

import gzip
import json
import re
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flan.card import Contract
from flan.data import corpus
from flan.data.continuation import continue_all, longest_piece
from flan.data.corpus import (
    Documents,
    MissingCorpus,
    Piece,
    UnreadableText,
    cut_pieces,
    read_documents,
    split_documents,
)
from flan.data.resolve import open_pinned_rows, pinned_tasks, resolve
from flan.data.rows import EmptyDataset, MissingSplit, Places
from flan.data.stream import Stream
from flan.data.tokens import Fitted, InputTooLong, make_contract
from flan.errors import Conflict, FlanError, InvalidDocument
from flan.spec import TuneSpec, parse
from flan.store import Store
from flan.tasks.task import DatasetSource
from tests.kit.models import tiny_tokenizer
from tests.kit.tasks import KitLibrary

TOKENIZER = tiny_tokenizer()
DECODER = make_contract(TOKENIZER, "decoder")
ENCODER_DECODER = make_contract(TOKENIZER, "encoder_decoder")
END = TOKENIZER.eos_token_id
STORIES = "one day a dog ran\n\nit was happy\nthe road was long\nand the river too\n"


def parted(texts: list[str], documents: Documents) -> list[str]:
    """The documents of a text, each put together again."""
    found, so_far = [], ""
    for text, ends in split_documents(texts, documents):
        so_far += text
        if ends:
            found, so_far = [*found, so_far], ""
    assert so_far == ""
    return found


def test_a_text_is_parted_as_it_is_said_to_be() -> None:
    """By line breaks alone with paragraphs inside, by blank lines, or not at all; what is blank is none."""
    assert parted([STORIES], "lines") == [
        "one day a dog ran\n\nit was happy", "the road was long", "and the river too",
    ]  # fmt: skip
    assert parted([STORIES.replace("\n", "\r\n")], "blank_lines") == [
        "one day a dog ran", "it was happy\nthe road was long\nand the river too",
    ]  # fmt: skip
    assert parted([STORIES], "whole") == [STORIES.strip()]
    assert parted([" \n\n \n"], "lines") == []


KINDS = st.sampled_from(["whole", "lines", "blank_lines"])
TEXT = st.text(st.sampled_from("abc \n\t\r"), max_size=60)


@settings(max_examples=300)
@given(
    text=TEXT,
    places=st.lists(st.integers(0, 60), max_size=6),
    kind=st.sampled_from(["whole", "lines", "blank_lines"]),
)
@example(text="abc\n\nabc abc abc", places=[12], kind="lines")  # a stretch that could end between two breaks
def test_documents_do_not_know_in_what_parts_a_text_comes(
    text: str, places: list[int], kind: Documents
) -> None:
    """However it is parted, and into whatever stretches a document is cut."""
    text = text.replace("\r", "\r\n")
    edges = [0, *sorted(places), len(text)]
    parts = [text[a:b] for a, b in pairwise(edges)]
    plain = text.replace("\r\n", "\n")
    patterns = {"lines": r"(?<!\n)\n(?!\n)", "blank_lines": r"\n[ \t]*\n\s*"}
    whole = re.split(patterns[kind], plain) if kind in patterns else [plain]
    expected = [each.strip() for each in whole if each.strip()]

    assert parted(parts, kind) == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "STRETCH", 4)
        assert parted(parts, kind) == expected


@given(text=st.text(max_size=40), size=st.integers(1, 7))
def test_bytes_may_be_parted_inside_a_character(text: str, size: int) -> None:
    """The text is the same, with a mark of its encoding or without."""
    for data in (text.encode(), b"\xef\xbb\xbf" + text.encode()):
        chunks = [data[i : i + size] for i in range(0, len(data), size)]
        found = list(read_documents(chunks, "kit", "whole", None))
        plain = text.removeprefix("\ufeff") if data == text.encode() else text
        assert found == list(split_documents([plain], "whole"))


@given(documents=st.lists(st.text(min_size=1), max_size=4), longest=st.integers(8, 60))
def test_pieces_are_the_documents_again(documents: list[str], longest: int) -> None:
    """Character for character, the last of each marked, none much longer than asked."""
    found = list(cut_pieces([Piece(each, True) for each in documents], longest))

    whole, so_far = [], ""
    for piece in found:
        so_far += piece.text
        assert 0 < len(piece.text) <= longest + longest // 2
        if piece.ends:
            whole, so_far = [*whole, so_far], ""
    assert (whole, so_far) == (documents, "")


def test_a_long_text_takes_the_memory_of_a_stretch(tmp_path: Path) -> None:
    """One document of 60 million characters, parted and cut while 8 million of them are held."""
    chunks = (b"a word and another one\n" * 40_000 for _ in range(65))
    tracemalloc.start()
    num_chars = sum(len(text) for text, _ in cut_pieces(read_documents(chunks, "kit", "whole", None), 3_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert num_chars == 65 * 40_000 * 23 - 1
    assert peak < 60 << 20


def test_a_decoder_learns_every_token_that_has_one_before_it() -> None:
    """The end token too, but only where the document ends."""
    pieces = [Piece("a happy dog", True), Piece("ran through the", False)]
    (ended, open_ended) = _continued(pieces, DECODER, 64, 16)
    ids = TOKENIZER.encode("a happy dog", add_special_tokens=False)

    assert [*ended.tokens.input_ids, *ended.tokens.target_ids] == [*ids, END]
    assert len(ended.tokens.input_ids) == 1
    assert END not in open_ended.tokens.target_ids
    opened = DECODER.model_copy(update={"prefix_ids": (5,), "soft_prompt_ids": (400, 401)})
    (prompted,) = _continued(pieces[:1], opened, 64, 16)
    assert (prompted.tokens.input_ids.tolist(), prompted.tokens.target_ids.tolist()) == (
        [5, 400, 401],
        [*ids, END],
    )


@given(
    text=st.text(min_size=2, max_size=80), ends=st.booleans(), seed=st.integers(0, 9), lengths=st.tuples(
        st.integers(4, 60), st.integers(2, 60)
    )
)  # fmt: skip
def test_an_encoder_decoder_continues_from_a_place_drawn_for_the_piece(
    text: str, ends: bool, seed: int, lengths: tuple[int, int]
) -> None:
    """Both sides fit, together they are the piece, and the same key parts it at the same place."""
    input_length, target_length = lengths
    ids = TOKENIZER.encode(text, add_special_tokens=False)

    first, again = (
        continue_all([Piece(text, ends)], [(seed, 3)], TOKENIZER, ENCODER_DECODER,
                     input_length=input_length, target_length=target_length)[0]
        for _ in range(2)
    )  # fmt: skip
    if isinstance(first, InputTooLong):
        assert min(len(ids), longest_piece(False, *lengths)) < 3
        return
    assert isinstance(again, Fitted)
    read, written = first.tokens.input_ids.tolist(), first.tokens.target_ids.tolist()
    assert (read, written) == (again.tokens.input_ids.tolist(), again.tokens.target_ids.tolist())
    assert read[-1] == END
    assert 2 <= len(read) <= input_length
    assert 1 <= len(written) <= target_length
    whole = [*read[:-1], *written]
    assert whole == ([*ids, END] if ends else ids) if not first.was_cut else whole == ids[: len(whole)]


def test_places_spread_over_the_piece() -> None:
    """No beginning is preferred: fifty draws of one piece part it at many places."""
    piece = Piece("a happy dog ran through the green park and found a big red ball", True)
    found = continue_all(
        [piece] * 50, [(0, number) for number in range(50)], TOKENIZER, ENCODER_DECODER,
        input_length=64, target_length=64,
    )  # fmt: skip

    places = {len(each.tokens.input_ids) for each in found if isinstance(each, Fitted)}
    assert len(places) > 10


@pytest.mark.parametrize("base", ["preset:nano", "preset:nano-t5"])
def test_a_corpus_is_pinned_and_streamed_as_any_mixture(tmp_path: Path, base: str) -> None:
    """Text and JSON lines, packed or not, and an upload; resumed to the bit."""
    places, library = _world(tmp_path)
    asked = _spec(base, {"name": "tales", "documents": "lines"}, {"name": "notes"}, {"uploaded": "mine"})
    spec, plan = resolve(asked, library, places)
    assert isinstance(spec, TuneSpec)
    assert resolve(spec, library, places).spec == spec

    assert [task.name for task in plan.tasks] == ["mine", "notes", "tales"]
    assert sum(task.rate or 0 for task in plan.tasks) == pytest.approx(1)
    tasks = pinned_tasks(spec, places.store or Store(tmp_path))
    rows = open_pinned_rows(spec, tasks, "train", places)
    contract = DECODER if base == "preset:nano" else ENCODER_DECODER
    with Stream.open(spec, tasks, rows, TOKENIZER, contract) as stream:
        steps = [stream.next_step() for _ in range(3)]
        state = stream.state()
        expected = [stream.next_step() for _ in range(3)]
    with Stream.open(spec, tasks, rows, TOKENIZER, contract, state) as stream:
        found = [stream.next_step() for _ in range(3)]
    assert sum(counts.cut for counts in stream.counts().values()) == 0
    assert all(step.target_tokens > 0 for step in steps)
    for a, b in zip(expected, found, strict=True):
        assert a.draws == b.draws
        assert all(np.array_equal(x, y) for x, y in zip(a.packs, b.packs, strict=True))


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ({"name": "tails"}, MissingCorpus, "no corpus 'tails'"),
        ({"name": "notes", "column": "body"}, UnreadableText, r"line 1: no text in column 'body'"),
        ({"name": "broken"}, UnreadableText, "line 2: not JSON"),
        ({"name": "latin"}, UnreadableText, "byte 3 is 0xe9"),
        ({"name": "empty"}, EmptyDataset, "has no row"),
        ({"uploaded": "mine", "split": "test"}, MissingSplit, "no split 'test'"),
        ({"uploaded": "yours"}, FlanError, "no dataset 'yours'"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_at_its_place(
    tmp_path: Path, text: dict[str, Any], error: type[FlanError], said: str
) -> None:
    """With the file, the line and the field of the spec."""
    places, library = _world(tmp_path)
    with pytest.raises(error, match=said) as refused:
        resolve(_spec("preset:nano", {"name": "notes"}, text), library, places)

    assert (refused.value.pointer or "").startswith("/corpus/texts/")


def test_two_texts_of_one_name_are_refused(tmp_path: Path) -> None:
    """Counts and lineage go by name."""
    places, library = _world(tmp_path)
    with pytest.raises(Conflict, match="two texts are called 'notes'"):
        resolve(_spec("preset:nano", {"name": "notes"}, {"name": "notes"}), library, places)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"objective": "lm"}, "reads a corpus"),
        ({"corpus": {"texts": [{"name": "a"}]}}, "reads a corpus"),
        ({"objective": "lm", "corpus": {"texts": []}}, "at least one"),
        ({"objective": "lm", "corpus": {"texts": [{"name": "../a"}]}}, "/corpus/texts/0/name"),
        ({"objective": "lm", "corpus": {"texts": [{"name": "/etc/passwd"}]}}, "/corpus/texts/0/name"),
        ({"objective": "lm", "corpus": {"texts": [{"name": "a", "uploaded": "b"}]}}, "a file or a dataset"),
        (
            {"objective": "lm", "corpus": {"texts": [{"name": "a"}]}, "mixture": {"temperature": 2.0}},
            "leave mixture out",
        ),
    ],
)
def test_specs_that_read_no_text_or_two_things_are_refused(change: dict[str, Any], said: str) -> None:
    """A name is never a path, and an objective has one source."""
    with pytest.raises(InvalidDocument) as refused:
        parse(TuneSpec, {"name": "t", "base": "preset:nano", **change})

    assert said in str(refused.value)


def _spec(base: str, *texts: dict[str, Any]) -> TuneSpec:
    return parse(
        TuneSpec,
        {
            "name": "lm", "base": base, "objective": "lm", "corpus": {"texts": list(texts), "chars_per_token": 1.0},
            "input_length": 40, "target_length": 24, "tokens_per_step": 256,
        },
    )  # fmt: skip


def _world(folder: Path) -> tuple[Places, KitLibrary]:
    corpus, store = folder / "data" / "corpus", Store(folder / "store")
    corpus.mkdir(parents=True)
    (corpus / "tales.txt.gz").write_bytes(gzip.compress((STORIES * 20).encode()))
    notes = [{"text": "A long note about the river and the road. " * n} for n in (1, 9, 30)]
    (corpus / "notes.jsonl").write_text("".join(json.dumps(note) + "\n\n" for note in notes))
    (corpus / "broken.jsonl").write_text('{"text": "a"}\n{"text": \n')
    (corpus / "latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
    (corpus / "empty.txt").write_text(" \n\n")
    digest = store.put_bytes(
        b"".join(json.dumps({"text": f"upload {i}"}).encode() + b"\n" for i in range(30))
    )
    mine = parse(DatasetSource, {"name": "mine@2", "format": "jsonl", "splits": {"train": digest}})
    return Places(folder / "data", store), KitLibrary([], datasets={"mine": mine})


def _continued(
    pieces: list[Piece], contract: Contract, input_length: int, target_length: int
) -> list[Fitted]:
    found = continue_all(
        pieces, [(0, i) for i in range(len(pieces))], TOKENIZER, contract,
        input_length=input_length, target_length=target_length,
    )  # fmt: skip
    assert all(isinstance(each, Fitted) for each in found)
    return [each for each in found if isinstance(each, Fitted)]
