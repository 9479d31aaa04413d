"""Put parked notifications back: their pause or time is over, or one is the probe; and sound the alarm."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import structlog

from dispatcher import ids, redis_keys, slots, sweeping
from dispatcher.pausing import ANY, Pause
from dispatcher.push_types import Lane
from dispatcher.state_call import StateCall
from dispatcher.state_server import AsyncStateServer
from dispatcher.sweeping import SWEEP_LIMIT, Message
from workers.pauses import FleetPauses

#: How often apps are looked at that were not known to be paused: another worker may have parked something.
LOOK_EVERY_S: Final = 10.0
ALARM_EVERY_S: Final = 60

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Unparker:
    """Looks after what one lane has parked.

    Attributes:
        lane: Which.
        apps: Bundle ids.
        state: The state server.
        pauses: What is paused.
        now: The state server's clock, Unix seconds.
    """

    lane: Lane
    apps: Collection[str]
    state: AsyncStateServer
    pauses: FleetPauses
    now: Callable[[], float]
    _unfinished: set[str] = field(default_factory=set)
    _looked_at: float = -math.inf

    async def sweep(self) -> list[Message]:
        """Put back what waits no longer; returns what to publish."""
        paused = {app for app in self.apps if self.pauses.is_paused(app, self.lane)}
        going_on = self._due_apps() - paused
        found = await self._unpark(paused, before=self.now(), most=SWEEP_LIMIT)
        resumed = await self._unpark(going_on, before=math.inf, most=SWEEP_LIMIT)
        self._unfinished = paused | await self._unfinished_of(going_on)
        probes = [await self._probe(pause) for pause in self.pauses.all if pause.is_probe_due(self.now())]
        await self._alarm()
        return [*found, *resumed, *(message for messages in probes for message in messages)]

    def _due_apps(self) -> set[str]:
        """Return the apps whose pauses have just ended; now and then all, in case a pause came and went unseen."""
        if self.now() - self._looked_at < LOOK_EVERY_S:
            return self._unfinished & set(self.apps)
        self._looked_at = self.now()
        return set(self.apps)

    async def _unfinished_of(self, apps: Iterable[str]) -> set[str]:
        """Return the apps of which something is still parked, because there was more than one sweep moves."""
        return {app for app in apps if any(await self._count(_places([app], [self.lane])))}

    async def _unpark(self, apps: Iterable[str], *, before: float, most: int) -> list[Message]:
        calls = [place.unpark(before=before, most=most) for place in _places(apps, [self.lane])]
        replies = await self.state.run_all(calls) if calls else []
        return [message for messages in replies for message in messages]

    async def _probe(self, pause: Pause) -> list[Message]:
        """Put back one batch of a pause; whoever takes it asks whether it may be the probe."""
        places = _places([app for app in self.apps if pause in self.pauses.covering(app, self.lane)], [self.lane])
        for place, count in zip(places, await self._count(places), strict=True):
            if count:
                return await self.state.run(place.unpark(before=math.inf, most=1))
        return []

    async def _count(self, places: Sequence[_Place]) -> list[int]:
        questions = [(place.shard, partial(_count_in, parked=place.parked)) for place in places]
        return [int(count) for count in await self.state.ask_all(questions)] if places else []

    async def _alarm(self) -> None:
        """Tell of each pause once a minute in the whole fleet."""
        for pause in self.pauses.all:
            alarmed = partial(_note_alarm, alarmed=redis_keys.alarmed(str(pause.scope)))
            if await self.state.ask(redis_keys.FLEET_SHARD, alarmed):
                scope = pause.scope
                log.error(
                    "apns_paused",
                    app=scope.app,
                    lane=scope.lane,
                    key_id=scope.key_id,
                    reason=pause.reason,
                    by=pause.by,
                    since=pause.since,
                    parked=await self._count_parked(pause),
                )

    async def _count_parked(self, pause: Pause) -> int:
        lanes = [lane for lane in Lane if pause.scope.lane in (ANY, lane)]
        apps = [app for app in self.apps if any(pause in self.pauses.covering(app, lane) for lane in lanes)]
        return sum(await self._count(_places(apps, lanes)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A set of parked batches or slots.

    Attributes:
        shard: Where it is.
        parked: Its key.
        unpark: Returns the call that puts some of them back.
    """

    shard: int
    parked: str
    unpark: Callable[..., StateCall[list[Message]]]


def _places(apps: Iterable[str], lanes: Iterable[Lane]) -> list[_Place]:
    """Return every place where something of these apps and lanes may be parked."""
    return [
        place for app in apps for lane in lanes for shard in range(ids.SHARDS) for place in _kinds(shard, app, lane)
    ]


def _kinds(shard: int, app: str, lane: Lane) -> Iterator[_Place]:
    parked = redis_keys.parked(shard, app, lane)
    yield _Place(shard=shard, parked=parked, unpark=partial(sweeping.unpark, shard, app, lane))
    if lane is Lane.BACKGROUND:
        yield _Place(shard=shard, parked=redis_keys.slot_parked(shard, app), unpark=partial(slots.unpark, shard, app))


def _count_in(pipeline: Any, *, parked: str) -> None:
    pipeline.zcard(parked)


def _note_alarm(pipeline: Any, *, alarmed: str) -> None:
    pipeline.set(alarmed, "", nx=True, ex=ALARM_EVERY_S)
