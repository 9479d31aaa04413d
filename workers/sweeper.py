"""Put back what is due, what dead workers left and what lost its message.

Every worker offers to sweep its lanes; one at a time has a lane's turn. Nothing depends on which: each step is one
atomic script.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from redis.exceptions import RedisError

from dispatcher import ids, redis_keys, routing, slots, sweeping
from dispatcher.messages import Publisher
from dispatcher.push_types import Lane
from dispatcher.state_server import AsyncStateServer
from dispatcher.sweeping import SWEEP_LIMIT, Message
from workers.turns import has_turn
from workers.unparking import Unparker

SWEEP_EVERY_S: Final = 1.0
#: A batch published this long before a marker was sent must have been seen before the marker comes out; longer than a
#: producer may take from accepting a batch to publishing it.
MARKER_MARGIN_S: Final = 5.0
#: How long an outstanding marker is waited for before another is sent; doubles with each.
MARKER_PATIENCE_S: Final = 15.0
LONGEST_PATIENCE_S: Final = 3600.0
#: A worker that gave no sign for this long is forgotten.
FORGET_WORKER_S: Final = 3600.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeper:
    """Sweeps one lane.

    Attributes:
        lane: Which.
        apps: Bundle ids whose slots are swept.
        state: The state server.
        publisher: Where messages go.
        worker: This process, unique in the fleet: host, process id.
        now: The state server's clock, Unix seconds.
        unparker: Looks after what the lane has parked.
    """

    lane: Lane
    apps: Collection[str]
    state: AsyncStateServer
    publisher: Publisher
    worker: str
    now: Callable[[], float]
    unparker: Unparker | None = None

    async def keep_sweeping(self) -> None:
        """Sweep when it is our turn, until cancelled."""
        while True:
            try:
                await self._give_sign()
                is_full = await self._has_turn() and await self.sweep()
            except RedisError as exc:
                log.warning("sweep_failed", lane=self.lane, error=type(exc).__name__)
                is_full = False
            if not is_full:
                await asyncio.sleep(SWEEP_EVERY_S)

    async def sweep(self) -> bool:
        """Sweep every shard once; True when there is more to do at once."""
        swept = await self.state.run_all(sweeping.sweep(shard, self.lane) for shard in range(ids.SHARDS))
        messages = [message for one in swept for message in one.messages]
        if self.lane is Lane.BACKGROUND:
            calls = [slots.sweep(shard, tuple(self.apps)) for shard in range(ids.SHARDS)]
            messages += [message for found in await self.state.run_all(calls) for message in found]
        if self.unparker is not None:
            messages += await self.unparker.sweep()
        await self._publish(messages)
        for queue in routing.LANE_QUEUES[self.lane]:
            await self._send_marker(queue, [one.oldest[queue] for one in swept if queue in one.oldest])
        return any(len(one.messages) >= SWEEP_LIMIT for one in swept)

    async def marker_out(self, queue: str, sent: str) -> str:
        """Publish again what was published clearly before a marker that came out, and is still unclaimed."""
        age_s = await self.state.run(sweeping.marker_out(queue, sent))
        before = float(sent) - MARKER_MARGIN_S
        found = await self.state.run_all(sweeping.lost(shard, queue, before) for shard in range(ids.SHARDS))
        messages = [message for messages in found for message in messages]
        if messages:
            log.warning("messages_lost", queue=queue, published_again=len(messages))
        await self._publish(messages)
        return f"queue age {age_s:.1f} s, published again {len(messages)}"

    async def _publish(self, messages: Sequence[Message]) -> None:
        """Publish in a thread, since kombu blocks."""
        if messages:
            await asyncio.to_thread(self.publisher.publish_all, messages)

    async def _send_marker(self, queue: str, oldest: Sequence[float]) -> None:
        if not oldest or min(oldest) > self.now() - MARKER_MARGIN_S:
            return
        call = sweeping.send_marker(queue, patience_s=MARKER_PATIENCE_S, longest_patience_s=LONGEST_PATIENCE_S)
        sent = await self.state.run(call)
        if sent is not None and not await asyncio.to_thread(self.publisher.publish_marker, queue, sent):
            # Waiting for it, longer with each, would hold up what lost its message while the broker was away.
            await self.state.run(sweeping.marker_unsent(queue, sent))

    async def _has_turn(self) -> bool:
        return await has_turn(self.state, self.lane, self.worker)

    async def _give_sign(self) -> None:
        workers, sign = redis_keys.workers(), {f"{self.worker}:{self.lane}": self.now()}
        long_ago = self.now() - FORGET_WORKER_S
        shard = redis_keys.FLEET_SHARD
        await self.state.ask_all(
            [
                (shard, lambda pipeline: pipeline.zadd(workers, sign)),
                (shard, lambda pipeline: pipeline.zremrangebyscore(workers, "-inf", long_ago)),
            ]
        )
