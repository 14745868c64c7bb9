"""The worker: a Celery application with one message, and the dispatcher beside it.

    celery --app workers.app worker --pool solo        or        python -m workers

The message `wake` carries nothing; it rings the dispatcher and is done. Without Redis Celery goes on trying
to connect, and the dispatcher works by its own clock.
"""

import logging
import os
import signal
from typing import Any

from celery import bootsteps
from celery.signals import setup_logging

from flan.processes import DIE_WITH_PARENT, die_with_parent
from workers.dispatch import Dispatcher
from workers.doorbell import MESSAGE, celery_app
from workers.ledger.session import check_revision, engine_of, insisting, open_ledger
from workers.logs import set_up_logging
from workers.processes import adopt_orphans, require_linux
from workers.settings import Settings

log = logging.getLogger(__name__)
START_PATIENCE_S = 120.0
settings = Settings()
app = celery_app(settings.redis_url)
_dispatchers: list[Dispatcher] = []


class Dispatching(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts the dispatcher before the consumer, which waits for Redis; stops it after."""

    requires = {"celery.worker.components:Pool"}

    def start(self, _worker: Any) -> None:
        """Begin to look for work. Raises UnknownRevision, LedgerUnavailable."""
        require_linux()
        # A rank's own children come to us when its supervisor dies, and are found by their mark.
        adopt_orphans()
        sessions = open_ledger(settings.require_database())
        insisting(lambda: check_revision(engine_of(sessions)), for_s=START_PATIENCE_S)
        dispatcher = Dispatcher(settings, sessions)
        dispatcher.start()
        _dispatchers.append(dispatcher)

    def stop(self, _worker: Any) -> None:
        """Have every attempt save and stop, and wait for them."""
        while _dispatchers:
            _dispatchers.pop().stop()


app.steps["worker"].add(Dispatching)


@app.task(name=MESSAGE)  # type: ignore[untyped-decorator]
def wake() -> None:
    """Look for work now."""
    for dispatcher in _dispatchers:
        dispatcher.ring()


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log_as_json(**_arguments: Any) -> None:
    set_up_logging()


def main() -> None:
    """Run a worker until SIGTERM. With FLAN_DIE_WITH_PARENT set, it ends with whoever started it."""
    if os.environ.get(DIE_WITH_PARENT):
        die_with_parent(signal.SIGKILL)
    options = ["--pool", "solo", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    app.worker_main(["--quiet", "worker", *options])
