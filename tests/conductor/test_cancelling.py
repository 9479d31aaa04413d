"""What a worker does with notifications that are cancelled in its hands."""

from __future__ import annotations

from dispatcher import ids, lookup, redis_keys
from dispatcher.cancellation import Cancellation
from dispatcher.feedback import Outcome
from dispatcher.push_types import Lane
from tests.conductor.conftest import SHARD, Bench, device_tokens, make_record, until
from tests.conductor.scripted_transport import ACCEPTED, BUSY, Late
from workers.lease import LANE_TIMES


async def cancel(bench: Bench, batch_id: str, index: int = 0) -> Cancellation:
    """Cancel a notification."""
    return await bench.state.run(lookup.cancel(batch_id, index))


def renewals(bench: Bench, batch_id: str) -> float:
    """Return when a call's lease ends."""
    return float(bench.redis.zscore(redis_keys.leased(SHARD, Lane.VOIP), batch_id))


async def test_a_call_that_waits_for_a_stream_is_stopped(bench: Bench) -> None:
    """A call cancelled while it waits for a stream never leaves, and ends as cancelled."""
    worker = await bench.worker()
    worker.transport.streams_free.clear()
    batch_id = await bench.put(make_record(push_type="voip"), lane=Lane.VOIP)
    delivering = worker.start(batch_id, lane=Lane.VOIP)
    await until(lambda: worker.transport.waiting)
    assert await cancel(bench, batch_id) is Cancellation.BEING_SENT
    for _ in range(2):  # with the second renewal the reply to the first has been read
        before = renewals(bench, batch_id)
        await until(lambda before=before: renewals(bench, batch_id) > before)  # type: ignore[misc]
    worker.transport.streams_free.set()
    assert await delivering == "cancelled 1"
    assert worker.transport.requests == []
    assert [told.outcome for told in bench.feedback()] == [Outcome.CANCELLED]
    assert bench.leftovers() == set()


async def test_what_has_left_is_not_tried_again(bench: Bench) -> None:
    """Of two that were cancelled in flight, the one that Apple took is delivered, the other never tried again."""
    worker = await bench.worker()
    taken, refused = Late(answer=ACCEPTED), Late(answer=BUSY)
    worker.transport.script(device_tokens(2)[:1], taken)
    worker.transport.script(device_tokens(2)[1:], refused)
    batch_id = await bench.put(make_record(count=2))
    delivering = worker.start(batch_id)
    await until(lambda: len(worker.transport.requests) == 2)
    assert [await cancel(bench, batch_id, index) for index in range(2)] == [Cancellation.BEING_SENT] * 2
    taken.come.set()
    refused.come.set()
    await delivering
    assert [(told.outcome, told.apns_id) for told in bench.feedback()] == [
        (Outcome.CANCELLED, ids.apns_id_of(batch_id, 1))
    ]
    assert (bench.counters()["delivered"], bench.counters()["cancelled"]) == (1, 1)
    assert bench.leftovers() == set()


async def test_the_next_worker_hears_of_it(bench: Bench) -> None:
    """What was cancelled in the hands of a worker that died is ended by the next, and does not leave again."""
    killed, other = await bench.worker(), await bench.worker()
    killed.transport.script(device_tokens(3), Late())
    batch_id = await bench.put(make_record(count=3))
    killed.start(batch_id)
    await until(lambda: len(killed.transport.requests) == 3)
    await cancel(bench, batch_id, 1)
    killed.state.is_killed = True
    bench.advance(LANE_TIMES[Lane.ALERT].lease_s + 1)
    await bench.sweep()
    assert await other.deliver(batch_id) == "sent 2, cancelled 1"
    assert other.transport.apns_ids == [batch_id, ids.apns_id_of(batch_id, 2)]
    assert [told.outcome for told in bench.feedback()] == [Outcome.CANCELLED]
