"""A state server and a dispatcher that nobody's worker listens to, and what the server has counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import redis

from dispatcher import Dispatcher, Settings, ids, redis_keys, routing
from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.dev.simulator.certificates import open_tls_context
from dispatcher.dev.simulator.config_file import write_config
from dispatcher.dev.simulator.world import CONFIG_FILE, open_world
from dispatcher.push_types import Environment, Lane

_NOBODY: Final = "https://127.0.0.1:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Producer:
    """A web app's side.

    Attributes:
        push: The dispatcher.
        env: The environment variables it was made from.
        broker_url: Where messages go.
        state: A plain connection to the state server.
    """

    push: Dispatcher
    env: dict[str, str]
    broker_url: str
    state: redis.Redis


@contextmanager
def producer() -> Iterator[Producer]:
    """Start a state server of its own with a dispatcher on it."""
    with TemporaryDirectory(prefix="apns-bench-") as name, EmbeddedServer() as server:
        directory = Path(name)
        write_world(directory, url=_NOBODY)
        env = {"APNS_BROKER_URL": server.url, "APNS_CONFIG": str(directory / CONFIG_FILE)}
        with Dispatcher(Settings.from_env(env)) as push, redis.Redis.from_url(server.url) as state:
            yield Producer(push=push, env=env, broker_url=server.url, state=state)


def write_world(directory: Path, *, url: str) -> None:
    """Write signing keys, certificates and a configuration that leads to a stand-in for APNs."""
    open_world(directory)
    open_tls_context(directory)
    write_config(directory, url=url, environment=Environment.PRODUCTION)


def counted(state: redis.Redis, event: str) -> int:
    """Return how often the fleet has counted an event."""
    shards: list[dict[bytes, bytes]] = [_counters(state, shard) for shard in range(ids.SHARDS)]
    prefix = event.encode() + b"|"
    return sum(int(count) for shard in shards for field, count in shard.items() if field.startswith(prefix))


def waiting(state: redis.Redis, lane: Lane) -> int:
    """Return how many batches of a lane are not settled."""
    names = [name for shard in range(ids.SHARDS) for name in _batch_sets(shard, lane)]
    sizes: list[Any] = [state.zcard(name) for name in names]
    return sum(sizes)


def messages(state: redis.Redis, queue: str) -> int:
    """Return how many messages lie in a queue."""
    length: Any = state.llen(queue)
    return int(length)


def _counters(state: redis.Redis, shard: int) -> dict[bytes, bytes]:
    counters: Any = state.hgetall(redis_keys.counters(shard))
    return dict(counters)


def _batch_sets(shard: int, lane: Lane) -> list[str]:
    from_queues = [redis_keys.queued(shard, queue) for queue in routing.LANE_QUEUES[lane]]
    return [*from_queues, redis_keys.leased(shard, lane), redis_keys.due(shard, lane)]
