"""Celery's connections to its broker, when there are several brokers or the one is gone for long."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

import kombu
from celery.app.amqp import AMQP
from kombu.connection import ConnectionPool, PooledConnection
from kombu.pools import ProducerPool

#: The longest pause between two tries to reach the broker again; kombu's own is half a minute.
LONGEST_PAUSE_S: Final = 5.0


class Connection(kombu.Connection):
    """kombu's connection; keeps its transport, whatever the scheme of its address and of the next broker of a list."""

    transport_cls: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        """Make it as kombu does, which would leave a socket to its own transport."""
        super().__init__(*args, **options)
        self.transport_cls = options.get("transport") or self.transport_cls

    def switch(self, conn_str: str) -> None:
        """Turn to another broker of the same kind."""
        transport = self.transport_cls
        super().switch(conn_str)
        self.transport_cls = transport

    def ensure_connection(self, *args: Any, **options: Any) -> kombu.Connection:  # type: ignore[override]
        """Connect, trying again as often as asked."""
        return super().ensure_connection(*args, **{"interval_max": LONGEST_PAUSE_S, **options})


class Brokers(AMQP):
    """What `Celery(amqp=...)` takes, with our connection."""

    Connection = Connection


class OwnBrokers(Brokers):
    """With connections that belong to one app alone, so that it may close them.

    kombu's are the process's: apps that connect in the same way share them, and what they know of queues.
    """

    @cached_property
    def producer_pool(self) -> ProducerPool:
        """Return the app's producers; each has a connection while it publishes."""
        limit = self.app.conf.broker_pool_limit
        return ProducerPool(_Pool(self.app.connection_for_write(), limit=limit), limit=limit)


class _PooledConnection(Connection, PooledConnection):
    """Our connection in a pool."""


class _Pool(ConnectionPool):
    """kombu's pool, of our connections."""

    def new(self) -> Any:
        """Make a connection, not connected yet."""
        given: dict[str, Any] = dict(self.connection._info(resolve=False))  # noqa: SLF001  as kombu's own pool does
        return _PooledConnection(self, **given)
