"""The deadlines of all pushes on a connection, under one timer."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Container
from typing import Final

#: Below this many, entries of pushes that have ended are left where they are.
FEW: Final = 1024


class Deadlines:
    """Tells when a push has waited too long.

    One that ends in time costs nothing more: its entry is dropped later, together with others. A timer of the loop for
    each push would cost about 2 us to make and cancel.

    Args:
        loop: Whose clock counts.
        pushes: What is still open, by stream.
        on_missed: Hears of each that is open at its deadline, once.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, pushes: Container[int], on_missed: Callable[[int], None]
    ) -> None:
        self._loop = loop
        self._pushes = pushes
        self._on_missed = on_missed
        self._heap: list[tuple[float, int]] = []
        self._prune_at = FEW
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, stream_id: int, deadline: float) -> None:
        """Watch a stream until a moment on the loop's clock."""
        heapq.heappush(self._heap, (deadline, stream_id))
        if self._timer is None or deadline < self._timer.when():
            self._arm()
        if len(self._heap) > self._prune_at:
            self._prune()

    def stop(self) -> None:
        """Watch nothing more."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._heap[0][0], self._look) if self._heap else None

    def _look(self) -> None:
        now = self._loop.time()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][1] not in self._pushes):
            _, stream_id = heapq.heappop(self._heap)
            if stream_id in self._pushes:
                self._on_missed(stream_id)
        self._arm()

    def _prune(self) -> None:
        self._heap = [entry for entry in self._heap if entry[1] in self._pushes]
        heapq.heapify(self._heap)
        self._prune_at = FEW + 2 * len(self._heap)
