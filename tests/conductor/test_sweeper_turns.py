"""One worker at a time sweeps a lane, and every worker can be seen."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from dispatcher import outbox, redis_keys
from dispatcher.push_types import Lane
from tests.conductor.conftest import Bench, make_record, until
from tests.conductor.recording_publisher import make_sweeper
from workers.sweeper import FORGET_WORKER_S
from workers.turns import TURN_S


async def test_one_sweeper_has_the_turn_and_another_inherits_it(bench: Bench) -> None:
    """Of two sweepers one sweeps; when it is gone the other takes over as soon as the turn runs out."""
    await bench.clock.compare()
    (first, by_first), (second, by_second) = (make_sweeper(bench, worker=f"host:{number}") for number in (1, 2))
    sweeping = asyncio.create_task(first.keep_sweeping())
    turn = redis_keys.turn(Lane.ALERT)
    await until(lambda: bench.redis.get(turn) == b"host:1")
    waiting = asyncio.create_task(second.keep_sweeping())
    await until(lambda: bench.redis.zscore(redis_keys.workers(), "host:2:alert"))
    await leave_one_dead(bench)
    await until(lambda: by_first.messages)
    assert (bench.redis.get(turn), by_second.messages) == (b"host:1", [])
    assert 0 < bench.redis.pttl(turn) <= TURN_S * 1000
    sweeping.cancel()
    await asyncio.wait([sweeping])
    bench.redis.pexpire(turn, 1)  # its time is over, as it would be by itself soon
    await leave_one_dead(bench)
    await until(lambda: by_second.messages)
    assert bench.redis.get(turn) == b"host:2"
    waiting.cancel()


async def leave_one_dead(bench: Bench) -> None:
    """Leave a batch claimed by a worker that is gone."""
    batch_id = await bench.put(make_record())
    await bench.state.run(outbox.claim(batch_id, "dead", lane=Lane.ALERT, queue="apns.alert", lease_s=1))
    bench.advance(2)


async def test_without_the_turn_nothing_is_swept(bench: Bench) -> None:
    """As long as another worker has the turn a sweeper only gives signs of life."""
    await bench.clock.compare()
    bench.redis.set(redis_keys.turn(Lane.ALERT), "elsewhere:9")
    await leave_one_dead(bench)
    await bench.clock.compare()
    sweeper, publisher = make_sweeper(bench)
    sweeping = asyncio.create_task(sweeper.keep_sweeping())
    await until(lambda: bench.redis.zscore(redis_keys.workers(), "host:1:alert"))
    first_sign = bench.redis.zscore(redis_keys.workers(), "host:1:alert")
    await until(lambda: bench.redis.zscore(redis_keys.workers(), "host:1:alert") > first_sign)
    sweeping.cancel()
    assert publisher.messages == []
    assert bench.redis.get(redis_keys.turn(Lane.ALERT)) == b"elsewhere:9"


async def test_lanes_have_turns_of_their_own(bench: Bench) -> None:
    """Another lane's turn does not keep a sweeper from its own."""
    await bench.clock.compare()
    bench.redis.set(redis_keys.turn(Lane.VOIP), "elsewhere:9")
    sweeping = asyncio.create_task(make_sweeper(bench)[0].keep_sweeping())
    await until(lambda: bench.redis.get(redis_keys.turn(Lane.ALERT)) == b"host:1")
    sweeping.cancel()


async def test_workers_give_signs_of_life(bench: Bench) -> None:
    """Every worker is listed with the time of its last sign, turn or not, and forgotten when it is long gone."""
    await bench.clock.compare()
    now = bench.clock.now()
    bench.redis.zadd(redis_keys.workers(), {"gone:7:alert": now - FORGET_WORKER_S - 10, "quiet:8:alert": now - 60})
    bench.redis.set(redis_keys.turn(Lane.VOIP), "elsewhere:9")
    sweeping = asyncio.create_task(make_sweeper(bench, lane=Lane.VOIP)[0].keep_sweeping())
    await until(lambda: bench.redis.zscore(redis_keys.workers(), "gone:7:alert") is None)
    sweeping.cancel()
    signs = dict(bench.redis.zrange(redis_keys.workers(), 0, -1, withscores=True))
    assert signs == {b"quiet:8:alert": pytest.approx(now - 60, abs=1), b"host:1:voip": pytest.approx(now, abs=2)}


async def test_an_error_of_the_state_server_does_not_end_sweeping(bench: Bench) -> None:
    """A sweeper goes on once the state server answers again."""
    await bench.clock.compare()
    sweeper, publisher = make_sweeper(bench)
    bench.redis.hset(redis_keys.workers(), "not", "a sorted set")
    await leave_one_dead(bench)
    with capture_logs() as logged:
        sweeping = asyncio.create_task(sweeper.keep_sweeping())
        await until(lambda: logged)
    assert [line["event"] for line in logged] == ["sweep_failed"]
    assert publisher.messages == []
    bench.redis.delete(redis_keys.workers())
    await until(lambda: publisher.messages)
    sweeping.cancel()
