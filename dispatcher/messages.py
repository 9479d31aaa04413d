"""The door to Celery for whoever publishes: web apps, and workers that put batches back.

A message holds a batch id and nothing else; what Flower may show of it travels as its argument summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from amqp.exceptions import AMQPError
from celery import Celery
from kombu import Queue
from kombu.exceptions import KombuError

from dispatcher import deadline, routing
from dispatcher.broker_connection import OwnBrokers
from dispatcher.publishing import broker_conf, queues
from dispatcher.sweeping import Message

#: After a failed publication the broker is left alone for this long: the sweep publishes what waits.
PAUSE_S: Final = 5.0


def make_celery(broker_url: str, *, timeout_s: float) -> Celery:
    """Return a Celery app that publishes without waiting longer than `timeout_s` for the broker.

    It is never the current app, so the web app's own Celery stays what it is.
    """
    app = Celery("apns-producer", amqp=OwnBrokers, set_as_current=False, fixups=[])
    app.conf.update(
        task_queues=queues(broker_url),
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_publish_retry=False,
        broker_connection_timeout=timeout_s,
        broker_pool_acquire_timeout=timeout_s,
        **broker_conf(broker_url, timeout_s=timeout_s),
    )
    return app


class Publisher:
    """Publishes messages; a broker that is gone costs one timeout, then nothing for a while."""

    def __init__(self, celery_app: Celery) -> None:
        self._celery = celery_app
        self._timeout_s = float(celery_app.conf.broker_connection_timeout)
        self._paused_until = 0.0

    def publish(self, message: Message) -> bool:
        """Publish the message of a batch; False when the broker did not take it."""
        lane = routing.QUEUE_LANES[message.queue]
        return self._send(routing.task_name(lane), [message.batch_id], message.summary, queue=message.queue)

    def publish_all(self, messages: Sequence[Message]) -> int:
        """Publish messages in order; returns how many the broker took."""
        return sum(self.publish(message) for message in messages)

    def publish_marker(self, queue: str, sent: str) -> bool:
        """Send a marker through a queue; False when the broker did not take it."""
        return self._send(routing.MARKER_TASK, [queue, sent], queue, queue=queue)

    def call_feedback_task(self, task: str, queue: str, app: str) -> bool:
        """Call an app's feedback task; False when the broker did not take it.

        The queue belongs to the web app: it is addressed by its name and not declared, however it was made.
        """
        return self._send(task, [app], app, queue=Queue(queue), declare=[])

    def close(self) -> None:
        """Close every connection; the next publication would open another."""
        connections = self._celery.producer_pool.connections
        connections.force_close_all(close_pool=False)
        connections.setup()
        self._celery.close()

    def _send(self, task: str, args: list[Any], summary: str, **where: Any) -> bool:
        if monotonic() < self._paused_until:
            return False
        try:
            with deadline.within(self._timeout_s):
                self._celery.send_task(
                    task, args=args, ignore_result=True, retry=False, argsrepr=f"({summary})", kwargsrepr="{}", **where
                )
        except (KombuError, AMQPError, OSError):
            self._paused_until = monotonic() + PAUSE_S
            return False
        return True
