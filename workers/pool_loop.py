"""The thread with the asyncio loop that all coroutine tasks of a worker process share."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import AbstractAsyncContextManager, suppress
from threading import Thread
from typing import Any, Final

import structlog

LIFESPAN_EXIT_S: Final = 1.0

_JOIN_MARGIN_S: Final = 0.1
_START_POLL_S: Final = 0.2

_log: Final = structlog.get_logger(__name__)
_stopping: Final[contextvars.ContextVar[asyncio.Event]] = contextvars.ContextVar("stopping")


def stopping() -> asyncio.Event:
    """Return the event that is set when the worker begins to stop; for coroutine tasks and the lifespan.

    Wait for it on the loop, never set it. Outside a worker it is a new event that nobody sets.
    """
    event = _stopping.get(None)
    return asyncio.Event() if event is None else event


class LoopThread:
    """One asyncio loop in a daemon thread, and the lifespan entered on it.

    The lifespan is entered and left by one asyncio task, so it may hold task groups and timeouts. Tasks see the
    context variables that it set.

    Args:
        make_lifespan: Makes the context manager; called once, on the loop.
    """

    def __init__(self, make_lifespan: Callable[[], AbstractAsyncContextManager[object]]) -> None:
        self._make_lifespan = make_lifespan
        self._thread = Thread(target=self._run, name="pool-loop", daemon=True)
        self._entered: Future[None] = Future()
        self._left: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()
        self._stopping = asyncio.Event()
        self._context = contextvars.copy_context()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, check: Callable[[], object]) -> None:
        """Start the thread and wait until the lifespan is entered.

        Args:
            check: Called a few times per second; what it raises ends the waiting.

        Raises:
            BaseException: What the lifespan raised.
        """
        self._thread.start()
        while not wait_for([self._entered], _START_POLL_S).done:
            check()
        self._entered.result()

    def call(self, callback: Callable[[], object]) -> None:
        """Run a function on the loop soon; safe from any thread and from a signal handler."""
        with suppress(RuntimeError):  # the loop is closed: there is nothing left to run it for
            if self._loop is not None:
                self._loop.call_soon_threadsafe(callback)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start an asyncio task in a context of its own; called on the loop."""
        task = asyncio.get_running_loop().create_task(coroutine, context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def announce_stop(self) -> None:
        """Set what `stopping()` returns; safe from any thread and from a signal handler."""
        self.call(self._stopping.set)

    def cancel_tasks(self) -> None:
        """Cancel every task that still runs; called on the loop."""
        for task in tuple(self._tasks):
            task.cancel()

    def close(self) -> None:
        """Leave the lifespan and end the loop; returns when that is done, or has taken too long."""
        self.announce_stop()
        self.call(self._closing.set)
        wait_for([self._left], LIFESPAN_EXIT_S + _JOIN_MARGIN_S)
        self._thread.join(_JOIN_MARGIN_S)  # longer only when a task refuses to be cancelled
        if self._thread.is_alive():
            _log.warning("pool_loop_abandoned", tasks=len(self._tasks))

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as exc:  # noqa: BLE001  raised again by `start`
            if self._entered.done():
                _log.exception("pool_lifespan_exit_failed")
            else:
                self._entered.set_exception(exc)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        _stopping.set(self._stopping)
        try:
            async with asyncio.timeout(None) as limit, self._make_lifespan():
                self._context = contextvars.copy_context()
                self._entered.set_result(None)
                await self._closing.wait()
                limit.reschedule(self._loop.time() + LIFESPAN_EXIT_S)
        finally:
            self._left.set_result(None)
