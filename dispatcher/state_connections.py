"""How redis-py connects to a server: nothing waits for ever, and only we try again."""

from __future__ import annotations

from typing import Final

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

_WORKER_TIMEOUT_S: Final = 5.0
#: More than the tasks that a worker may have in flight, each of which may be asking: redis-py would refuse the 101st.
_WORKER_CONNECTIONS: Final = 1000


def connect(url: str, connect_s: float, answer_s: float, *, name: str | None = "apns-producer") -> redis.Redis:
    """Return a connection, with the seconds that connecting and an answer may take; a producer's, by its name."""
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=connect_s,
        socket_timeout=answer_s,
        retry=Retry(NoBackoff(), 0),
        client_name=name,
    )


def connect_async(url: str) -> redis.asyncio.Redis:
    """Return a worker's connection."""
    return redis.asyncio.Redis.from_url(
        url,
        max_connections=_WORKER_CONNECTIONS,
        socket_connect_timeout=_WORKER_TIMEOUT_S,
        socket_timeout=_WORKER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        client_name="apns-worker",
    )
