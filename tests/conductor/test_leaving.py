"""Whether a push may leave is decided at the moment its stream opens."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.feedback import Outcome
from dispatcher.push_types import Lane
from dispatcher.record import Record
from tests.conductor.conftest import Bench, Worker, device_tokens, make_record, until
from tests.conductor.scripted_transport import BUSY, Late
from workers.lease import LANE_TIMES


async def start_waiting(worker: Worker, batch_id: str, lane: Lane, *, count: int = 1) -> asyncio.Task[str]:
    """Begin to deliver a batch, and return when all its pushes wait for a stream."""
    worker.transport.streams_free.clear()
    delivering = worker.start(batch_id, lane=lane)
    await until(lambda: worker.transport.waiting == count)
    return delivering


def call(expires_in: float = 1.0) -> Record:
    """Return the record of a call that rings for a second, or as long as told."""
    return make_record(push_type="voip", expires_in=expires_in)


async def test_a_call_never_leaves_after_its_time(bench: Bench) -> None:
    """A call whose time runs out while it waits for a stream is reported expired, and never leaves."""
    worker = await bench.worker()
    batch_id = await bench.put(call(), lane=Lane.VOIP)
    delivering = await start_waiting(worker, batch_id, Lane.VOIP)
    bench.advance(1.1)
    worker.transport.streams_free.set()
    assert await delivering == "expired 1"
    assert worker.transport.requests == []
    (told,) = bench.feedback()
    assert (told.outcome, told.apns_id, told.status) == (Outcome.EXPIRED, batch_id, 0)
    assert bench.leftovers() == set()


async def test_a_call_leaves_within_its_time(bench: Bench) -> None:
    """A call that gets its stream in time leaves."""
    worker = await bench.worker()
    batch_id = await bench.put(call(), lane=Lane.VOIP)
    delivering = await start_waiting(worker, batch_id, Lane.VOIP)
    bench.advance(0.5)
    worker.transport.streams_free.set()
    assert await delivering == "sent 1"


async def test_nothing_leaves_after_its_expiration(bench: Bench) -> None:
    """A push whose apns-expiration passed in the queue is not sent to be thrown away by Apple."""
    worker = await bench.worker()
    expiration = int(bench.clock.now()) + 60
    batch_id = await bench.put(make_record(count=2, expiration=expiration))
    bench.advance(61)
    assert await worker.deliver(batch_id) == "expired 2"
    assert worker.transport.requests == []
    assert [told.outcome for told in bench.feedback()] == [Outcome.EXPIRED] * 2


async def test_expiration_zero_is_no_deadline(bench: Bench) -> None:
    """apns-expiration 0 forbids Apple to store the push, and does not keep us from sending it."""
    worker = await bench.worker()
    batch_id = await bench.put(make_record(expiration=0))
    bench.advance(3600)
    assert await worker.deliver(batch_id) == "sent 1"


async def test_no_retry_is_planned_beyond_expiry(bench: Bench) -> None:
    """What Apple asks to try again later than its time has expired at once, with Apple's reason."""
    worker = await bench.worker()
    worker.transport.script(device_tokens(1), BUSY)
    assert await worker.deliver(await bench.put(make_record(expires_in=30.0))) == "expired 1"
    (told,) = bench.feedback()
    assert (told.outcome, told.reason) == (Outcome.EXPIRED, "ServiceUnavailable")


async def test_a_stopping_worker_gives_its_batch_back(bench: Bench) -> None:
    """What a stopping worker has not sent is due at once for another, and no attempt is used."""
    stopping, other = await bench.worker(), await bench.worker()
    batch_id = await bench.put(make_record(count=3))
    delivering = await start_waiting(stopping, batch_id, Lane.ALERT, count=3)
    stopping.has_stopped = True
    stopping.transport.streams_free.set()
    assert await delivering == "given back 3"
    assert stopping.transport.requests == []
    assert bench.where(batch_id) == {"due"}
    assert bench.counters() == {"accepted": 3}
    assert await bench.sweep() == [batch_id]
    assert await other.deliver(batch_id) == "sent 3"


async def test_a_stopping_worker_keeps_what_it_got(bench: Bench) -> None:
    """Pushes already on their way when a worker stops are answered and noted; only the others go back."""
    worker = await bench.worker()
    late = Late()
    worker.transport.script(device_tokens(1), late)
    batch_id = await bench.put(make_record(count=1))
    delivering = worker.start(batch_id)
    await until(lambda: worker.transport.requests)
    worker.has_stopped = True
    late.come.set()
    assert await delivering == "sent 1"


@pytest.mark.parametrize("lane", [Lane.VOIP, Lane.ALERT])
async def test_no_stream_opens_near_the_end_of_a_lease(bench: Bench, lane: Lane) -> None:
    """A push that could not be answered before the lease ends does not leave under it; it is due at once again."""
    worker = await bench.worker()
    batch_id = await bench.put(make_record(push_type=lane), lane=lane)
    delivering = await start_waiting(worker, batch_id, lane)
    times = LANE_TIMES[lane]
    bench.advance(times.lease_s - times.deadline_s)
    worker.transport.streams_free.set()
    assert await delivering == "given back 1"
    assert worker.transport.requests == []
    assert bench.where(batch_id, lane=lane) == {"due"}


async def test_an_answer_renews_the_lease(bench: Bench) -> None:
    """While answers come in the lease is renewed, so a batch may take longer than one lease."""
    worker = await bench.worker()
    heard, waited_for = Late(), Late()
    worker.transport.script(device_tokens(1), heard)
    worker.transport.script(device_tokens(2)[1:], waited_for)
    batch_id = await bench.put(make_record(count=2))
    delivering = worker.start(batch_id)
    await until(lambda: len(worker.transport.requests) == 2)
    bench.advance(LANE_TIMES[Lane.ALERT].lease_s - 5)
    assert not worker.transport.requests[1].may_open()
    heard.come.set()
    await until(worker.transport.requests[1].may_open)
    bench.advance(10)
    assert await bench.sweep() == [], "without the answer the claim would be over"
    waited_for.come.set()
    assert await delivering == "sent 2"
