"""A worker's clock is the state server's, whatever the host's says."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from dispatcher import ids, redis_keys
from dispatcher.scripts import Clock
from dispatcher.state_call import StateCall
from dispatcher.state_server import AsyncStateServer
from tests.conductor.conftest import Bench, MovableClock, until
from workers import state_clock
from workers.state_clock import StateClock


class SlowTime:
    """A state server whose answer takes two seconds of a clock moved by hand, or does not come."""

    def __init__(self, monotonic: MovableClock, time_halfway: float) -> None:
        self.monotonic = monotonic
        self.time_halfway = time_halfway
        self.is_away = False
        self.asked = 0

    async def run(self, _call: StateCall[float]) -> float:
        """Tell the time it was when half of the two seconds had passed."""
        self.asked += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise RedisConnectionError
        self.monotonic.ahead_s += 2.0
        return self.time_halfway


async def test_the_clock_is_the_servers(bench: Bench) -> None:
    """After a comparison the clock tells the state server's time, also where that was moved."""
    shift_s = 5_000_000.0
    for shard in range(ids.SHARDS):
        bench.redis.set(redis_keys.clock(shard), shift_s)
    await bench.clock.compare()
    assert bench.clock.now() == pytest.approx(time.time() + shift_s, abs=2)


async def test_production_does_not_see_a_moved_clock(bench: Bench, state_url: str) -> None:
    """With the server's own clock, as in production, a moved clock changes nothing."""
    bench.advance(5_000_000)
    state = AsyncStateServer(state_url, clock=Clock.SERVER)
    clock = StateClock(state, Clock.SERVER, time.monotonic)
    await clock.compare()
    await state.close()
    assert clock.now() == pytest.approx(time.time(), abs=2)


async def test_half_of_the_way_is_allowed_for() -> None:
    """A slow answer is taken for the time halfway between asking and hearing."""
    monotonic = MovableClock()
    clock = StateClock(SlowTime(monotonic, 1_000.0), Clock.SERVER, monotonic)
    await clock.compare()
    assert clock.now() == pytest.approx(1_001.0, abs=0.1)


async def test_the_clock_counts_on() -> None:
    """Between comparisons the clock counts on, and asks nobody."""
    monotonic = MovableClock()
    source = SlowTime(monotonic, 1_000.0)
    clock = StateClock(source, Clock.SERVER, monotonic)
    await clock.compare()
    before = clock.now()
    monotonic.ahead_s += 45.0
    assert clock.now() - before == pytest.approx(45.0, abs=0.1)
    assert source.asked == 1


async def test_a_moved_clock_is_followed(bench: Bench) -> None:
    """In development a worker notices within moments that tests moved the clock."""
    await bench.clock.compare()
    following = asyncio.create_task(bench.clock.keep_comparing())
    before = bench.clock.now()
    for shard in range(ids.SHARDS):
        bench.redis.set(redis_keys.clock(shard), 3600)
    await until(lambda: bench.clock.now() > before + 3599)
    following.cancel()


async def test_the_last_comparison_holds_while_the_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state server that does not answer changes nothing; once it is back its time counts."""
    monkeypatch.setitem(state_clock.COMPARE_EVERY_S, Clock.SERVER, 0.01)
    monotonic = MovableClock()
    source = SlowTime(monotonic, 1_000.0)
    clock = StateClock(source, Clock.SERVER, monotonic)
    await clock.compare()
    source.is_away = True
    following = asyncio.create_task(clock.keep_comparing())
    await until(lambda: source.asked >= 3)
    assert clock.now() == pytest.approx(1_001.0, abs=1)
    source.time_halfway, source.is_away = 9_000.0, False
    await until(lambda: clock.now() > 8_000)
    following.cancel()


async def test_the_first_comparison_says_that_nobody_answers() -> None:
    """A comparison that fails is an error of the caller's, who may refuse to start."""
    monotonic = MovableClock()
    source = SlowTime(monotonic, 0.0)
    source.is_away = True
    with pytest.raises(RedisError):
        await StateClock(source, Clock.SERVER, monotonic).compare()
