"""The leakage check of a run: computed once for the same rows, kept in the store, and carried out.

What a check finds follows from the rows and the lengths alone, so it is noted under their digest: a resumed run,
or another one on the same rows, reads it again. Every rank leaves out the same training rows; their places in
the stream close up, so the stream stays a pure function of the spec, its seed and the number of a draw.
"""

import hashlib
from collections.abc import Callable, Mapping

from flan.card import ComparedRows, LeakageCheck, Lineage, SharedCount
from flan.data.leakage import VERSION, LeakageReport, SharedRows, TrainingRows, find_leakage
from flan.data.rows import EmptyDataset, Rows
from flan.errors import FlanError, NotFound
from flan.spec import TuneSpec, canonical_json
from flan.store import Store

MOST_NAMED = 3
"""Pairs of tasks that an error names."""


class LeakageFound(FlanError):
    """Training rows share text with held-out rows, and the spec refuses that."""

    code, blame = "leakage_found", "user"


def check_leakage(
    spec: TuneSpec,
    store: Store,
    train: Mapping[str, Rows],
    open_held_out: Callable[[], Mapping[str, Rows]],
    *,
    on_rows: Callable[[str, int], None] | None = None,
) -> str | None:
    """The digest of the report on what `train` and the held-out rows share; None where nothing is held out.

    Raises LeakageFound where there is something and `leakage.policy` is fail.
    """
    assert spec.pins is not None, "a run has a resolved spec"
    if not spec.pins.held_out:
        return None
    key = _key(spec)
    digest = store.recall(key)
    if digest is None:
        rows = (TrainingRows(name, train[name], range(len(train[name]))) for name in sorted(train))
        report = find_leakage(rows, open_held_out(), spec.leakage, on_rows=on_rows)
        digest = store.put_bytes(report.canonical().encode())
        store.note(key, digest)
    if spec.leakage.policy == "fail":
        _refuse(read_report(store, digest))
    return digest


def read_report(store: Store, digest: str) -> LeakageReport:
    """A report that `check_leakage` has put into the store. Raises NotFound, StoreCorrupt."""
    return LeakageReport.model_validate_json(store.read_bytes(digest))


def without_leaks(spec: TuneSpec, report: LeakageReport | None, train: Mapping[str, Rows]) -> dict[str, Rows]:
    """What is trained on of `train`: where the policy is drop, without the rows that share a passage.

    Raises LeakageFound where a task would have no row left.
    """
    if report is None or spec.leakage.policy != "drop":
        return dict(train)
    left = {}
    for name, rows in train.items():
        try:
            left[name] = rows.without(report.train_rows.get(name, ()))
        except EmptyDataset as error:
            raise LeakageFound(
                f"every row of {name} shares a passage with held-out rows: nothing of it is left to train on",
                hint="take it out of the mixture, or set leakage.policy: allow",
                pointer="/leakage/policy",
                task=name,
            ) from error
    return left


def record_of(spec: TuneSpec, store: Store, digest: str | None) -> LeakageCheck:
    """What a model's card says of the check of the run that made it. `digest`: of the report."""
    assert spec.pins is not None, "a run has a resolved spec"
    policy, is_dropped = spec.leakage.policy, spec.leakage.policy == "drop"
    nothing = LeakageCheck(
        policy=policy,
        words=spec.leakage.words,
        short_words=spec.leakage.short_words,
        not_compared=spec.pins.not_compared,
    )
    if digest is None:
        return nothing
    report = read_report(store, digest)
    touched = {} if is_dropped else report.held_out_rows
    held_out = {
        f"{name}/{split}": ComparedRows(
            rows=rows,
            num_rows=pin.num_rows[split],
            num_shared=len(touched.get(f"{name}/{split}", ())),
        )
        for name, pin in spec.pins.held_out.items()
        for split, rows in pin.rows.items()
    }
    return nothing.model_copy(
        update={
            "held_out": held_out,
            "left_out": {name: len(rows) for name, rows in report.train_rows.items()} if is_dropped else {},
            "shared": tuple(_counts(pair) for pair in report.shared),
            "report": digest,
        }
    )


def unclean_rows(store: Store, lineage: Lineage, source: str, rows: str) -> frozenset[int] | None:
    """Which rows of `source` (task/split, held out, with this digest) share a passage with one that was trained on.

    None where rows were trained on that were never compared with them, or a report is not in `store`.
    """
    if lineage.num_shared(source, rows) is None:
        return None
    numbers: set[int] = set()
    for check in lineage.leakage:
        if check.report is not None and check.held_out[source].num_shared:
            try:
                numbers.update(read_report(store, check.report).held_out_rows[source])
            except NotFound:
                return None
    return frozenset(numbers)


def told(report: LeakageReport) -> str:
    """In a sentence, what training rows and held-out rows share, the worst pairs by name; "" when nothing."""
    if not report.shared:
        return ""
    num_train = sum(map(len, report.train_rows.values()))
    num_held_out = sum(map(len, report.held_out_rows.values()))
    worst = "; ".join(map(_worst, report.shared[:MOST_NAMED]))
    more = f"; and {len(report.shared) - MOST_NAMED} more pairs" if len(report.shared) > MOST_NAMED else ""
    return f"{num_train:,} training rows share text with {num_held_out:,} held-out rows: {worst}{more}"


def _key(spec: TuneSpec) -> str:
    """Digest of all that a report follows from."""
    assert spec.pins is not None
    decides = {
        "version": VERSION,
        "words": spec.leakage.words,
        "short_words": spec.leakage.short_words,
        "train": {name: spec.pins.tasks[name].rows["train"] for name in spec.pins.train},
        "held_out": {name: pin.rows for name, pin in spec.pins.held_out.items()},
    }
    return hashlib.sha256(canonical_json(decides).encode()).hexdigest()


def _refuse(report: LeakageReport) -> None:
    if report.shared:
        raise LeakageFound(
            told(report),
            hint="leakage.policy: drop trains without these rows, allow trains on them and puts it on record",
            pointer="/leakage/policy",
            shared=[_counts(pair).model_dump(mode="json") for pair in report.shared],
        )


def _worst(pair: SharedRows) -> str:
    passage = pair.passages[0]
    return (
        f"{pair.train_rows:,} of {pair.train} with {pair.held_out_rows:,} of {pair.held_out} (row {passage.train.row}, "
        f"{passage.train.field}, has {passage.coverage:.0%} of {passage.held_out.field} of row {passage.held_out.row})"
    )


def _counts(pair: SharedRows) -> SharedCount:
    return SharedCount(**{name: getattr(pair, name) for name in SharedCount.model_fields})
