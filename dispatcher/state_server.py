"""The door to the state server: runs calls, one or many in one round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, Self, TypeVar

import redis
import redis.asyncio
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.client import Pipeline
from redis.retry import Retry

from dispatcher import guard, redis_keys, scripts
from dispatcher.errors import EnqueueError, StateServerError
from dispatcher.scripts import Clock
from dispatcher.settings import Settings
from dispatcher.state_call import StateCall

ReplyT = TypeVar("ReplyT")

_WORKER_TIMEOUT_S: Final = 5.0
_WORKER_RETRIES: Final = 3


class StateServer:
    """The state server as producers see it: it answers in time or the call fails."""

    def __init__(self, url: str, *, clock: Clock, timeout_s: float) -> None:
        # Connecting and answering share the time a call may take.
        self._client = redis.Redis.from_url(
            url,
            socket_connect_timeout=timeout_s / 2,
            socket_timeout=timeout_s / 2,
            retry=Retry(NoBackoff(), 0),
            client_name="apns-producer",
        )
        self._script = _script_source(self._client, clock)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the configured one; connects at the first call."""
        return cls(settings.state_url.get_secret_value(), clock=settings.clock, timeout_s=settings.timeout_s)

    def run(self, call: StateCall[ReplyT], *, apns_ids: Sequence[str] = ()) -> ReplyT:
        """Run one call.

        Raises:
            EnqueueError: The server did not confirm it; says whether it may have been done.
        """
        try:
            return call.read(self._script(call.script)(keys=_keys(call), args=call.args))
        except redis.RedisError as exc:
            raise _enqueue_error(exc, apns_ids) from exc

    def run_all(self, calls: Sequence[StateCall[ReplyT]], *, apns_ids: Sequence[str] = ()) -> list[ReplyT]:
        """Run calls in one round trip.

        Raises:
            EnqueueError: The server did not confirm all of them.
        """
        pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            self._script(call.script)(keys=_keys(call), args=call.args, client=pipeline)
        try:
            replies = pipeline.execute(raise_on_error=False)
        except redis.RedisError as exc:
            raise _enqueue_error(exc, apns_ids) from exc
        errors = [reply for reply in replies if isinstance(reply, redis.RedisError)]
        if errors:
            raise _enqueue_error(errors[0], apns_ids, is_partly_done=len(errors) < len(replies)) from errors[0]
        return [call.read(reply) for call, reply in zip(calls, replies, strict=True)]

    def info(self, *, apns_ids: Sequence[str] = ()) -> Mapping[str, Any]:
        """Return what the server says of itself; nothing when that is forbidden.

        Raises:
            EnqueueError: It does not answer, so that nothing of the call it was asked for was done.
        """
        try:
            found: Mapping[str, Any] = self._client.info()
        except redis.exceptions.NoPermissionError:
            return {}
        except redis.RedisError as exc:
            reason = f"the state server does not answer ({type(exc).__name__})"
            raise EnqueueError(reason, certainly_not_accepted=True, apns_ids=apns_ids) from exc
        return found

    def enlist(self, call: StateCall[Any], transaction: Pipeline) -> None:
        """Add a call to a transaction of the caller's own; its reply is read by `call.read`."""
        self._script(call.script)(keys=_keys(call), args=call.args, client=transaction)

    @property
    def client(self) -> redis.Redis:
        """The connection itself, for streams."""
        return self._client

    def close(self) -> None:
        """Close every connection."""
        self._client.close()


class AsyncStateServer:
    """The state server as workers see it: calls are tried again for a moment when the connection is lost."""

    def __init__(self, url: str, *, clock: Clock) -> None:
        self._client = redis.asyncio.Redis.from_url(
            url,
            socket_connect_timeout=_WORKER_TIMEOUT_S,
            socket_timeout=_WORKER_TIMEOUT_S,
            retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), _WORKER_RETRIES),
            retry_on_error=[redis.ConnectionError, redis.TimeoutError],
            client_name="apns-worker",
        )
        self._script = _script_source(self._client, clock)

    async def run(self, call: StateCall[ReplyT]) -> ReplyT:
        """Run one call.

        Raises:
            redis.RedisError: The server did not confirm it.
        """
        return call.read(await self._script(call.script)(keys=_keys(call), args=call.args))

    async def run_all(self, calls: Iterable[StateCall[ReplyT]]) -> list[ReplyT]:
        """Run calls in one round trip.

        Raises:
            redis.RedisError: The server did not confirm all of them.
        """
        calls = tuple(calls)
        pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            await self._script(call.script)(keys=_keys(call), args=call.args, client=pipeline)
        replies = await pipeline.execute()
        return [call.read(reply) for call, reply in zip(calls, replies, strict=True)]

    @property
    def client(self) -> redis.asyncio.Redis:
        """The connection itself, for plain commands."""
        return self._client

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()


@contextmanager
def state_server_errors() -> Iterator[None]:
    """Turn whatever redis-py raises for a question into our error.

    Raises:
        StateServerError: In place of a `RedisError`.
    """
    try:
        yield
    except redis.RedisError as exc:
        raise StateServerError(f"the state server does not answer ({type(exc).__name__})") from exc


def _script_source(client: redis.Redis | redis.asyncio.Redis, clock: Clock) -> Callable[[str], Any]:
    """Return a function that gives a client's script by name, registered at its first use."""

    @cache
    def script(name: str) -> Any:
        return client.register_script(scripts.source(name, clock))

    return script


def _keys(call: StateCall[Any]) -> list[str]:
    return [*call.keys, redis_keys.clock(call.shard)]


def _enqueue_error(exc: redis.RedisError, apns_ids: Sequence[str], *, is_partly_done: bool = False) -> EnqueueError:
    if not is_partly_done and (refusal := _refusal(exc, apns_ids)):
        return refusal
    # An answer with an error means that the script was refused before it wrote; a refused connection or password never
    # reached it. Anything else may have been done. (redis-py leaves the system's error in the context.)
    never_reached = isinstance(exc.__cause__ or exc.__context__, (ConnectionRefusedError, FileNotFoundError))
    is_refused = never_reached or isinstance(exc, (redis.ResponseError, redis.AuthenticationError))
    return EnqueueError(
        f"the state server did not take it ({type(exc).__name__})",
        certainly_not_accepted=is_refused and not is_partly_done,
        apns_ids=apns_ids,
    )


def _refusal(exc: redis.RedisError, apns_ids: Sequence[str]) -> EnqueueError | None:
    if isinstance(exc, redis.OutOfMemoryError):
        return guard.server_is_full(apns_ids)
    return guard.refusal_of(str(exc), apns_ids) if isinstance(exc, redis.ResponseError) else None
