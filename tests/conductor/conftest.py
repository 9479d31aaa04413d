"""The conductor's stage: a real state server, time that tests move, and workers with scripted transports."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

import pytest
import redis

from dispatcher import dead_letter, ids, outbox, record, redis_keys, routing, slots, sweeping
from dispatcher.dead_letter import DeadLetter
from dispatcher.feedback import Feedback, decode
from dispatcher.notification import Report
from dispatcher.push_types import PUSH_TYPES, Environment, Lane
from dispatcher.record import Record
from dispatcher.scripts import Clock
from dispatcher.sealing import batch_place, slot_place
from dispatcher.slot_values import SlotTerms
from dispatcher.state_call import StateCall
from dispatcher.state_server import AsyncStateServer
from tests import worker_parts
from tests.conductor.scripted_transport import ScriptedTransport
from tests.record_sealing import SEALED
from tests.worker_parts import NothingPaused
from workers.delivery import deliver
from workers.edges import Edges
from workers.sending import Pauses, Sending
from workers.state_clock import StateClock

APP: Final = "com.example.app"
#: The shard of every batch that a test puts.
SHARD: Final = 3
PATIENCE_S: Final = 5.0


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests on a fresh event loop each, and close what their bench opened there."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def run() -> None:
        try:
            await pyfuncitem.obj(**arguments)
        finally:
            await _end_others()
            for argument in arguments.values():
                if isinstance(argument, Bench):
                    await argument.state.close()

    asyncio.run(run())
    return True


async def _end_others() -> None:
    """End every task the test has left running, before its connection is closed."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for other in others:
            other.cancel()
        # One that is cut off may begin another to tidy up.
        await asyncio.wait(others, timeout=0.1)


async def until(is_so: Callable[[], Any]) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: It does not come about.
    """
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110  what is waited for happens in another task or in the state server
            await asyncio.sleep(0.005)


def device_tokens(count: int) -> tuple[str, ...]:
    """Return so many different device tokens."""
    return tuple(f"{number:064x}" for number in range(count))


def make_record(
    *, count: int = 1, push_type: str = "alert", app: str = APP, report: Report = Report.FAILURES, **changes: Any
) -> Record:
    """Return a record of valid notifications."""
    fields: dict[str, Any] = {
        "environment": Environment.PRODUCTION,
        "device_tokens": device_tokens(count),
        "payload": b'{"aps":{"alert":"hi"}}',
        "priority": PUSH_TYPES[push_type].default_priority,
        **changes,
    }
    return Record(app=app, push_type=push_type, report=report, **fields)


class MovableClock:
    """A monotonic clock that tests move forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic() + self.ahead_s


class LosableState:
    """The state server as one worker sees it, until its process is killed: then nothing it says arrives."""

    def __init__(self, state: AsyncStateServer) -> None:
        self._state = state
        self.is_killed = False

    async def run(self, call: StateCall[Any]) -> Any:
        """Run one call, or never answer."""
        if self.is_killed:
            await asyncio.Event().wait()
        return await self._state.run(call)


class Worker:
    """One worker's conductor, with a transport of its own.

    Attributes:
        transport: Its way to APNs.
        state: Its way to the state server.
        has_stopped: Set it to end its sending.
    """

    def __init__(self, bench: Bench) -> None:
        self.transport = ScriptedTransport()
        self.state = LosableState(bench.state)
        self.has_stopped = False
        sending = Sending(
            transport=self.transport,
            apps={APP: worker_parts.APP},
            now=bench.clock.now,
            dice=lambda: 0.0,
            retry_scale=1.0,
            has_stopped=lambda: self.has_stopped,
            pauses=NothingPaused(),
        )
        self.edges = Edges(state=self.state, sending=sending, monotonic=bench.monotonic, sealing=bench.sealing)
        self._started = bench.started

    def pause_with(self, pauses: Pauses) -> None:
        """Let it know of a fleet's pauses."""
        self.edges = replace(self.edges, sending=replace(self.edges.sending, pauses=pauses))

    async def deliver(self, batch_id: str, *, lane: Lane = Lane.ALERT, queue: str | None = None) -> str:
        """Do what a message says, within the tests' patience."""
        async with asyncio.timeout(PATIENCE_S):
            return await deliver(batch_id, lane=lane, queue=queue or routing.single_queue(lane), edges=self.edges)

    def start(self, batch_id: str, *, lane: Lane = Lane.ALERT) -> asyncio.Task[str]:
        """Begin to do what a message says."""
        queue = routing.single_queue(lane)
        delivering = asyncio.create_task(deliver(batch_id, lane=lane, queue=queue, edges=self.edges))
        self._started.append(delivering)
        return delivering


