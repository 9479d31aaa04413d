"""The main thread's end of the pool: Celery's hub, and the outcomes it delivers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import structlog
from kombu.asynchronous import Hub

from workers.pool_mailbox import Mailbox

T = TypeVar("T")

_FLUSH_S: Final = 0.001
_POLL_S: Final = 0.005

_log: Final = structlog.get_logger(__name__)


class HubLink(Generic[T]):
    """Delivers on Celery's main thread what other threads put here.

    It keeps the hub that it was given: kombu's `get_event_loop()` returns None after the first reconnect.

    Args:
        deliver: Called with each item on the main thread.
    """

    def __init__(self, deliver: Callable[[T], object]) -> None:
        self._mailbox: Mailbox[T] = Mailbox(deliver, self.wake)
        self._hub: Hub | None = None
        self.put = self._mailbox.put
        self.drain = self._mailbox.drain

    def attach(self, hub: Hub) -> None:
        """Take the hub, at start and after each reconnect.

        A hub forgets what it was to call when a connection fails during a tick, so what waits is delivered anew.
        """
        self._hub = hub
        self.wake()

    def wake(self) -> None:
        """Have what waits delivered soon; safe from any thread, but not in a signal handler: the hub takes a lock."""
        if self._hub is not None:
            self._hub.call_soon(self._deliver)

    def drive(self, is_needed: Callable[[], bool], deadline: float) -> None:
        """Keep the hub turning while that is needed, at most until a monotonic deadline; on the main thread.

        Acknowledgements and events leave at once, and a message that Redis handed over while the consumer was being
        cancelled goes back to its queue now and not when the worker has stopped.
        """
        if self._hub is None or not is_needed():
            return
        self._hub.call_later(max(0.0, deadline - time.monotonic()), _nothing)
        while is_needed() and time.monotonic() < deadline:
            try:
                self._hub.run_once()
            except Exception as exc:  # noqa: BLE001  the broker is gone; the tasks still get their time
                _log.warning("pool_stops_without_broker", error=type(exc).__name__)
                break
        while is_needed() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            self.drain()

    def _deliver(self) -> None:
        self.drain()
        if self._hub is not None:
            # The hub polls, for up to a second, before it looks at what its callbacks scheduled: the acknowledgements
            # and events of this delivery. A timer makes it return from the poll.
            self._hub.call_later(_FLUSH_S, _nothing)


def _nothing() -> None:
    """Do nothing: a timer for it ends the hub's poll."""
