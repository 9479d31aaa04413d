"""One task in the pool: what Celery hands over, how it runs, and what it ends as.

A coroutine task runs without Celery's tracer: no `task_prerun`/`task_postrun` signals, no result backend, no
`self.request`. What the tracer would have reported to the worker is reported here, in the same shape.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import structlog
from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.saferepr import saferepr

MAX_RESULT_CHARS: Final = 1024

_log: Final = structlog.get_logger(__name__)

CoroutineFunction = Callable[..., Coroutine[Any, Any, object]]

Outcome = tuple[int, object, float]
"""What Celery's `Request.on_success` takes: 0 and a text, or 1 and an ExceptionInfo; then the seconds it took."""

current_request: Final[ContextVar[Mapping[str, Any]]] = ContextVar("current_request")
"""The request of the running coroutine task: `id`, `delivery_info`, `retries` and the other message headers."""


def current_queue() -> str:
    """Return the queue that the running coroutine task came from."""
    return str(current_request.get()["delivery_info"]["routing_key"])


@dataclass(eq=False, kw_only=True, slots=True, weakref_slot=True)
class Job:
    """One task accepted, or about to be, by the pool.

    Celery keeps a weak reference to it and calls `terminate` for `revoke(terminate=True)` and at cold shutdown.

    Attributes:
        function: The task's coroutine function; None for an ordinary task.
        target: Celery's tracer, for an ordinary task.
        target_args: Its arguments: task name, task id, request, body, content type, content encoding.
        time_limit_s: Seconds the coroutine may take; None for ever.
        accept: Celery's accept callback (process id, monotonic time): acknowledges and sends task-started.
        finish: Celery's result callback, taking an `Outcome`.
        stop: How the pool cancels this job.
        signal: The signal it was terminated with; None while it was not.
        task: The running asyncio task.
    """

    function: CoroutineFunction | None
    target: Callable[..., Outcome]
    target_args: tuple[Any, ...]
    time_limit_s: float | None
    accept: Callable[[int, float], object]
    finish: Callable[[Outcome], object]
    stop: Callable[[Job], object]
    signal: int | None = None
    task: asyncio.Task[None] | None = None

    @property
    def task_name(self) -> str:
        """The registered name of the task."""
        return str(self.target_args[0])

    @property
    def task_id(self) -> str:
        """The id of this run of it."""
        return str(self.target_args[1])

    @property
    def request(self) -> Mapping[str, Any]:
        """The message's headers, arguments and delivery info."""
        request: Mapping[str, Any] = self.target_args[2]
        return request

    def terminate(self, signal: int) -> None:
        """Cancel the job, or keep it from starting; Celery announces it as revoked."""
        self.signal = signal
        self.stop(self)


async def run_coroutine(job: Job, function: CoroutineFunction) -> Outcome:
    """Run a coroutine task to its end; every end is a value, none is raised."""
    current_request.set(job.request)
    started_at = monotonic()
    limit = asyncio.timeout(job.time_limit_s)
    try:
        async with limit:
            result = await function(*job.request["args"], **job.request["kwargs"])
    except BaseException as exc:  # noqa: BLE001  a SystemExit raised in a task would end the loop of all tasks
        return _failed(_as_celery_says(exc, job, is_over_limit=limit.expired()), monotonic() - started_at)
    return 0, text_of(result), monotonic() - started_at


def run_target(job: Job) -> Outcome:
    """Run an ordinary task through Celery's tracer; every end is a value, none is raised."""
    started_at = monotonic()
    try:
        outcome = job.target(*job.target_args)
    except BaseException as exc:  # noqa: BLE001  the slot must become free whatever happened
        return _failed(_as_celery_says(exc, job, is_over_limit=False), monotonic() - started_at)
    return outcome if job.signal is None else terminated(job)


def terminated(job: Job) -> Outcome:
    """Return the outcome of a job that was terminated before it began, or whose result no longer counts."""
    return _failed(Terminated(job.signal), 0.0)


def given_back() -> Outcome:
    """Return the outcome of a job that never began: its message goes back to the queue."""
    return _failed(Reject("the worker stops", requeue=True), 0.0)


def log_failure(job: Job, outcome: Outcome) -> None:
    """Log a coroutine task that failed; Celery's tracer does that for ordinary ones."""
    exc = getattr(outcome[1], "exception", None) if outcome[0] else None
    if job.function is not None and exc is not None and not isinstance(exc, (Ignore, Reject, Retry, Terminated)):
        _log.error("task_failed", task=job.task_name, task_id=job.task_id, exc_info=exc)


def text_of(result: object) -> str:
    """Return what monitors show of a result: a string as it is, anything else as its repr."""
    return result[:MAX_RESULT_CHARS] if isinstance(result, str) else str(saferepr(result, MAX_RESULT_CHARS))


def _as_celery_says(exc: BaseException, job: Job, *, is_over_limit: bool) -> BaseException:
    match exc:
        case asyncio.CancelledError() if job.signal is not None:
            named: BaseException = Terminated(job.signal)
        case asyncio.CancelledError():
            # Never Terminated, which Celery reports as revoked: nobody asked for this task to be dropped.
            named = WorkerLostError("the worker stopped before the task ended")
        case TimeoutError() if is_over_limit:
            named = TimeLimitExceeded(job.time_limit_s)
        case SystemExit() | KeyboardInterrupt():
            named = WorkerLostError(repr(exc))
        case _:
            return exc
    return named.with_traceback(exc.__traceback__)


def _failed(exc: BaseException, runtime_s: float) -> Outcome:
    try:
        raise exc  # noqa: TRY301  billiard cannot take an exception that was never raised
    except BaseException:  # noqa: BLE001
        info = ExceptionInfo()
    info.exception = exc  # the wrapper that billiard puts here shows as "ExceptionWithTraceback()" in monitors
    return 1, info, runtime_s
