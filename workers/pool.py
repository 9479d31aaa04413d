"""Celery pool that runs coroutine tasks on one asyncio loop per worker process.

    app.conf.worker_pool = "workers.pool:AsyncioPool"
    app.conf.pool_lifespan = "package.module:factory"   # optional: app -> async context manager
    app.conf.pool_stop_timeout_s = 8.0                  # optional: what tasks may still take after SIGTERM

Everything above the pool is ordinary Celery: `-c` is the number of tasks in flight, and events, inspect, control,
revoke and warm shutdown work. Two threads: Celery's main thread (consumer, acknowledgements, events) and the loop.
They meet in two mailboxes; Celery's callbacks run on the main thread only.
"""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any, Final

import structlog
from celery import signals
from celery.concurrency.base import BasePool
from celery.exceptions import ImproperlyConfigured, WorkerShutdown
from celery.platforms import EX_FAILURE
from celery.worker import state
from kombu.asynchronous import Hub
from kombu.utils.imports import symbol_by_name

from dispatcher.errors import DispatcherError, SettingsError
from workers.pool_hub import HubLink
from workers.pool_job import (
    CoroutineFunction,
    Job,
    Outcome,
    current_queue,
    current_request,
    given_back,
    log_failure,
    run_coroutine,
    run_target,
    terminated,
)
from workers.pool_loop import LoopThread, stopping
from workers.pool_mailbox import Mailbox
from workers.pool_threads import DaemonThreads

__all__ = ["AsyncioPool", "current_queue", "current_request", "stopping"]

DEFAULT_STOP_TIMEOUT_S: Final = 8.0
#: The exit code of a worker that has to be set up differently, as of Celery's own command line.
EX_SETTINGS: Final = 2

# Tasks that watch `stopping()` end by themselves within the stop timeout; this is for their last answers to come in.
_LAST_ANSWERS_S: Final = 1.5
_CANCEL_S: Final = 0.25
_POLL_S: Final = 0.005
_SYNC_THREADS: Final = 4

# How long one of the two threads may keep the interpreter while the other waits for it. At Python's 5 ms a busy loop
# holds up each acknowledgement by that much: with 0.5 ms a load of sends over HTTP/2 took 24 % less time. Tasks that
# do nothing show no difference.
_SWITCH_INTERVAL_S: Final = 0.0005

_log: Final = structlog.get_logger(__name__)


