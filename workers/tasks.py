"""The Celery tasks: one per lane, and the marker that measures a queue."""

from __future__ import annotations

from celery import Celery

from dispatcher import routing
from dispatcher.push_types import Lane
from workers import runtime
from workers.delivery import deliver
from workers.pool import current_queue


def register(app: Celery) -> None:
    """Add every task to the app."""
    for lane in Lane:
        _register_lane(app, lane)
    app.task(name=routing.MARKER_TASK)(_marker)


def _register_lane(app: Celery, lane: Lane) -> None:
    async def send(batch_id: str) -> str:
        """Do what a message says: send a batch, or an app's due slots."""
        return await deliver(batch_id, lane=lane, queue=current_queue(), edges=runtime.current().edges)

    app.task(name=routing.task_name(lane))(send)


async def _marker(queue: str, sent: str) -> str:
    """Note that a marker came out of its queue."""
    return await runtime.current().sweepers[routing.QUEUE_LANES[queue]].marker_out(queue, sent)
