"""`apns-dispatcher clock`: move the clock of a fleet under test; production refuses it."""

from __future__ import annotations

from typing import Final

import click
import redis
import rich_click

from dispatcher import ids, redis_keys
from dispatcher.cli.failures import Misuse
from dispatcher.settings import Mode, Settings

_CLOCKS: Final = tuple(redis_keys.clock(shard) for shard in range(ids.SHARDS))


@click.group(cls=rich_click.RichGroup)
def clock() -> None:
    """Move the clock that workers, state server and simulator share, for tests."""


@clock.command(name="set")
@click.argument("seconds", type=float)
def set_clock(*, seconds: float) -> None:
    """Let the clock be SECONDS ahead of the real one."""
    with _connect() as client:
        for shard_clock in _CLOCKS:
            client.set(shard_clock, seconds)


@clock.command(name="clear")
def clear_clock() -> None:
    """Let the clock be the real one again."""
    with _connect() as client:
        for shard_clock in _CLOCKS:
            client.delete(shard_clock)


def _connect() -> redis.Redis:
    settings = Settings.from_env()
    if settings.mode is Mode.PRODUCTION:
        raise Misuse("APNS_MODE is production: its clock is never moved")
    return redis.Redis.from_url(settings.state_url.get_secret_value())