class AsyncioPool(BasePool):
    """Runs coroutine tasks on one loop, and ordinary tasks on a few threads.

    Celery acknowledges when a task is started, never before: what exceeds the limit waits here unacknowledged, and
    goes back to the queue when the worker stops.
    """

    signal_safe = False
    body_can_be_buffer = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._running: set[Job] = set()
        self._waiting: deque[Job] = deque()
        self._stop_deadline: float | None = None
        self._is_closed = False
        self._loop = LoopThread(self._make_lifespan)
        self._threads = DaemonThreads(_SYNC_THREADS)
        self._started: Mailbox[Job] = Mailbox(self._spawn, self._wake_loop)
        self._ended: HubLink[tuple[Job, Outcome]] = HubLink(self._finish)

    def on_start(self) -> None:
        """Enter the lifespan; the worker takes no task before that, and exits when it fails."""
        if self.options.get("threads"):
            raise ImproperlyConfigured("AsyncioPool needs a broker that Celery can wait for in a loop: Redis or AMQP")
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        signals.worker_shutting_down.connect(self._on_shutting_down, weak=False)
        try:
            self._loop.start(check=state.maybe_shutdown)
        except DispatcherError as exc:
            problems = exc.problems if isinstance(exc, SettingsError) else ()
            for problem in problems or [str(exc)]:
                _log.critical("worker_start_refused", error=problem)  # it tells all: no traceback around it
            raise WorkerShutdown(EX_SETTINGS if problems else EX_FAILURE) from exc

    def register_with_event_loop(self, loop: Hub) -> None:
        """Take Celery's hub; called again after each reconnect to the broker."""
        self._ended.attach(loop)

    def on_apply(  # type: ignore[override]  # Celery's interface, of which we name what we use
        self,
        target: Callable[..., Outcome],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,  # noqa: ARG002  always empty
        *,
        callback: Callable[[Outcome], object],
        accept_callback: Callable[[int, float], object],
        timeout: float | None = None,
        **_: Any,
    ) -> Job:
        """Start a task, or keep it until one in flight has ended."""
        run = self.app.tasks[args[0]].run
        limit = timeout or self.options.get("timeout")
        job = Job(
            function=run if inspect.iscoroutinefunction(run) else None,
            target=target,
            target_args=tuple(args),
            time_limit_s=float(limit) if limit else None,
            accept=accept_callback,
            finish=callback,
            stop=self._cancel,
        )
        self._waiting.append(job)
        self._fill()
        return job

    def grow(self, n: int = 1) -> None:
        """Let more tasks be in flight."""
        self.limit += n
        self._fill()

    def shrink(self, n: int = 1) -> None:
        """Let fewer tasks be in flight; those that run are not touched."""
        self.limit = max(1, self.limit - n)

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Do nothing: all tasks share this process, and Celery next calls `Job.terminate` of the right one."""

    def on_close(self) -> None:
        """Tell tasks that the worker stops."""
        self._announce_stop()

    def on_stop(self) -> None:
        """Wait for the tasks in flight, cut off what takes too long, leave the lifespan."""
        deadline = self._announce_stop()
        while self._waiting:
            self._ended.put((self._waiting.popleft(), given_back()))
        if state.should_terminate in (None, False):
            self._ended.drive(lambda: bool(self._running), deadline)
        self.on_terminate()

    def on_terminate(self) -> None:
        """Cut off what runs and end the loop; called once more, or in a signal handler, it does no harm."""
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.call(self._loop.cancel_tasks)
        deadline = time.monotonic() + _CANCEL_S
        while self._running and time.monotonic() < deadline:
            # Polling, because a cold shutdown calls this in a signal handler, where taking a lock may block for ever.
            time.sleep(_POLL_S)
            self._ended.drain()
        self._loop.close()
        self._ended.drain()

    @property
    def info(self) -> dict[str, Any]:
        """What `inspect stats` and Flower show of this pool."""
        counts = {"in-flight": len(self._running), "waiting": len(self._waiting)}
        return {**super().info, "processes": [os.getpid()], **counts}

    def _make_lifespan(self) -> AbstractAsyncContextManager[object]:
        name = self.app.conf.get("pool_lifespan")
        lifespan: AbstractAsyncContextManager[object] = symbol_by_name(name)(self.app) if name else nullcontext()
        return lifespan

    # -- main thread ---------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self.limit and self._stop_deadline is None:
            self._start(self._waiting.popleft())

    def _start(self, job: Job) -> None:
        self._running.add(job)
        try:
            job.accept(os.getpid(), time.monotonic())
        except BaseException:
            self._running.discard(job)  # not acknowledged, so the broker delivers it again
            raise
        if job.signal is not None:
            self._ended.put((job, terminated(job)))
        elif job.function is None:
            self._threads.submit(partial(self._run_target, job))
        else:
            self._started.put(job)

    def _finish(self, ended: tuple[Job, Outcome]) -> None:
        job, outcome = ended
        self._running.discard(job)
        try:
            log_failure(job, outcome)
            job.finish(outcome)
        finally:
            self._fill()

    def _cancel(self, job: Job) -> None:
        self._loop.call(partial(_cancel_task, job))

    def _wake_loop(self) -> None:
        self._loop.call(self._started.drain)

    def _on_shutting_down(self, **_: Any) -> None:
        # In a signal handler: only what takes no lock. The hub takes one, so the loop's thread wakes it.
        self._announce_stop()
        self._loop.call(self._ended.wake)

    def _announce_stop(self) -> float:
        if self._stop_deadline is None:
            stop_timeout_s = float(self.app.conf.get("pool_stop_timeout_s", DEFAULT_STOP_TIMEOUT_S))
            self._stop_deadline = time.monotonic() + stop_timeout_s + _LAST_ANSWERS_S
            self._loop.announce_stop()
        return self._stop_deadline

    # -- loop thread ---------------------------------------------------------------------------------------------------

    def _spawn(self, job: Job) -> None:
        if job.signal is None and job.function is not None:
            job.task = self._loop.spawn(self._run_coroutine(job, job.function))
        else:
            self._ended.put((job, terminated(job)))

    async def _run_coroutine(self, job: Job, function: CoroutineFunction) -> None:
        self._ended.put((job, await run_coroutine(job, function)))

    # -- threads of ordinary tasks -------------------------------------------------------------------------------------

    def _run_target(self, job: Job) -> None:
        self._ended.put((job, run_target(job)))


def _cancel_task(job: Job) -> None:
    if job.task is not None:
        job.task.cancel()
