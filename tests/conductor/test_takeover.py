"""What one worker leaves undone another takes up, and never both at once."""

from __future__ import annotations

import asyncio

from dispatcher import ids, redis_keys
from dispatcher.push_types import Lane
from tests.conductor.conftest import SHARD, Bench, Worker, device_tokens, make_record, until
from tests.conductor.scripted_transport import Late
from workers.lease import LANE_TIMES

LEASE_S = LANE_TIMES[Lane.ALERT].lease_s


async def start_with_silence(
    worker: Worker, batch_id: str, *, count: int, silent: int
) -> tuple[asyncio.Task[str], Late]:
    """Begin to deliver a batch whose last `silent` pushes are not answered yet; return when all have left."""
    late = Late()
    worker.transport.script(device_tokens(count)[count - silent :], late)
    delivering = worker.start(batch_id)
    await until(lambda: len(worker.transport.requests) == count)
    return delivering, late


async def test_answers_are_noted_while_others_are_awaited(bench: Bench) -> None:
    """An answer is noted within moments, though its batch is far from its end."""
    worker = await bench.worker()
    batch_id = await bench.put(make_record(count=5))
    delivering, late = await start_with_silence(worker, batch_id, count=5, silent=1)
    await until(lambda: bench.done(batch_id) == "11110")
    assert bench.counters()["delivered"] == 4
    late.come.set()
    assert await delivering == "sent 5"


async def test_a_call_is_noted_at_once(bench: Bench) -> None:
    """In the lane of calls each answer is noted by itself."""
    worker = await bench.worker()
    late = Late()
    worker.transport.script(device_tokens(2)[1:], late)
    batch_id = await bench.put(make_record(count=2, push_type="voip"), lane=Lane.VOIP)
    delivering = worker.start(batch_id, lane=Lane.VOIP)
    await until(lambda: bench.done(batch_id) == "10")
    late.come.set()
    assert await delivering == "sent 2"


async def test_a_busy_batch_is_nobody_elses(bench: Bench) -> None:
    """A second message of a batch that is being sent finds it busy, in the same worker or another."""
    worker, other = await bench.worker(), await bench.worker()
    batch_id = await bench.put(make_record(count=2))
    delivering, late = await start_with_silence(worker, batch_id, count=2, silent=1)
    assert await other.deliver(batch_id) == "busy"
    assert await worker.deliver(batch_id) == "busy"
    late.come.set()
    assert await delivering == "sent 2"
    assert other.transport.requests == []


async def test_a_killed_worker_costs_only_what_was_in_flight(bench: Bench) -> None:
    """After a kill the next owner sends again exactly what had no answer, under the same apns ids."""
    killed, other = await bench.worker(), await bench.worker()
    batch_id = await bench.put(make_record(count=120))
    delivering, _ = await start_with_silence(killed, batch_id, count=120, silent=7)
    await until(lambda: bench.done(batch_id).count("1") == 113)
    killed.state.is_killed = True
    bench.advance(LEASE_S + 1)
    assert await bench.sweep() == [batch_id]
    assert await other.deliver(batch_id) == "sent 7"
    assert sorted(other.transport.apns_ids) == [ids.apns_id_of(batch_id, index) for index in range(113, 120)]
    assert bench.counters()["delivered"] == 120
    assert bench.leftovers() == set()
    delivering.cancel()


async def test_a_worker_that_lost_its_lease_writes_nothing(bench: Bench) -> None:
    """A stalled worker that wakes up after its lease changes nothing, and opens no stream any more."""
    stalled, other = await bench.worker(), await bench.worker()
    batch_id = await bench.put(make_record(count=3))
    stalled.transport.streams_free.clear()
    delivering = stalled.start(batch_id)
    await until(lambda: stalled.transport.waiting == 3)
    bench.advance(LEASE_S + 1)
    assert await bench.sweep() == [batch_id]
    stalled.transport.streams_free.set()
    assert await delivering == "given back 3"
    assert stalled.transport.requests == []
    assert bench.where(batch_id) == {"queued"}, "the claim that was lost cannot put the batch anywhere"
    assert await other.deliver(batch_id) == "sent 3"


async def test_late_answers_under_a_lost_lease_are_dropped(bench: Bench) -> None:
    """What a former owner hears after another took over is not counted: the new owner counts its own."""
    former, owner = await bench.worker(), await bench.worker()
    batch_id = await bench.put(make_record(count=2))
    formerly, late = await start_with_silence(former, batch_id, count=2, silent=2)
    bench.advance(LEASE_S + 1)
    await bench.sweep()
    owners = Late()
    owner.transport.script(device_tokens(2), owners)
    now = owner.start(batch_id)
    await until(lambda: owner.transport.requests)
    late.come.set()
    assert await formerly == "sent 2"
    assert bench.counters() == {"accepted": 2}
    assert bench.where(batch_id) == {"leased"}
    owners.come.set()
    assert await now == "sent 2"
    assert bench.counters() == {"accepted": 2, "delivered": 2}


async def test_a_lost_lease_is_noticed_with_the_next_note(bench: Bench) -> None:
    """Once a note was refused the worker opens no stream, even before its own clock says the lease is over."""
    former, owner = await bench.worker(), await bench.worker()
    batch_id = await bench.put(make_record(count=2))
    heard = Late()
    former.transport.script(device_tokens(1), heard)
    former.transport.script(device_tokens(2)[1:], Late())
    formerly = former.start(batch_id)
    await until(lambda: len(former.transport.requests) == 2)
    in_flight = former.transport.requests[1]
    bench.redis.hset(redis_keys.claim(SHARD, batch_id), "lease", 0)  # as the state server sees it when it is over
    owners = Late()
    owner.transport.script(device_tokens(2), owners)
    now = owner.start(batch_id)
    await until(lambda: owner.transport.requests)
    assert in_flight.may_open()
    heard.come.set()
    await until(lambda: not in_flight.may_open())
    assert not formerly.done()
    owners.come.set()
    assert await now == "sent 2"
    assert bench.counters()["delivered"] == 2


async def test_a_cancelled_worker_gives_back_what_it_did_not_hear(bench: Bench) -> None:
    """A delivery that is cut off notes every answer it has, and the rest is due at once for another."""
    worker, other = await bench.worker(), await bench.worker()
    batch_id = await bench.put(make_record(count=10))
    delivering, _ = await start_with_silence(worker, batch_id, count=10, silent=3)
    delivering.cancel()
    await asyncio.wait([delivering])
    assert delivering.cancelled()
    assert bench.done(batch_id) == "1111111000"
    assert bench.where(batch_id) == {"due"}
    assert await bench.sweep() == [batch_id]
    assert await other.deliver(batch_id) == "sent 3"


async def test_a_quiet_batch_keeps_its_lease(bench: Bench) -> None:
    """While nothing is answered the lease is renewed by itself, in time for the lane's short one."""
    worker = await bench.worker()
    batch_id = await bench.put(make_record(push_type="voip"), lane=Lane.VOIP)
    late = Late()
    worker.transport.script(device_tokens(1), late)
    delivering = worker.start(batch_id, lane=Lane.VOIP)
    await until(lambda: worker.transport.requests)
    leased = redis_keys.leased(SHARD, Lane.VOIP)
    first = bench.redis.zscore(leased, batch_id)
    await until(lambda: bench.redis.zscore(leased, batch_id) > first + 1)
    late.come.set()
    assert await delivering == "sent 1"
