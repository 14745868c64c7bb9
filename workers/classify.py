"""Why did the ranks end? From exit statuses, the outcome of rank 0 and the logs to one ending."""

import signal
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flan.rundir import EXIT_STOPPED, Outcome
from workers.launch import Exit
from workers.ledger.leases import Ending, Failure

_ADDRESS_TAKEN = ("EADDRINUSE", "address already in use", "Address already in use")
_GPU_LOST = ("uncorrectable ECC error", "GPU is lost", "has fallen off the bus", "Xid ")


class Facts(NamedTuple):
    """What is known when the last rank is gone."""

    exits: Sequence[Exit]
    """In the order in which the ranks were seen to end."""
    outcome: Outcome | None
    was_asked: bool
    """Whether a wish was written, or the machine asked for its place."""
    was_killed: bool
    """Whether we ended the ranks, because they did not obey in time."""
    hung_s: float | None = None
    """So long was nothing heard of them when they were killed for it."""


def classify(facts: Facts, log_tail: Callable[[int], Sequence[str]]) -> Ending:
    """The ending; `log_tail(rank)` gives the last lines a rank wrote."""
    if facts.hung_s is not None:
        return _fault("hung", "infra", f"no sign of life for {facts.hung_s:.0f} s", 0, log_tail)
    if facts.was_killed and facts.was_asked:
        return Ending("stopped")
    if all(exit_.status == 0 for exit_ in facts.exits):
        return Ending("done")
    if all(exit_.status in (0, EXIT_STOPPED) for exit_ in facts.exits):
        return Ending("stopped")
    # A rank that was killed takes the others with it: they fail later, for want of a peer.
    for exit_ in facts.exits:
        if exit_.status == -signal.SIGTERM and facts.was_asked:
            return Ending("stopped")  # it had not come as far as to listen: there is nothing to save
        if exit_.status < 0:
            return _killed(exit_, log_tail)
    first = next(exit_ for exit_ in facts.exits if exit_.status not in (0, EXIT_STOPPED))
    return _failed(first, facts.outcome, log_tail)


def _killed(exit_: Exit, log_tail: Callable[[int], Sequence[str]]) -> Ending:
    number = -exit_.status
    code = "rank_killed" if number == signal.SIGKILL else "rank_crashed"
    hint = "the kernel kills what needs more memory than there is" if number == signal.SIGKILL else None
    return _fault(
        code, "infra", f"rank {exit_.rank} was ended by signal {number}", exit_.rank, log_tail, hint
    )


def _failed(exit_: Exit, outcome: Outcome | None, log_tail: Callable[[int], Sequence[str]]) -> Ending:
    """A rank ended by itself: what it said, or what its log says."""
    log = log_tail(exit_.rank)
    told = outcome if outcome is not None and outcome.status == "failed" else None
    if told is None or told.blame == "system":  # an error that our code has no name for
        text = "\n".join([*log, told.message or "" if told else ""])
        if any(sign in text for sign in _ADDRESS_TAKEN):
            return _fault("port_taken", "infra", "another process took the ranks' port", exit_.rank, log_tail)
        if any(sign in text for sign in _GPU_LOST):
            return _fault("gpu_lost", "infra", "a GPU failed", exit_.rank, log_tail)
    if told is None:
        last = next((line.strip() for line in reversed(log) if line.strip()), "it wrote nothing")
        message = f"rank {exit_.rank} ended with status {exit_.status}: {last}"
        return _fault("rank_failed", "system", message, exit_.rank, log_tail, "the log says more")
    failure = Failure(
        code=told.code or "internal",
        blame=told.blame or "system",
        message=told.message or "the rank did not say why",
        hint=told.hint,
        values=told.values,
        rank=exit_.rank,
        log=tuple(log),
    )
    return Ending("fault", failure)


def _fault(
    code: str,
    blame: str,
    message: str,
    rank: int,
    log_tail: Callable[[int], Sequence[str]],
    hint: str | None = None,
) -> Ending:
    log = tuple(log_tail(rank))
    failure = {"code": code, "blame": blame, "message": message, "rank": rank, "hint": hint, "log": log}
    return Ending("fault", Failure.parse(failure))
