"""Why did the ranks end? From exit statuses, the outcome of rank 0 and the logs to one ending."""

import signal
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flan.rundir import EXIT_STOPPED, HUNG, Outcome
from workers.launch import Exit, Standing
from workers.ledger.leases import Ending, Failure

_ADDRESS_TAKEN = ("EADDRINUSE", "address already in use", "Address already in use")
OOM_HINT = (
    "lower micro_batch or pack_length, raise zero_stage or resources.ranks, or run fewer jobs on this machine"
)
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
    standings: Sequence[Standing] = ()
    """Where each rank stood, when one hung or was lost."""
    oom_kills: int = 0
    """Processes that the kernel killed here for want of memory while the ranks ran."""


def classify(facts: Facts, log_tail: Callable[[int], Sequence[str]]) -> Ending:
    """The ending; `log_tail(rank)` gives the last lines a rank wrote."""
    ending = _classify(facts, log_tail)
    if ending.failure is None or not facts.standings:
        return ending
    values = ending.failure.values | {"ranks": [standing._asdict() for standing in facts.standings]}
    return ending._replace(failure=ending.failure.model_copy(update={"values": values}))


def _classify(facts: Facts, log_tail: Callable[[int], Sequence[str]]) -> Ending:
    if facts.hung_s is not None:
        return _fault("hung", "infra", f"no sign of life for {facts.hung_s:.0f} s", 0, log_tail)
    if facts.was_killed and facts.was_asked:
        return Ending("stopped")
    if all(exit_.status == 0 for exit_ in facts.exits):
        return Ending("done")
    if all(exit_.status in (0, EXIT_STOPPED) for exit_ in facts.exits):
        return Ending("stopped")
    if facts.outcome is not None and facts.outcome.code == HUNG:
        gave_up = next(exit_ for exit_ in facts.exits if exit_.status not in (0, EXIT_STOPPED))
        return _failed(gave_up, facts.outcome, log_tail)
    # A rank that was killed takes the others with it: they fail later, for want of a peer.
    for exit_ in facts.exits:
        if exit_.status == -signal.SIGTERM and facts.was_asked:
            return Ending("stopped")  # it had not come as far as to listen: there is nothing to save
        if exit_.status < 0:
            return _killed(exit_, facts.oom_kills, log_tail)
    first = next(exit_ for exit_ in facts.exits if exit_.status not in (0, EXIT_STOPPED))
    return _failed(first, facts.outcome, log_tail)


def _killed(exit_: Exit, oom_kills: int, log_tail: Callable[[int], Sequence[str]]) -> Ending:
    number, rank = -exit_.status, exit_.rank
    if number == signal.SIGKILL and oom_kills:
        message = (
            f"rank {rank} was killed; meanwhile the kernel killed {oom_kills} processes for want of memory"
        )
        return _fault("out_of_memory", "infra", message, rank, log_tail, OOM_HINT)
    code = "rank_killed" if number == signal.SIGKILL else "rank_crashed"
    hint = "the kernel kills what needs more memory than there is" if number == signal.SIGKILL else None
    return _fault(code, "infra", f"rank {rank} was ended by signal {number}", rank, log_tail, hint)


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
