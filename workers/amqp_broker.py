"""AMQP transport that survives messages whose properties cannot be read, and the queues for what workers refuse.

    app.conf.broker_transport = "workers.amqp_broker:Transport"   # amqp:// and amqps:// only

RabbitMQ passes properties on without looking at them, py-amqp parses them without a guard, and what that raises ends
the worker; the next worker gets the same message. Here such a message comes without properties, and Celery refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from amqp.method_framing import frame_handler
from celery.bootsteps import StartStopStep
from celery.worker.consumer import Tasks
from kombu import Queue

from dispatcher import bounded_amqp
from dispatcher.publishing import REFUSED_TO

KEPT_MESSAGES: Final = 20
KEPT_BYTES: Final = KEPT_MESSAGES * 65_536

_HEADER_FRAME: Final = 2
#: A header is class, weight and body size, flags that say which properties there are, and those.
_SIZES_BYTES: Final = 12
_NO_FLAGS: Final = b"\0\0"

Frame = tuple[int, int, bytes]


class FrameReader:
    """py-amqp's reader of frames; passes over properties that it cannot read."""

    def __init__(self, connection: Any, callback: Callable[..., Any]) -> None:
        self._callback = callback
        self._on_frame = frame_handler(connection, self._pass_on)
        self._is_read = False

    def __call__(self, frame: Frame) -> Any:
        """Read a frame."""
        frame_type, channel, content = frame
        self._is_read = False
        try:
            return self._on_frame(frame)
        except Exception:
            if self._is_read or frame_type != _HEADER_FRAME:
                raise
        return self._on_frame((frame_type, channel, bytes(content[:_SIZES_BYTES]) + _NO_FLAGS))

    def _pass_on(self, *message: Any) -> Any:
        try:
            return self._callback(*message)
        finally:
            self._is_read = True  # last: whoever takes a message may have read others


class Connection(bounded_amqp.Connection):
    """Our connection, with our reader."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, frame_handler=FrameReader)


class Transport(bounded_amqp.Transport):
    """Our transport, with our connection."""

    Connection = Connection


class GarbageQueues(StartStopStep):
    """Declares, in a worker of RabbitMQ, the queues that keep the last messages refused, for somebody to look at."""

    requires = (Tasks,)

    def start(self, c: Any) -> None:
        """Declare one for each queue that sends there what is refused."""
        for queue in c.task_consumer.queues:
            name = (queue.queue_arguments or {}).get(REFUSED_TO)
            if name:
                limits = {"x-max-length": KEPT_MESSAGES, "x-max-length-bytes": KEPT_BYTES}
                Queue(name, queue_arguments=limits)(c.connection.default_channel).declare()
