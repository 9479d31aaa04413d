"""A sweeper whose messages a test can look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dispatcher.messages import Publisher, make_celery
from dispatcher.push_types import Lane
from dispatcher.sweeping import Message
from tests.conductor.conftest import APP, Bench
from workers.sweeper import Sweeper

_NOBODY: Final = "redis://127.0.0.1:1/0"


class RecordingPublisher(Publisher):
    """A broker that keeps what it is given for the test to look at, or is away.

    Attributes:
        messages: What was published.
        markers: Queue and time of each marker.
        calls: Task, queue and app of each call of a feedback task.
        is_away: Whether it takes nothing.
    """

    def __init__(self) -> None:
        super().__init__(make_celery(_NOBODY, timeout_s=0.1))
        self.messages: list[Message] = []
        self.markers: list[tuple[str, str]] = []
        self.calls: list[tuple[str, str, str]] = []
        self.is_away = False

    def publish(self, message: Message) -> bool:
        """Take a message."""
        if not self.is_away:
            self.messages.append(message)
        return not self.is_away

    def publish_marker(self, queue: str, sent: str) -> bool:
        """Take a marker."""
        if not self.is_away:
            self.markers.append((queue, sent))
        return not self.is_away

    def call_feedback_task(self, task: str, queue: str, app: str) -> bool:
        """Take a call of a feedback task."""
        if not self.is_away:
            self.calls.append((task, queue, app))
        return not self.is_away

    def published(self) -> list[str]:
        """Return the ids published since this was asked last."""
        ids_published = [message.batch_id for message in self.messages]
        self.messages.clear()
        return ids_published


def make_sweeper(
    bench: Bench, *, lane: Lane = Lane.ALERT, worker: str = "host:1", apps: Sequence[str] = (APP,)
) -> tuple[Sweeper, RecordingPublisher]:
    """Return a sweeper and where it publishes."""
    publisher = RecordingPublisher()
    sweeper = Sweeper(lane=lane, apps=apps, state=bench.state, publisher=publisher, worker=worker, now=bench.clock.now)
    return sweeper, publisher
