"""`apns-dispatcher clock`: move the clock of a fleet under test; production refuses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import redis
import rich_click

from dispatcher import ids, redis_keys
from dispatcher.cli.failures import Failure, Misuse
from dispatcher.settings import Mode, Settings
from dispatcher.state_server import StateServer


@click.group(cls=rich_click.RichGroup)
def clock() -> None:
    """Move the clock that workers, state server and simulator share, for tests."""


@clock.command(name="set")
@click.argument("seconds", type=float)
def set_clock(*, seconds: float) -> None:
    """Let the clock be SECONDS ahead of the real one."""
    _in_every_shard(lambda pipeline, shard: pipeline.set(redis_keys.clock(shard), seconds))


@clock.command(name="clear")
def clear_clock() -> None:
    """Let the clock be the real one again."""
    _in_every_shard(lambda pipeline, shard: pipeline.delete(redis_keys.clock(shard)))


def _in_every_shard(command: Callable[[Any, int], Any]) -> None:
    settings = Settings.from_env()
    if settings.mode is Mode.PRODUCTION:
        raise Misuse("APNS_MODE is production: its clock is never moved")
    state = StateServer.of(settings)
    try:
        state.ask_each(command, range(ids.SHARDS))
    except redis.RedisError as exc:
        raise Failure("the state server does not answer") from exc
    finally:
        state.close()