class Bench:
    """The state server of a test, its clock, and words for what the tests do and look at.

    Attributes:
        state: The state server, for the conductor.
        redis: The same, for looking.
        monotonic: Every worker's monotonic clock.
        clock: Every worker's idea of the state server's clock.
        started: Every delivery a worker has begun: one whose worker was killed hangs for ever, and is held here.
        sealing: How everybody seals records; tests may change it before they start a worker.
    """

    def __init__(self, state_url: str, client: redis.Redis) -> None:
        self.state = AsyncStateServer(state_url, clock=Clock.SHIFTED)
        self.redis: Any = client  # replies are bytes, which annotations leave open
        self.monotonic = MovableClock()
        self.clock = StateClock(self.state, Clock.SHIFTED, self.monotonic)
        self.started: list[asyncio.Task[str]] = []
        self.sealing = SEALED

    async def worker(self) -> Worker:
        """Start a worker."""
        await self.clock.compare()
        return Worker(self)

    def advance(self, seconds: float) -> None:
        """Let time pass for everybody."""
        pipeline = self.redis.pipeline(transaction=False)
        for shard in range(ids.SHARDS):
            pipeline.incrbyfloat(redis_keys.clock(shard), seconds)
        pipeline.execute()
        self.monotonic.ahead_s += seconds

    async def put(self, batch: Record | bytes, *, lane: Lane = Lane.ALERT, queue: str | None = None) -> str:
        """Accept a batch, or bytes that are none; returns its id."""
        batch_id = ids.new_batch_id(SHARD, uuid4().bytes)
        stored = batch if isinstance(batch, bytes) else record.encode(batch, batch_place(batch_id), self.sealing)
        count = 1 if isinstance(batch, bytes) else len(batch.device_tokens)
        queue = queue or routing.single_queue(lane)
        await self.state.run(outbox.put(batch_id, stored, app=APP, lane=lane, queue=queue, count=count, digest=""))
        return batch_id

    async def put_slot(self, update: Record | bytes, *, device: str = "d" * 32, **terms: Any) -> str:
        """Accept a background notification for a device, or bytes that are none; returns its apns id."""
        apns_id = ids.new_batch_id(SHARD, uuid4().bytes)
        place = slot_place(SHARD, device, apns_id)
        stored = update if isinstance(update, bytes) else record.encode(update, place, self.sealing)
        await self.state.run(
            slots.put(SHARD, device, apns_id, stored, app=APP, terms=SlotTerms(**terms), digest="", window_s=1)
        )
        return apns_id

    async def sweep(self, lane: Lane = Lane.ALERT) -> list[str]:
        """Sweep the shard once; returns what is to be published."""
        swept = await self.state.run(sweeping.sweep(SHARD, lane))
        found = list(swept.messages)
        if lane is Lane.BACKGROUND:
            wake_ups = await self.state.run(slots.sweep(SHARD, [APP]))
            found += wake_ups
        return [message.batch_id for message in found]

    def where(self, batch_id: str, *, lane: Lane = Lane.ALERT) -> set[str]:
        """Return in which of the sets a batch or wake-up is; in none when it is settled."""
        sets = {
            "queued": redis_keys.queued(SHARD, routing.single_queue(lane)),
            "leased": redis_keys.leased(SHARD, lane),
            "due": redis_keys.due(SHARD, lane),
            "parked": redis_keys.parked(SHARD, APP, lane),
        }
        return {name for name, key in sets.items() if self.redis.zscore(key, batch_id) is not None}

    def done(self, batch_id: str) -> str:
        """Return a batch's flags: one character per notification, "1" when it has ended."""
        return (self.redis.hget(redis_keys.claim(SHARD, batch_id), "done") or b"").decode()

    def feedback(self) -> list[Feedback]:
        """Return the shard's feedback."""
        return [
            decode(fields, stream_id=stream_id.decode(), shard=SHARD, sealing=self.sealing)
            for stream_id, fields in self.redis.xrange(redis_keys.feedback(SHARD))
        ]

    def dead(self, app: str = APP) -> list[dict[str, str]]:
        """Return an app's dead letters in the shard."""
        entries = self.redis.xrange(redis_keys.dead(SHARD, app))
        return [{name.decode(): text.decode() for name, text in fields.items()} for _, fields in entries]

    def dead_letters(self, app: str = APP) -> list[DeadLetter]:
        """Return them as values."""
        return [
            dead_letter.decode(app, fields, shard=SHARD, stream_id=stream_id.decode(), sealing=self.sealing)
            for stream_id, fields in self.redis.xrange(redis_keys.dead(SHARD, app))
        ]

    def counters(self) -> Counter[str]:
        """Return the shard's counters, by event."""
        total: Counter[str] = Counter()
        for field, count in self.redis.hgetall(redis_keys.counters(SHARD)).items():
            total[field.decode().partition("|")[0]] += int(count)
        return total

    def leftovers(self) -> set[str]:
        """Return every key that tells of unfinished work."""
        known = ("counters", "feedback", "clock", "seen:", "dead:", "sent:", "_kombu.binding")
        return {name for name in map(bytes.decode, self.redis.keys("*")) if not any(word in name for word in known)}


@pytest.fixture
def bench(state_url: str, state: redis.Redis) -> Bench:
    """Return the bench on an empty state server."""
    return Bench(state_url, state)
