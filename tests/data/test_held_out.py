"""Which held-out rows a job compares its training rows with, and what it does about those that leak."""

from pathlib import Path
from typing import Any

import pytest

from flan.card import ComparedRows, LeakageCheck, Lineage
from flan.data.compared import LeakageFound, check_leakage, read_report, record_of, told, without_leaks
from flan.data.resolve import DatasetChanged, open_held_out, open_pinned_rows, pinned_tasks, resolve
from flan.data.rows import EmptyDataset, MissingRows, Places, Rows
from flan.data.selectors import UnknownTask
from flan.spec import TuneSpec, parse
from flan.store import Store
from tests.kit.tasks import KitLibrary, make_task, rows_in_memory, write_hub

from .leaks import sentence

MOOD, TASTE = make_task("mood", cluster="sentiment"), make_task("taste", cluster="sentiment")
NLI, TWINS = make_task("nli", cluster="entailment"), make_task("twins", cluster="paraphrase")
GONE = make_task("gone", cluster="entailment")
FREE = make_task(
    "free", cluster="entailment", source={"kind": "hub", "id": "x", "splits": {"train": "train"}}
)
LEAKING = [3, 7]
"""Rows of `mood` that are rows of `nli`."""


def numbered(seed: int, count: int = 12) -> list[dict[str, Any]]:
    return [{"text": sentence(seed + i, 16), "label": ("neg", "pos")[i % 2]} for i in range(count)]


class Desk:
    """Data, a store and a library: `nli` and `gone`, without rows, are of one cluster, `twins` is its neighbour."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root / "store")
        self.places = Places(root / "data", self.store)
        asked = numbered(1_000)
        train = numbered(2_000)
        for row, other in zip(LEAKING, (1, 2), strict=True):
            train[row] = {"text": f"Yes, {asked[other]['text']}", "label": "neg"}
        write_hub(root / "data", "mood", {"train": train, "validation": numbered(3_000)})
        write_hub(root / "data", "taste", {"train": numbered(4_000), "validation": numbered(5_000)})
        write_hub(root / "data", "nli", {"train": numbered(6_000), "validation": asked})
        write_hub(root / "data", "twins", {"train": numbered(7_000), "validation": numbered(8_000)})
        write_hub(root / "data", "free", {"train": numbered(9_000)})

    def resolve(self, spec: TuneSpec) -> TuneSpec:
        resolved = resolve(spec, KitLibrary((MOOD, TASTE, NLI, TWINS, GONE, FREE)), self.places).spec
        assert isinstance(resolved, TuneSpec)
        return resolved

    def train(self, spec: TuneSpec) -> dict[str, Rows]:
        """The training rows of a resolved spec."""
        assert spec.pins is not None
        tasks = {
            name: task for name, task in pinned_tasks(spec, self.store).items() if name in spec.pins.train
        }
        return open_pinned_rows(spec, tasks, "train", self.places)

    def check(self, spec: TuneSpec) -> str | None:
        assert spec.pins is not None
        pins = spec.pins
        return check_leakage(spec, self.store, self.train(spec), lambda: open_held_out(pins, self.places))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def tune(
    policy: str = "allow", *, against: tuple[str, ...] = (), missing: str = "fail", **hold_out: Any
) -> TuneSpec:
    mixture = {
        "collection": "synthetic",
        "tasks": ["mood", "taste"],
        "hold_out": hold_out,
        "missing": missing,
    }
    document = {"kind": "tune", "name": "x", "base": "preset:nano", "mixture": mixture}
    return parse(TuneSpec, document | {"leakage": {"policy": policy, "against": against}})


HELD_OUT = {"clusters": ["entailment"]}


def test_held_out_tasks_are_compared_and_neighbours_are_not(desk: Desk) -> None:
    """Their evaluation rows are pinned by digest; of those without any it is said why; neighbours are nobody's test."""
    pins = desk.resolve(tune(**HELD_OUT)).pins

    assert pins is not None
    assert {name: pin.num_rows for name, pin in pins.held_out.items()} == {"nli": {"validation": 12}}
    assert sorted(pins.not_compared) == ["free", "gone"]
    assert "it has no split validation or test" in pins.not_compared["free"]
    assert "no rows for gone" in pins.not_compared["gone"]
    assert pins.train == ("mood", "taste")
    assert set(pins.tasks) == {"mood", "taste"}


