"""Let an app start with few pushes in flight until Apple has taken some: what is wrong shows in few requests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

#: Pushes of an app in flight per process while nothing is known.
START_IN_FLIGHT: Final = 8


class StartGate:
    """Counts what is in flight; belongs to one event loop."""

    def __init__(self, most: int, *, is_open: Callable[[], bool]) -> None:
        """Make a gate.

        Args:
            most: How many may be in flight while it is not open.
            is_open: Tells whether any number may be in flight.
        """
        self._most = most
        self._is_open = is_open
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def admits(self) -> bool:
        """Tell whether there is a place."""
        return self._in_flight < self._most or self._is_open()

    async def wait(self) -> None:
        """Wait for a place; it has to be entered at once."""
        while not self.admits():
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._let_in()  # the place may have been meant for this one
                raise

    def enter(self) -> None:
        """Take a place; `leave` must follow."""
        self._in_flight += 1

    def leave(self) -> None:
        """Give the place back."""
        self._in_flight -= 1
        if self._waiting:
            self._let_in()

    def _let_in(self) -> None:
        places = len(self._waiting) if self._is_open() else self._most - self._in_flight
        while self._waiting and places > 0:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                places -= 1
