"""The pushes of a pool that wait for a stream: first come, first served, those handed back before all others.

Pushes that avoid a connection stand in a line of their own, so that they hold up nobody while another is opened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from workers.transport.connection_port import Push
from workers.transport.port import GateClosedError

#: How long a push waits for another connection before the one it avoids will do: opening one takes a fraction of it,
#: and a call rings meanwhile.
ELSEWHERE_S: Final = 2.0


class WaitingPushes:
    """Two queues for pushes that go over any connection, and a line for each one that is avoided; all keep their order.

    Attributes:
        choosy: Number of a connection -> the pushes that avoid it, each with the end of its patience; never empty ones.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """Prepare.

        Args:
            now: Seconds of a monotonic clock.
        """
        self.choosy: Final[dict[int, deque[tuple[float, Push]]]] = {}
        self._now = now
        self._back: deque[Push] = deque()
        self._new: deque[Push] = deque()

    def __bool__(self) -> bool:
        return bool(self._new or self._back or self.choosy)

    @property
    def has_next(self) -> bool:
        """Tell whether a push waits that goes over any connection."""
        return bool(self._new or self._back)

    @property
    def avoided(self) -> Sequence[int | None]:
        """Return which connections those who wait avoid, None for those who avoid none."""
        return (None, *self.choosy) if self.has_next else tuple(self.choosy)

    def add(self, push: Push) -> None:
        """Let a new push wait."""
        if push.request.avoid is None:
            self._new.append(push)
        else:
            self._add_choosy(push, push.request.avoid)

    def add_back(self, push: Push) -> None:
        """Let a push wait that was on a stream before."""
        if push.request.avoid is None:
            self._back.append(push)
        else:
            self._add_choosy(push, push.request.avoid)

    def take(self) -> Push:
        """Remove and return the next that goes over any connection."""
        return (self._back or self._new).popleft()

    def take_choosy(self, avoid: int) -> Push:
        """Remove and return the next that avoids a connection."""
        _, push = self.choosy[avoid].popleft()
        if not self.choosy[avoid]:
            del self.choosy[avoid]
        return push

    def is_patient(self, avoid: int) -> bool:
        """Tell whether the next that avoids a connection still waits for another."""
        return self._now() < self.choosy[avoid][0][0]

    def ask_gates(self) -> None:
        """End the pushes that must not leave any more, and forget those whose callers have left."""
        for push in self._all():
            if not push.answered.done() and not push.request.may_open():
                push.fail(GateClosedError())
        self._back = deque(push for push in self._back if not push.answered.done())
        self._new = deque(push for push in self._new if not push.answered.done())
        for avoid, line in list(self.choosy.items()):
            del self.choosy[avoid]
            if kept := [place for place in line if not place[1].answered.done()]:
                self.choosy[avoid] = deque(kept)

    def fail(self, make_error: Callable[[], Exception]) -> None:
        """End them all, each with an error of its own."""
        for push in self._all():
            push.fail(make_error())
        self._back.clear()
        self._new.clear()
        self.choosy.clear()

    def _add_choosy(self, push: Push, avoid: int) -> None:
        self.choosy.setdefault(avoid, deque()).append((self._now() + ELSEWHERE_S, push))

    def _all(self) -> list[Push]:
        choosy = [push for line in self.choosy.values() for _, push in line]
        return [*choosy, *self._back, *self._new]
