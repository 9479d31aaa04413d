"""Simulated time: this machine's clock and an offset that tests move in the state server."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from dispatcher import redis_keys

READ_EVERY_S: Final = 0.2


class OffsetClock:
    """Tells simulated Unix seconds.

    Attributes:
        offset_s: Added to this machine's clock.
    """

    def __init__(self) -> None:
        self.offset_s = 0.0

    def __call__(self) -> float:
        """Return simulated Unix seconds."""
        return time.time() + self.offset_s


class ClockFollower:
    """Keeps a clock's offset as the state server says.

    Args:
        url: Of the state server.
    """

    def __init__(self, clock: OffsetClock, url: str) -> None:
        self._clock = clock
        self._redis: Redis = Redis.from_url(url)

    async def read(self) -> None:
        """Read the offset once; absent means none.

        Raises:
            RedisError: The state server cannot be asked.
        """
        offset = await self._redis.get(redis_keys.clock(redis_keys.FLEET_SHARD))
        self._clock.offset_s = float(offset or 0)

    async def follow(self) -> None:
        """Read the offset for ever; while the state server is away the last one holds."""
        try:
            while True:
                await asyncio.sleep(READ_EVERY_S)
                try:
                    await self.read()
                except RedisError:
                    continue
        finally:
            await self._redis.aclose()
