"""Why an attempt ended, from what is left of it."""

import pytest

from flan.rundir import Outcome
from workers.classify import Facts, classify
from workers.launch import Exit, Standing


def facts(*statuses: int, outcome: Outcome | None = None, **fields: object) -> Facts:
    """Facts of ranks that ended with these statuses, in this order."""
    exits = [Exit(rank, status) for rank, status in enumerate(statuses)]
    given = {"was_asked": False, "was_killed": False, "hung_s": None} | fields
    return Facts(exits, outcome, **given)  # type: ignore[arg-type]


FAILED = Outcome(status="failed", code="disk_full", blame="infra", message="no space", hint="free some")
GAVE_UP = Outcome(status="failed", code="hung", blame="infra", message="waited 120 s")
UNNAMED = Outcome(status="failed", code="internal", blame="system", message="RuntimeError: EADDRINUSE")


@pytest.mark.parametrize(
    ("seen", "kind", "code", "blame"),
    [
        (facts(0, 0), "done", None, None),
        (facts(75, 75, was_asked=True), "stopped", None, None),
        (facts(75), "stopped", None, None),
        (facts(0, 75, was_asked=True), "stopped", None, None),
        (facts(was_asked=True, was_killed=True), "stopped", None, None),
        (facts(-15, 1, was_asked=True), "stopped", None, None),
        (facts(-15, 1), "fault", "rank_crashed", "infra"),
        (facts(-9, 1, outcome=UNNAMED), "fault", "rank_killed", "infra"),
        (facts(-11), "fault", "rank_crashed", "infra"),
        (facts(1, outcome=FAILED), "fault", "disk_full", "infra"),
        (facts(1, outcome=UNNAMED), "fault", "port_taken", "infra"),
        (facts(3), "fault", "rank_failed", "system"),
        (facts(1, outcome=Outcome(status="done")), "fault", "rank_failed", "system"),
        (facts(hung_s=901.0), "fault", "hung", "infra"),
        (facts(hung_s=901.0, was_asked=True), "fault", "hung", "infra"),
        (facts(70, -9, outcome=GAVE_UP), "fault", "hung", "infra"),
        (facts(-9, 1, outcome=UNNAMED, oom_kills=1), "fault", "out_of_memory", "infra"),
    ],
)
def test_ending_of_ranks(seen: Facts, kind: str, code: str | None, blame: str | None) -> None:
    """One table: what was seen, what it means, whose it is to mend."""
    ending = classify(seen, lambda rank: [f"rank {rank} spoke"])

    assert ending.kind == kind
    assert (ending.failure.code if ending.failure else None) == code
    assert (ending.failure.blame if ending.failure else None) == blame


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("RuntimeError: CUDA error: uncorrectable ECC error encountered", "gpu_lost"),
        ("OSError: [Errno 98] Address already in use", "port_taken"),
        ("ImportError: no module", "rank_failed"),
    ],
)
def test_log_speaks_where_the_rank_did_not(line: str, code: str) -> None:
    """Known signs of a machine at fault are found in the last lines."""
    ending = classify(facts(1), lambda rank: ["Traceback", line, ""])

    assert ending.failure is not None
    assert ending.failure.code == code
    assert ending.failure.log == ("Traceback", line, "")
    if code == "rank_failed":
        assert line in ending.failure.message


def test_standings_of_the_ranks_are_in_the_failure() -> None:
    """Whoever looks at a job that hung sees where each of its ranks stood."""
    standing = Standing(0, "T (stopped)", ("File x in train",))
    ending = classify(facts(70, outcome=GAVE_UP, standings=(standing,)), lambda rank: [])

    assert ending.failure is not None
    assert ending.failure.values["ranks"] == [
        {"rank": 0, "state": "T (stopped)", "stack": ("File x in train",)}
    ]
