"""The pushes of a pool that wait for a stream: first come, first served, those handed back before all others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from workers.transport.connection_port import Push
from workers.transport.port import GateClosedError


class WaitingPushes:
    """Two queues; both keep their order."""

    def __init__(self) -> None:
        self._back: deque[Push] = deque()
        self._new: deque[Push] = deque()

    def __bool__(self) -> bool:
        return bool(self._new or self._back)

    def add(self, push: Push) -> None:
        """Let a new push wait."""
        self._new.append(push)

    def add_back(self, push: Push) -> None:
        """Let a push wait that was on a stream before."""
        self._back.append(push)

    def take(self) -> Push:
        """Remove and return the next."""
        return (self._back or self._new).popleft()

    def ask_gates(self) -> None:
        """End the pushes that must not leave any more, and forget those whose callers have left."""
        for push in (*self._back, *self._new):
            if not push.answered.done() and not push.request.may_open():
                push.fail(GateClosedError())
        self._back = deque(push for push in self._back if not push.answered.done())
        self._new = deque(push for push in self._new if not push.answered.done())

    def fail(self, make_error: Callable[[], Exception]) -> None:
        """End them all, each with an error of its own."""
        while self:
            self.take().fail(make_error())
