"""D: a queue that is long, with a worker that is slow or none at all, in simulated time.

Server, queue, scripts and sweeper are the real ones; the worker is one that takes a message at a time from the queue's
end and settles its batch, so many in each simulated second. Nothing is lost here, so nothing may be published again.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import redis

from dispatcher import Environment, Lane, ids, outbox, record, redis_keys, routing
from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.dev.simulator.device_tokens import device_token
from dispatcher.messages import Publisher, make_celery
from dispatcher.notes import Notes
from dispatcher.record import Record
from dispatcher.scripts import Clock
from dispatcher.sealing import batch_place
from dispatcher.state_call import StateCall
from dispatcher.state_server import AsyncStateServer, StateServer
from dispatcher.sweeping import Message
from tests.chaos.rows import Findings, Row, unless
from tests.record_sealing import SEALED
from workers.sweeper import Sweeper

APP: Final = "com.example.app"
QUEUE: Final = routing.single_queue(Lane.ALERT)
PER_SECOND: Final = 25
LEASE_S: Final = 30.0
MINUTES_S: Final = 600
HOUR_S: Final = 3600
#: Messages may exceed batches by this share.
MOST_EXCESS: Final = 0.05
_AT_ONCE: Final = 500


@dataclass(slots=True, kw_only=True)
class Backlog:
    """A long queue and who works on it.

    Attributes:
        queue: A connection to the server, for the queue's own commands.
        state: What workers use.
        sweeper: Of the alert lane.
        excess: By how much messages exceeded batches at most, as a share of these.
        markers: How many markers came out.
    """

    queue: Any
    state: AsyncStateServer
    sweeper: Sweeper
    excess: float = 0.0
    markers: int = 0

    def batches(self) -> int:
        """Return how many batches are queued."""
        pipeline = self.queue.pipeline(transaction=False)
        for shard in range(ids.SHARDS):
            pipeline.zcard(redis_keys.queued(shard, QUEUE))
        return sum(pipeline.execute())

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        pipeline = self.queue.pipeline(transaction=False)
        for shard in range(ids.SHARDS):
            pipeline.incrbyfloat(redis_keys.clock(shard), seconds)
        pipeline.execute()

    async def live(self, seconds: int, *, per_second: int) -> None:
        """Let a worker work and sweep for so many simulated seconds."""
        for _ in range(seconds):
            self.pass_time(1.0)
            for raw in self.queue.rpop(QUEUE, per_second) or ():
                await self._work(json.loads(raw))
            await self.sweeper.sweep()
            self.look()

    def look(self) -> None:
        """Compare the queue with what is queued."""
        batches = self.batches()
        self.excess = max(self.excess, self.queue.llen(QUEUE) / max(1, batches) - 1)

    async def _work(self, message: dict[str, Any]) -> None:
        args = json.loads(base64.b64decode(message["body"]))[0]
        if message["headers"]["task"] == routing.MARKER_TASK:
            self.markers += 1
            await self.sweeper.marker_out(*args)
            return
        (batch_id,), claim_id = args, uuid4().hex
        await self.state.run(outbox.claim(batch_id, claim_id, lane=Lane.ALERT, queue=QUEUE, lease_s=LEASE_S))
        done = Notes(ended=[0])
        await self.state.run(outbox.settle(batch_id, claim_id, done, app=APP, lane=Lane.ALERT, size=1))


def fill(url: str, number: int) -> None:
    """Accept and publish so many batches, as a web app would one by one."""
    batch = Record(
        app=APP,
        environment=Environment.PRODUCTION,
        push_type="alert",
        device_tokens=(device_token(1),),
        payload=b'{"aps":{"alert":"hi"}}',
        priority=10,
    )
    state, publisher = StateServer(url, clock=Clock.SHIFTED, timeout_s=20), Publisher(make_celery(url, timeout_s=10))
    numbers: Iterator[int] = iter(range(number))
    while some := tuple(islice(numbers, _AT_ONCE)):
        batch_ids = [ids.new_batch_id(each % ids.SHARDS, uuid4().bytes) for each in some]
        state.run_all([_put(each, batch) for each in batch_ids])
        for each in batch_ids:
            assert publisher.publish(Message(queue=QUEUE, batch_id=each, summary=f"{APP} 1"))
    publisher.close()
    state.close()


def _put(batch_id: str, batch: Record) -> StateCall[outbox.Acceptance]:
    stored = record.encode(batch, batch_place(batch_id), SEALED)
    return outbox.put(batch_id, stored, app=APP, lane=Lane.ALERT, queue=QUEUE, count=1, digest="")


def _long_queue(directory: Path, *, number: int, slow_s: int, stopped_s: int) -> Findings:
    with EmbeddedServer(directory / "state") as server:
        fill(server.url, number)
        backlog = asyncio.run(_survive(server.url, slow_s, stopped_s))
        left = backlog.batches()
        backlog.queue.close()
        holds = backlog.excess <= MOST_EXCESS
        return Findings(
            accepted=number,
            facts={
                "most messages beyond batches": f"{backlog.excess:.2%}",
                "still queued": f"{left:,}",
                "markers that came out": backlog.markers,
            },
            problems=unless(holds, f"{backlog.excess:.0%} more messages than batches"),
        )


async def _survive(url: str, slow_s: int, stopped_s: int) -> Backlog:
    """Work slowly, stop for a while, and work slowly again."""
    state, publisher = AsyncStateServer(url, clock=Clock.SHIFTED), Publisher(make_celery(url, timeout_s=10))
    queue: Any = redis.Redis.from_url(url)

    def now() -> float:
        return float(queue.time()[0]) + float(queue.get(redis_keys.clock(redis_keys.FLEET_SHARD)) or 0)

    sweeper = Sweeper(lane=Lane.ALERT, apps=[APP], state=state, publisher=publisher, worker="one", now=now)
    backlog = Backlog(queue=queue, state=state, sweeper=sweeper)
    await backlog.live(slow_s, per_second=PER_SECOND)
    backlog.pass_time(stopped_s)
    await backlog.live(60, per_second=PER_SECOND)
    await state.close()
    publisher.close()
    return backlog


def _row(number: str, batches: int, slow_s: int, *, is_quick: bool) -> Row:
    return Row(
        number=number,
        fault=f"{batches:,} batches queued, one slow worker for {slow_s // 60} min, none for an hour, and slow again",
        limit=f"never more than {MOST_EXCESS:.0%} more messages than batches",
        run=partial(_long_queue, number=batches, slow_s=slow_s, stopped_s=HOUR_S),
        is_quick=is_quick,
        otherwise="publishing again by age: the queue grows with every sweep",
    )


ROWS: Final = (
    _row("D1", 200_000, MINUTES_S, is_quick=False),
    _row("D2", 5_000, 60, is_quick=True),
)