def test_the_spec_can_name_what_is_compared(desk: Desk) -> None:
    """Any task's rows, trained on or not; one without rows is an error at its place, or dropped where that may be."""
    named = desk.resolve(tune(against=("taste", "cluster:paraphrase"), **HELD_OUT)).pins
    dropped = desk.resolve(tune(against=("gone", "nli"), missing="drop")).pins

    assert named is not None and dropped is not None
    assert set(named.held_out) == {"taste", "twins"}
    assert (set(dropped.held_out), set(dropped.not_compared)) == ({"nli"}, {"gone"})
    with pytest.raises(MissingRows) as missing:
        desk.resolve(tune(against=("nli", "gone")))
    assert missing.value.pointer == "/leakage/against/1"
    with pytest.raises(UnknownTask) as unknown:
        desk.resolve(tune(against=("nlu",)))
    assert unknown.value.pointer == "/leakage/against/0"


def test_what_will_be_measured_is_compared_too(desk: Desk) -> None:
    """An evaluation that a hold-out names, and what a part of a mixture holds out, are held out as well."""
    named = desk.resolve(tune(evaluation=("twins",))).pins
    mixture = {
        "collection": "synthetic",
        "parts": [
            {"collection": "synthetic", "tasks": ["mood"], "hold_out": {"tasks": ["nli"]}},
            {"collection": "synthetic", "tasks": ["taste"]},
        ],
    }
    parts = desk.resolve(parse(TuneSpec, tune().model_dump(mode="json") | {"mixture": mixture})).pins

    assert named is not None and parts is not None
    assert set(named.held_out) == {"twins"}
    assert set(parts.held_out) == {"nli"}


def test_held_out_rows_that_changed_are_refused(desk: Desk) -> None:
    """A resolved spec compares with the rows it was accepted with, or not at all."""
    spec = desk.resolve(tune(**HELD_OUT))
    assert desk.places.data is not None
    write_hub(desk.places.data, "nli", {"validation": numbered(1)})

    with pytest.raises(DatasetChanged, match=r"the rows of nli \(validation\) have changed"):
        desk.resolve(spec)


def test_nothing_is_compared_where_nothing_is_held_out(desk: Desk) -> None:
    """No hold-out, no check; the card says so by an empty one."""
    spec = desk.resolve(tune())

    assert desk.check(spec) is None
    assert record_of(spec, desk.store, None) == LeakageCheck(policy="allow", words=13, short_words=8)


def test_the_same_rows_are_compared_once(desk: Desk) -> None:
    """A second run, of whatever policy, reads the report of the first; other lengths are another report."""
    digest = desk.check(desk.resolve(tune(**HELD_OUT)))
    again = desk.resolve(tune("drop", **HELD_OUT))

    def unread() -> dict[str, Rows]:
        raise AssertionError("held-out rows were opened")

    assert check_leakage(again, desk.store, {}, unread) == digest
    other = again.model_copy(update={"leakage": again.leakage.model_copy(update={"words": 9})})
    with pytest.raises(AssertionError, match="were opened"):
        check_leakage(other, desk.store, {}, unread)


def test_a_report_that_was_damaged_is_made_again(desk: Desk) -> None:
    """What was noted is verified before it is believed."""
    spec = desk.resolve(tune(**HELD_OUT))
    digest = desk.check(spec)
    assert digest is not None
    desk.store.path(digest).unlink()

    assert desk.check(spec) == digest
    assert read_report(desk.store, digest).train_rows == {"mood": tuple(LEAKING)}


