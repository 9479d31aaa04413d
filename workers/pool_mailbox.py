"""Hand items from one thread to another with one wake-up per burst."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import structlog

T = TypeVar("T")

_log: Final = structlog.get_logger(__name__)


class Mailbox(Generic[T]):
    """A queue that wakes its reader once, however many items are put before it looks.

    No lock is needed: a deque's append and popleft are atomic, and the reader clears the mark before it reads,
    so an item put too late to be read finds the mark cleared and wakes the reader again.

    Args:
        deliver: Called with each item on the reader's thread. What it raises is logged and costs no other item.
        wake: Makes the reader call `drain` soon; called on the writer's thread.
    """

    def __init__(self, deliver: Callable[[T], object], wake: Callable[[], object]) -> None:
        self._deliver = deliver
        self._wake = wake
        self._items: deque[T] = deque()
        self._is_awake = False

    def put(self, item: T) -> None:
        """Add an item; called on the writer's thread."""
        self._items.append(item)
        if not self._is_awake:
            self._is_awake = True
            self._wake()

    def drain(self) -> None:
        """Deliver everything that waits; called on the reader's thread, harmless when nothing does."""
        self._is_awake = False
        while self._items:
            item = self._items.popleft()
            try:
                self._deliver(item)
            except Exception:  # noqa: BLE001
                _log.exception("pool_callback_failed")
