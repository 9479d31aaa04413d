"""The state server's clock, kept by a worker: the one clock of due times, deadlines and provider tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog
from redis.exceptions import RedisError

from dispatcher import outbox
from dispatcher.scripts import Clock
from dispatcher.state_call import StateCall

#: How often it is compared, in seconds. A clock that tests can move is looked at more often.
COMPARE_EVERY_S: Final = {Clock.SERVER: 60.0, Clock.SHIFTED: 0.5}

log = structlog.get_logger()


class TimeSource(Protocol):
    """The state server, as this clock wants it."""

    async def run(self, call: StateCall[float]) -> float:
        """Run one call."""
        ...


class StateClock:
    """Counts on from the last comparison on a monotonic clock, so the host's own clock never matters."""

    def __init__(self, state: TimeSource, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._state = state
        self._compare_every_s = COMPARE_EVERY_S[clock]
        self._monotonic = monotonic
        self._offset = 0.0

    def now(self) -> float:
        """Return the state server's time, in Unix seconds."""
        return self._monotonic() + self._offset

    async def compare(self) -> None:
        """Ask the state server for its time.

        Raises:
            RedisError: It did not answer.
        """
        before = self._monotonic()
        server_time = await self._state.run(outbox.time())
        self._offset = server_time - (before + self._monotonic()) / 2

    async def keep_comparing(self) -> None:
        """Compare again and again, until cancelled; while the server is gone the last comparison holds."""
        while True:
            await asyncio.sleep(self._compare_every_s)
            try:
                await self.compare()
            except RedisError as exc:
                log.warning("clock_not_compared", error=type(exc).__name__)