@pytest.mark.parametrize("policy", ["drop", "allow"])
def test_the_policy_decides_what_is_trained_on(desk: Desk, policy: str) -> None:
    """drop: neither row is left and the others keep their order; allow: all are. The record counts accordingly."""
    spec = desk.resolve(tune(policy, **HELD_OUT))
    digest = desk.check(spec)
    assert digest is not None
    report, train = read_report(desk.store, digest), desk.train(spec)
    left, record = without_leaks(spec, report, train), record_of(spec, desk.store, digest)

    kept = [i for i in range(12) if i not in LEAKING] if policy == "drop" else range(12)
    assert list(left["mood"]) == [train["mood"][i] for i in kept]
    assert list(left["taste"]) == list(train["taste"])
    compared = record.held_out["nli/validation"]
    assert (compared.num_rows, compared.num_shared) == (12, 0 if policy == "drop" else 2)
    assert record.left_out == ({"mood": 2} if policy == "drop" else {})
    assert [(pair.train, pair.held_out, pair.train_rows) for pair in record.shared] == [
        ("mood", "nli/validation", 2)
    ]
    assert record.report == digest


def test_fail_names_the_worst_cases(desk: Desk) -> None:
    """The error says how many rows of which tasks, an example with its places, and the two ways out."""
    with pytest.raises(LeakageFound) as refused:
        desk.check(desk.resolve(tune("fail", **HELD_OUT)))

    assert refused.value.message.startswith(
        "2 training rows share text with 2 held-out rows: 2 of mood with 2 of nli"
    )
    assert "has 100% of text of row 1" in refused.value.message
    assert "drop" in str(refused.value.hint) and "allow" in str(refused.value.hint)
    assert refused.value.pointer == "/leakage/policy"
    clean = desk.resolve(tune("fail", against=("twins",)))
    assert told(read_report(desk.store, str(desk.check(clean)))) == ""


def test_a_task_of_which_nothing_would_be_left_is_refused(desk: Desk) -> None:
    """It is taken out by who asked for it, never in silence."""
    assert desk.places.data is not None
    write_hub(desk.places.data, "taste", {"train": numbered(1_000), "validation": numbered(1)})
    spec = desk.resolve(tune("drop", **HELD_OUT))
    report = read_report(desk.store, str(desk.check(spec)))

    with pytest.raises(LeakageFound, match="every row of taste shares"):
        without_leaks(spec, report, desk.train(spec))


def test_rows_that_are_left_out_close_up() -> None:
    """The others keep their content and the line they are told by; other rows, another digest."""
    rows = rows_in_memory([{"a": i} for i in range(6)])
    left = rows.without((0, 3))

    assert [row["a"] for row in left] == [1, 2, 4, 5]
    assert [row["a"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert len({rows.digest, left.digest, rows.without((0, 2)).digest}) == 3
    assert list(rows.without(())) == list(rows)
    with pytest.raises(EmptyDataset, match="all 6 rows"):
        rows.without(range(6))


def lineage(*shared: int | None, tasks_seen: tuple[str, ...] | None = ("mood",)) -> Lineage:
    """Of a model that was tuned once for each of `shared`: unclean rows found in nli's ten, None = not compared."""
    checks = tuple(
        LeakageCheck(
            policy="allow",
            words=13,
            short_words=8,
            held_out={}
            if each is None
            else {"nli/test": ComparedRows(rows="a" * 64, num_rows=10, num_shared=each)},
        )
        for each in shared
    )
    return Lineage(base="preset:nano", tasks_seen=tasks_seen, clusters_seen=(), leakage=checks)


def test_a_model_is_as_clean_as_all_it_was_tuned_on() -> None:
    """Unclean rows add up over the runs that made it; one run that compared nothing leaves it unknown."""
    assert lineage(0).num_shared("nli/test", "a" * 64) == 0
    assert lineage(3, 4).num_shared("nli/test", "a" * 64) == 7
    assert lineage(8, 4).num_shared("nli/test", "a" * 64) == 10
    assert lineage(3, None).num_shared("nli/test", "a" * 64) is None
    assert lineage(3).num_shared("nli/test", "b" * 64) is None
    assert lineage(3).num_shared("nli/validation", "a" * 64) is None
    assert lineage(3, tasks_seen=None).num_shared("nli/test", "a" * 64) is None
    assert lineage(tasks_seen=()).num_shared("nli/test", "a" * 64) == 0
    assert lineage().num_shared("nli/test", "a" * 64) is None
