"""Everything a worker process holds while it runs: made when the pool's loop starts, closed when it stops."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from celery import Celery
from redis.exceptions import RedisError

from dispatcher import redis_keys, routing
from dispatcher.errors import SettingsError
from dispatcher.messages import Publisher, make_celery
from dispatcher.push_types import Lane
from dispatcher.sealing_choice import make_sealing
from dispatcher.settings import App, Settings
from dispatcher.state_server import AsyncStateServer
from workers import broker
from workers.edges import Edges
from workers.feedback_pump import FeedbackPump
from workers.key_files import load_signing_keys
from workers.pauses import FleetPauses
from workers.pool import stopping
from workers.reloading import LiveApps, Reloader
from workers.safeguards import Safeguards
from workers.sending import Sending
from workers.server_watch import keep_watching, refuse_unsafe_servers
from workers.signing import ProviderTokens
from workers.start_gate import START_IN_FLIGHT
from workers.state_clock import StateClock
from workers.sweeper import Sweeper
from workers.transport.choice import make_transport
from workers.unparking import Unparker

#: After SIGTERM no stream is opened later than this; the pool cuts off what is still unanswered a second later.
STOP_SENDING_S: Final = 8.0
_BROKER_TIMEOUT_S: Final = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What tasks work with.

    Attributes:
        edges: For the conductor.
        sweepers: One per lane this process serves.
    """

    edges: Edges
    sweepers: dict[Lane, Sweeper]


_current: Final[ContextVar[Runtime]] = ContextVar("runtime")


def current() -> Runtime:
    """Return the runtime of this worker; for tasks."""
    return _current.get()


@asynccontextmanager
async def lifespan(app: Celery) -> AsyncIterator[Runtime]:
    """Enter a worker's runtime.

    Raises:
        SettingsError: A signing key or a server cannot be used, or the state server does not answer.
    """
    settings: Settings = app.conf.apns_settings
    sealing = make_sealing(settings.record_keys)
    warn_of_readable_records(settings)
    state = AsyncStateServer(settings.state_url.get_secret_value(), clock=settings.clock)
    clock = StateClock(state, settings.clock, time.monotonic)
    apps, tokens = LiveApps(settings.apps), ProviderTokens(load_signing_keys(settings))
    await refuse_unsafe_servers(settings)
    await _first_comparison(clock, state, settings)
    transport = make_transport(settings, tokens=tokens, now=clock.now, dice=random.random)
    publisher = Publisher(make_celery(settings.broker_url.get_secret_value(), timeout_s=_BROKER_TIMEOUT_S))
    has_stopped = asyncio.Event()
    safeguards, pauses = await _make_safeguards(state, apps, settings.retry_scale)
    sending = Sending(
        transport=transport,
        apps=apps,
        now=clock.now,
        dice=random.random,
        retry_scale=settings.retry_scale,
        has_stopped=has_stopped.is_set,
        pauses=pauses,
        safeguards=safeguards,
    )
    worker = f"{socket.gethostname()}:{os.getpid()}"
    sweepers = {
        lane: Sweeper(
            lane=lane,
            apps=apps,
            state=state,
            publisher=publisher,
            worker=worker,
            now=clock.now,
            unparker=Unparker(lane=lane, apps=apps, state=state, pauses=pauses, now=clock.now),
        )
        for lane in served_lanes(app.amqp.queues.consume_from)
    }
    pump = FeedbackPump(apps=apps, state=state, publisher=publisher, worker=worker)
    reloader = Reloader(settings=settings, read=Settings.from_env, apps=apps, tokens=tokens, drain=transport.drain)
    broker.on_garbage = partial(_count_garbage, state, asyncio.get_running_loop())
    edges = Edges(state=state, sending=sending, monotonic=time.monotonic, sealing=sealing)
    runtime = Runtime(edges=edges, sweepers=sweepers)
    _current.set(runtime)
    chores = [
        asyncio.create_task(clock.keep_comparing()),
        asyncio.create_task(_stop_sending(has_stopped)),
        asyncio.create_task(pump.keep_pumping()),
        asyncio.create_task(pauses.keep_reading()),
        asyncio.create_task(reloader.keep_watching()),
        asyncio.create_task(keep_watching(settings)),
        *(asyncio.create_task(sweeper.keep_sweeping()) for sweeper in sweepers.values()),
    ]
    try:
        yield runtime
    finally:
        for chore in chores:
            chore.cancel()
        await transport.close()
        await state.close()


async def _make_safeguards(
    state: AsyncStateServer, apps: Mapping[str, App], scale: float
) -> tuple[Safeguards, FleetPauses]:
    """Make what keeps this process from doing harm; it knows the fleet's pauses before it sends anything."""
    safeguards = Safeguards(scale=scale, start_in_flight=START_IN_FLIGHT)
    pauses = FleetPauses(state, apps=apps, host=socket.gethostname(), scale=scale, lift=safeguards.lift)
    safeguards.fleet = pauses
    await pauses.refresh()
    return safeguards, pauses


def served_lanes(queues: Collection[str]) -> list[Lane]:
    """Return the lanes whose queues a worker consumes."""
    return sorted({routing.QUEUE_LANES[queue] for queue in queues if queue in routing.QUEUE_LANES})


def warn_of_readable_records(settings: Settings) -> None:
    """Say in production what is unsafe about the keys for records."""
    for warning in settings.record_keys.warnings if settings.is_production else ():
        log.warning("records_not_safe", warning=warning)


async def _first_comparison(clock: StateClock, state: AsyncStateServer, settings: Settings) -> None:
    try:
        await clock.compare()
        await _refuse_shifted_clock(state, settings)
    except RedisError as exc:
        raise SettingsError([f"the state server does not answer ({type(exc).__name__}): see APNS_STATE_URL"]) from exc


async def _refuse_shifted_clock(state: AsyncStateServer, settings: Settings) -> None:
    clock_key = redis_keys.clock(redis_keys.FLEET_SHARD)
    moved = await state.ask(redis_keys.FLEET_SHARD, lambda pipeline: pipeline.exists(clock_key))
    if settings.is_production and moved:
        raise SettingsError([f"the state server's clock has been moved for tests: delete its keys like {clock_key}"])


async def _stop_sending(has_stopped: asyncio.Event) -> None:
    await stopping().wait()
    await asyncio.sleep(STOP_SENDING_S)
    has_stopped.set()


def _count_garbage(state: AsyncStateServer, loop: asyncio.AbstractEventLoop, queue: str, _digest: str) -> None:
    """Count a message that was put aside; called on Celery's thread."""
    asyncio.run_coroutine_threadsafe(_count(state, queue), loop)


async def _count(state: AsyncStateServer, queue: str) -> None:
    field = redis_keys.counter("garbage", "", routing.QUEUE_LANES.get(queue, Lane.ALERT), queue)
    with suppress(RedisError):
        shard = redis_keys.FLEET_SHARD
        await state.ask(shard, lambda pipeline: pipeline.hincrby(redis_keys.counters(shard), field, 1))
