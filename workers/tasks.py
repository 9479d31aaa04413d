"""The Celery tasks: one per lane, and the marker that measures a queue."""

from __future__ import annotations

from typing import Final

import structlog
from celery import Celery
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError
from redis.exceptions import TimeoutError as NoAnswerError

from dispatcher import routing
from dispatcher.push_types import Lane
from workers import runtime
from workers.delivery import deliver
from workers.pool import current_queue

#: The server is away or takes no writes: what was accepted is found again by a marker, or at the end of its lease.
_STATE_IS_GONE: Final = (LostConnectionError, NoAnswerError, ReadOnlyError, OutOfMemoryError)

log = structlog.get_logger()


def register(app: Celery) -> None:
    """Add every task to the app."""
    for lane in Lane:
        _register_lane(app, lane)
    app.task(name=routing.MARKER_TASK)(_marker)


def _register_lane(app: Celery, lane: Lane) -> None:
    async def send(batch_id: str) -> str:
        """Do what a message says: send a batch, or an app's due slots."""
        try:
            return await deliver(batch_id, lane=lane, queue=current_queue(), edges=runtime.current().edges)
        except _STATE_IS_GONE as exc:
            log.warning("left_to_the_sweep", batch_id=batch_id, error=type(exc).__name__)
            return f"the state server is gone: {type(exc).__name__}"

    app.task(name=routing.task_name(lane))(send)


async def _marker(queue: str, sent: str) -> str:
    """Note that a marker came out of its queue."""
    return await runtime.current().sweepers[routing.QUEUE_LANES[queue]].marker_out(queue, sent)
