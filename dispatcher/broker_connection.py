"""Celery's connections to its broker, when there are several brokers or the one is gone for long."""

from __future__ import annotations

from typing import Any, Final

import kombu
from celery.app.amqp import AMQP

#: The longest pause between two tries to reach the broker again; kombu's own is half a minute.
LONGEST_PAUSE_S: Final = 5.0


class Connection(kombu.Connection):
    """kombu's connection; keeps its transport when it goes on to the next broker of a list."""

    transport_cls: Any

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
