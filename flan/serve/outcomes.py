"""How what is asked of the engine ends: refused or failed."""

from concurrent.futures import Future
from typing import Any

from flan.errors import FlanError


class Overloaded(FlanError):
    """As many requests wait as may wait."""

    code, blame = "overloaded", "infra"


class EngineStopped(FlanError):
    """The engine no longer runs: it was told to stop, or it failed."""

    code, blame = "engine_stopped", "infra"


def fail(future: Future[Any], error: FlanError) -> None:
    """Say why there is no answer."""
    # A request of several sequences is failed once; one whose client is gone, not at all.
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)


def stopped() -> EngineStopped:
    """What those are told who were asking when the engine stopped."""
    return EngineStopped("the model stopped being served", hint="try again in a moment")
