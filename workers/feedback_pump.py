"""Call the web apps' feedback tasks while there is something for them, and keep the streams from growing old.

Every worker offers to; one at a time has the turn. A record is never in a message: the task that is called comes and
reads (dispatcher/feedback_task.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from redis.exceptions import RedisError

from dispatcher import ids, redis_keys, streams
from dispatcher.messages import Publisher
from dispatcher.settings import App
from dispatcher.state_server import AsyncStateServer
from workers.turns import has_turn, is_time_again

PUMP_EVERY_S: Final = 1.0
TRIM_EVERY_S: Final = 60.0

_PUMP: Final = "feedback"
_TRIM: Final = "trim"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackPump:
    """Looks after the streams of feedback and dead letters.

    Attributes:
        apps: By bundle id.
        state: The state server.
        publisher: Where messages go.
        worker: This process, unique in the fleet: host, process id.
    """

    apps: Mapping[str, App]
    state: AsyncStateServer
    publisher: Publisher
    worker: str

    async def keep_pumping(self) -> None:
        """Do what is to be done when it is our turn, until cancelled."""
        while True:
            try:
                if await has_turn(self.state, _PUMP, self.worker):
                    await self.pump()
                if await is_time_again(self.state, _TRIM, self.worker, every_s=TRIM_EVERY_S):
                    await self.trim()
            except RedisError as exc:
                log.warning("feedback_pump_failed", error=type(exc).__name__)
            await asyncio.sleep(PUMP_EVERY_S)

    async def pump(self) -> None:
        """Call the task of each app that has unheard feedback, and was not called already."""
        tasks = {app.bundle_id: app.feedback_task for app in self.apps.values() if app.feedback_task}
        for bundle_id in await self._unheard(tuple(tasks)):
            if await self.state.run(streams.may_call_task(bundle_id)):
                await self._call(tasks[bundle_id], self.apps[bundle_id])

    async def trim(self) -> None:
        """Remove what has lain in the streams for too long."""
        await self.state.run_all(streams.trim(shard, tuple(self.apps)) for shard in range(ids.SHARDS))

    async def _unheard(self, apps: Sequence[str]) -> list[str]:
        if not apps:
            return []
        found = await self.state.run_all(streams.unheard(shard, apps) for shard in range(ids.SHARDS))
        return sorted({app for in_shard in found for app in in_shard})

    async def _call(self, task: str, app: App) -> None:
        """Publish in a thread, since kombu blocks; what the broker did not take is tried again at the next look."""
        if not await asyncio.to_thread(self.publisher.call_feedback_task, task, app.feedback_queue, app.bundle_id):
            call = redis_keys.feedback_call(app.bundle_id)
            await self.state.ask(redis_keys.FLEET_SHARD, lambda pipeline: pipeline.delete(call))
