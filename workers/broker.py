"""Redis transport and Celery consumer that survive messages nobody should have sent, and brokers that take none.

    app.conf.broker_transport = "workers.broker:Transport"           # redis:// and rediss:// only
    app.conf.broker_transport = "workers.broker:SentinelTransport"   # sentinel:// only
    app.conf.worker_consumer = "workers.broker:Consumer"             # any broker
    app.conf.consumer_prefetch_count = 1                             # optional, RabbitMQ: unacknowledged per queue

Whoever can write to a queue can otherwise end every worker that reads it: kombu parses the bytes it popped, and Celery
the message, without a guard, and what they raise leaves the worker's event loop. What Celery does refuse by itself it
prints to the log, body and all. Here such a message is put aside, counted, and named by a hash only.

A broker that answers with a refusal to write, because it has become a replica, cannot save to its disk or is full,
would end every worker too. Here that is a lost connection, which Celery makes again until the broker is well; a full
one is read from all the same, since that is what empties it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from queue import Empty
from typing import Any, ClassVar, Final

import structlog
from celery import signals
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu import Message
from kombu.transport import redis as kombu_redis
from redis import Redis
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from workers.amqp_broker import GarbageQueues

KEPT_MESSAGES: Final = 20
KEPT_BYTES: Final = 65_536

_DIGEST_CHARS: Final = 12
#: How a server begins to say that it does not write at present. A waiting BRPOP is unblocked when its server changes.
_REFUSALS_TO_WRITE: Final = ("UNBLOCKED", "NOREPLICAS", "MISCONF", "MASTERDOWN")

_log: Final = structlog.get_logger(__name__)


def _count_nothing(queue: str, digest: str) -> None:
    """Take the place of a counter."""


on_garbage: Callable[[str, str], object] = _count_nothing
"""Called with the queue and a hash of each message put aside; set it to count them."""


def garbage_key(queue: str) -> str:
    """Return the Redis list that keeps the last messages put aside from a queue, newest first."""
    return f"_garbage.{queue}"


@contextmanager
def _refusal_as_lost_connection() -> Iterator[None]:
    """Turn a refusal to write into what Celery answers by connecting again."""
    try:
        yield
    except ResponseError as exc:
        if isinstance(exc, ReadOnlyError) or str(exc).startswith(_REFUSALS_TO_WRITE):
            raise LostConnectionError(f"the broker takes no writes ({exc})") from exc
        raise


class _Client(Redis):
    """Remembers what it popped, which kombu has forgotten by the time it cannot read it."""

    last_popped: Any = None

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        response = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        if command_name == "BRPOP":
            self.last_popped = response
        return response


class Channel(kombu_redis.Channel):
    """Puts aside what cannot be a Celery message.

    The methods overridden are kombu's private ones: there is no public place between the pop and the parser.
    """

    connection_errors: tuple[type[Exception], ...]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Open the channel, but not on a replica: Celery connects again more and more slowly, and says why."""
        super().__init__(*args, **kwargs)
        with suppress(ResponseError):  # it may not be allowed to ask
            if self.client.info("replication").get("role") == "slave":
                raise LostConnectionError("the broker is a replica, on which nothing can be written")

    def keep(self, queue: str, raw: bytes) -> None:
        """Store the beginning of a message put aside, for somebody to look at."""
        with suppress(RedisError), self.conn_or_acquire() as client, client.pipeline() as pipe:
            pipe.lpush(garbage_key(queue), raw[:KEPT_BYTES]).ltrim(garbage_key(queue), 0, KEPT_MESSAGES - 1).execute()

    def close(self) -> None:
        """Close the channel, also when its connection is gone already.

        kombu 5.7 then gives back unacknowledged messages over a connection that is None, and the AttributeError
        would end the worker instead of making it reconnect. The broker restores those messages by itself.
        """
        with suppress(AttributeError):
            super().close()

    def _get_client(self) -> Any:
        client = super()._get_client()  # type: ignore[misc]
        return _Client if client is Redis else client  # with a key prefix kombu has a client class of its own

    def _brpop_read(self, **options: Any) -> Any:
        self.client.last_popped = None
        try:
            with _refusal_as_lost_connection():
                return super()._brpop_read(**options)  # type: ignore[misc]
        except Exception as exc:
            popped = getattr(self.client, "last_popped", None)
            if popped is None or self._is_not_about_the_message(exc):
                raise
            queue, raw = popped[0].decode(), bytes(popped[1])
            self.keep(queue, raw)
            _put_aside(queue, raw, "unreadable", exc)
            return True

    def _queue_bind(self, *args: Any) -> None:
        with _refusal_as_lost_connection():
            try:
                super()._queue_bind(*args)  # type: ignore[misc]
            except OutOfMemoryError:
                # Only who publishes to an exchange looks bindings up; nobody needs one to read a queue.
                _log.warning("broker_is_full", note="reads from it all the same")

    def maybe_refresh_binding_expiry(self) -> None:
        """Keep the bindings alive, unless the broker is full: kombu tells of that every second, with a traceback."""
        with suppress(OutOfMemoryError):
            super().maybe_refresh_binding_expiry()  # type: ignore[misc]

    def _receive_one(self, c: Any) -> Any:
        try:
            return super()._receive_one(c)  # type: ignore[misc]
        except Exception as exc:
            if self._is_not_about_the_message(exc):
                raise
            _put_aside("broadcast", b"", "unreadable", exc)
            return False

    def _is_not_about_the_message(self, exc: Exception) -> bool:
        # kombu counts KeyError as a lost connection, and a message without properties raises one
        return isinstance(exc, (Empty, ResponseError, *self.connection_errors)) and not isinstance(exc, KeyError)


