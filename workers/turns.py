"""Chores of the whole fleet: every worker offers to do them, one at a time has the turn."""

from __future__ import annotations

from typing import Final

from dispatcher import redis_keys
from dispatcher.state_server import AsyncStateServer

#: A worker that did not renew its turn for this long has lost it.
TURN_S: Final = 5.0

_SHARD: Final = redis_keys.FLEET_SHARD


async def has_turn(state: AsyncStateServer, chore: str, worker: str) -> bool:
    """Take a chore's turn or renew it; False while another worker has it.

    Raises:
        redis.RedisError: The state server did not answer.
    """
    turn, expiry_ms = redis_keys.turn(chore), int(TURN_S * 1000)
    if await state.ask(_SHARD, lambda pipeline: pipeline.set(turn, worker, nx=True, px=expiry_ms)):
        return True
    if await state.ask(_SHARD, lambda pipeline: pipeline.get(turn)) != worker.encode():
        return False
    # Losing it between these two commands does no harm: a chore done twice at once is only done once too often.
    return bool(await state.ask(_SHARD, lambda pipeline: pipeline.pexpire(turn, expiry_ms)))


async def is_time_again(state: AsyncStateServer, chore: str, worker: str, *, every_s: float) -> bool:
    """Tell, to one worker of the fleet at a time, whether a chore was last done so long ago.

    Raises:
        redis.RedisError: The state server did not answer.
    """
    turn, expiry_ms = redis_keys.turn(chore), int(every_s * 1000)
    return bool(await state.ask(_SHARD, lambda pipeline: pipeline.set(turn, worker, nx=True, px=expiry_ms)))
