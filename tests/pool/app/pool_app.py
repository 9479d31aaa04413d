"""Celery app of the pool's tests: small tasks that show what the pool does with them."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import redis
import structlog
from celery import Celery
from celery.signals import setup_logging, worker_ready

from dispatcher.errors import SettingsError
from workers import broker
from workers.pool import current_queue, current_request, stopping

BROKER_URL = os.environ["POOL_TEST_BROKER"]

set_by_lifespan: ContextVar[str] = ContextVar("set_by_lifespan")
store = redis.Redis.from_url(BROKER_URL.removesuffix("/0") + "/1")

app = Celery("pool_app", broker=BROKER_URL)
app.conf.update(
    worker_pool="workers.pool:AsyncioPool",
    worker_consumer=os.environ.get("POOL_TEST_CONSUMER", "workers.broker:Consumer"),
    broker_transport=os.environ.get("POOL_TEST_TRANSPORT", "workers.broker:Transport"),
    pool_lifespan=os.environ.get("POOL_TEST_LIFESPAN"),
    pool_stop_timeout_s=float(os.environ.get("POOL_TEST_STOP_TIMEOUT_S", "8")),
    worker_disable_prefetch="POOL_TEST_PREFETCH" not in os.environ,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    worker_send_task_events=True,
    task_default_queue="pool",
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"visibility_timeout": 60},
)


@setup_logging.connect
def log_as_usual(**_: object) -> None:
    """Log warnings and worse to stderr, tracebacks without the values of local variables."""
    logging.basicConfig(level=logging.WARNING)
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])


def count_garbage(queue: str, digest: str) -> None:
    """Count what the worker put aside, where the test can see it."""
    store.rpush(f"garbage:{queue}", digest)


broker.on_garbage = count_garbage


def enter(name: str) -> None:
    """Count a task in, and keep the highest number that ran together."""
    running = store.incr(f"running:{name}")
    store.zadd("highest", {name: running}, gt=True)
    store.incr(f"started:{name}")


def leave(name: str) -> None:
    """Count a task out."""
    store.decr(f"running:{name}")
    store.incr(f"ended:{name}")


@app.task
async def nap(name: str, seconds: float) -> str:
    """Sleep on the loop."""
    enter(name)
    await asyncio.sleep(seconds)
    leave(name)
    return f"slept {seconds}, {threading.current_thread().name}"


@app.task
async def nap_until_stop(name: str) -> str:
    """Sleep until the worker stops."""
    enter(name)
    await stopping().wait()
    leave(name)
    return "stopped in time"


@app.task
async def hang(name: str) -> None:
    """Never end; note when cancelled."""
    enter(name)
    try:
        await asyncio.Event().wait()
    finally:
        store.incr(f"cancelled:{name}")


@app.task(time_limit=1)
async def hang_with_limit() -> None:
    """Never end, within a limit."""
    await asyncio.Event().wait()


@app.task
async def refuse_to_die(name: str) -> None:
    """Never end, not even when cancelled."""
    enter(name)
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


@app.task
async def fail(text: str) -> None:
    """Raise."""
    raise ValueError(text)


@app.task
async def leave_the_interpreter() -> None:
    """Raise what would end the loop of all tasks."""
    raise SystemExit(3)


@app.task
async def whoami() -> str:
    """Say which request this is and what the lifespan left."""
    return f"{current_queue()} {current_request.get()['id']} {set_by_lifespan.get('nothing')}"


@app.task(bind=True)
def ordinary(self: Any, seconds: float) -> str:
    """Block a thread."""
    time.sleep(seconds)
    return f"{self.request.id} on {threading.current_thread().name}"


@asynccontextmanager
async def lifespan(celery_app: Celery) -> AsyncIterator[None]:
    """Leave a trace of entering and leaving."""
    async with asyncio.TaskGroup() as group:  # must be entered and left by one and the same asyncio task
        ticker = group.create_task(asyncio.sleep(60))
        set_by_lifespan.set(f"lifespan of {celery_app.main}")
        store.rpush("lifespan", "entered")
        yield
        store.rpush("lifespan", f"left, {int(store.get('ended:last') or 0)} ended, stopping {stopping().is_set()}")
        ticker.cancel()


@asynccontextmanager
async def failing_lifespan(_app: Celery) -> AsyncIterator[None]:
    """Fail to start."""
    if _app:
        raise RuntimeError("the signing key is missing")
    yield


@asynccontextmanager
async def refusing_lifespan(_app: Celery) -> AsyncIterator[None]:
    """Refuse to start, in words meant for an operator."""
    if _app:
        raise SettingsError(["APNS_KEY_ID is missing"])
    yield


@asynccontextmanager
async def waiting_lifespan(_app: Celery) -> AsyncIterator[None]:
    """Never be entered."""
    store.rpush("lifespan", "entering")
    await asyncio.Event().wait()
    yield


@asynccontextmanager
async def stuck_lifespan(_app: Celery) -> AsyncIterator[None]:
    """Never be left."""
    yield
    await asyncio.Event().wait()


@worker_ready.connect
def tell(sender: Any, **_: object) -> None:
    """Tell the test that the worker takes tasks."""
    store.set("ready", sender.hostname)
