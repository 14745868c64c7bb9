"""Ringing the workers: one message that says nothing but "look".

It is sent after the commit, best effort. It may be lost, or arrive five times: workers look by themselves
every few seconds, and what they find is in the database.
"""

import logging

from celery import Celery
from kombu import Connection
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

log = logging.getLogger(__name__)
MESSAGE = "wake"
TIMEOUT_S = 1.0


def celery_app(redis_url: str) -> Celery:
    """The Celery application, as its senders and its workers must agree on it."""
    app = Celery("flan", broker=redis_url or "memory://", set_as_current=False)
    app.conf.update(
        task_default_queue="flan",
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        # The message is done with as soon as it is read: nothing depends on it.
        task_acks_late=False,
        task_create_missing_queues=False,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
    )
    return app


class Doorbell:
    """Rings the workers of one Redis; without an address it rings nobody."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._app = celery_app(redis_url)

    def ring(self) -> bool:
        """Ask the workers to look for work; whether the message left. Never raises for a Redis that is away."""
        if not self._redis_url:
            return False
        options = {"socket_connect_timeout": TIMEOUT_S, "socket_timeout": TIMEOUT_S, "max_retries": 0}
        try:
            with Connection(
                self._redis_url, connect_timeout=TIMEOUT_S, transport_options=options
            ) as connection:
                self._app.send_task(MESSAGE, connection=connection, retry=False, expires=60)
        except (KombuError, RedisError, OSError) as error:
            log.warning("doorbell not rung", extra={"error": str(error)})
            return False
        return True
