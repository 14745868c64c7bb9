"""The states of a job and the one list of edges between them.

What is stored is `state` and `wish`; what is shown is computed here. A running job is written by the owner
of its lease alone (or by the reaper, once the lease is past); everybody else may only wish.
"""

from typing import Literal

State = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
Shown = Literal[State, "cancelling", "pausing"]
Stage = Literal["prepare", "train", "evaluate", "serve", "finalize"]

EDGES: frozenset[tuple[State, State]] = frozenset(
    {
        ("queued", "running"),  # claimed
        ("queued", "paused"),
        ("queued", "cancelled"),
        ("queued", "failed"),  # of a sweep: what it needs has failed
        ("running", "queued"),  # preempted, lost, or to be tried again
        ("running", "paused"),
        ("running", "succeeded"),
        ("running", "failed"),
        ("running", "cancelled"),
        ("paused", "queued"),  # resumed
        ("paused", "cancelled"),
        ("failed", "queued"),  # retried by hand
    }
)
STATES: tuple[State, ...] = ("queued", "running", "paused", "succeeded", "failed", "cancelled")
ENDED: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})


def shown(state: str, wish: str) -> str:
    """What people see: a running job that is asked to stop is `cancelling` or `pausing`."""
    if state == "running" and wish != "run":
        return "cancelling" if wish == "cancel" else "pausing"
    return state


def stored(shown_state: str) -> tuple[str, str | None]:
    """The (state, wish) that is shown as `shown_state`; a wish of None = any."""
    match shown_state:
        case "cancelling":
            return "running", "cancel"
        case "pausing":
            return "running", "pause"
        case "running":
            return "running", "run"
        case _:
            return shown_state, None