class SentinelChannel(Channel, kombu_redis.SentinelChannel):
    """The same for a server that Sentinels watch."""


class Transport(kombu_redis.Transport):
    """kombu's Redis transport with our channel."""

    Channel = Channel


class SentinelTransport(kombu_redis.SentinelTransport):
    """kombu's Sentinel transport with our channel."""

    Channel = SentinelChannel


class Consumer(CeleryConsumer):
    """Celery's consumer; refuses what breaks Celery, and never logs a message body."""

    connection_errors: tuple[type[Exception], ...]
    channel_errors: tuple[type[Exception], ...]
    task_consumer: Any

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[valid-type,misc]
        """Celery's steps, without its queues for delays, which we never ask a broker for."""

        default_steps: ClassVar[list[Any]] = [
            *(step for step in CeleryConsumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")),
            GarbageQueues,
        ]

    def __init__(self, *args: Any, **options: Any) -> None:
        self._fixed_prefetch_count: int | None = options["app"].conf.get("consumer_prefetch_count")
        if self._fixed_prefetch_count:
            options["initial_prefetch_count"] = self._fixed_prefetch_count
        super().__init__(*args, **options)

    @property
    def max_prefetch_count(self) -> int:
        """What Celery goes back to after it has reconnected."""
        return self._fixed_prefetch_count or super().max_prefetch_count

    def _update_prefetch_count(self, index: int = 0) -> Any:
        return None if self._fixed_prefetch_count else super()._update_prefetch_count(index)  # type: ignore[misc]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], None]:
        """Guard the function that is called with every message."""
        handle = super().create_task_handler(*args, **kwargs)
        errors = (*self.connection_errors, *self.channel_errors)

        def handle_or_refuse(message: Message) -> None:
            try:
                handle(message)
            except Exception as exc:
                if isinstance(exc, errors) and not isinstance(exc, KeyError):
                    raise
                self._refuse(message, "invalid", exc)

        return handle_or_refuse

    def on_unknown_message(self, body: object, message: Message) -> None:  # noqa: ARG002
        """Refuse a message that is not a task."""
        self._refuse(message, "not a task")

    def on_unknown_task(self, body: object, message: Message, exc: Exception) -> None:  # noqa: ARG002
        """Refuse a task that is not registered."""
        self._refuse(message, "unknown task", exc)

    def on_invalid_task(self, body: object, message: Message, exc: Exception) -> None:  # noqa: ARG002
        """Refuse a task whose message breaks the protocol, or has a content type that is not accepted."""
        self._refuse(message, "invalid", exc)

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Refuse a message whose body cannot be decoded."""
        self._refuse(message, "undecodable", exc)

    def _refuse(self, message: Message, why: str, exc: Exception | None = None) -> None:
        queue = str((message.delivery_info or {}).get("routing_key"))
        body = message.body.encode() if isinstance(message.body, str) else bytes(message.body or b"")
        if isinstance(message.channel, Channel):
            message.channel.keep(queue, body)
        for request in [request for request in state.reserved_requests if request.message is message]:
            state.task_ready(request)  # it would hold a place of the pool for ever
        # A broadcast is not to be acknowledged: RabbitMQ would close the channel.
        if not message.acknowledged and message.channel is self.task_consumer.channel:
            message.reject_log_error(_log, self.connection_errors)
        _put_aside(queue, body, why, exc)
        signals.task_rejected.send(sender=self, message=message, exc=exc)


def _put_aside(queue: str, raw: bytes, why: str, exc: Exception | None) -> None:
    digest = sha256(raw).hexdigest()[:_DIGEST_CHARS]
    # Only the type: the text of a parser's error may quote what it read.
    error = type(exc).__name__ if exc else ""
    _log.warning("message_put_aside", queue=queue, why=why, error=error, sha256=digest, size_bytes=len(raw))
    try:
        on_garbage(queue, digest)
    except Exception:  # noqa: BLE001
        _log.exception("garbage_not_counted")  # losing a count is better than losing the worker
