"""What is due, left behind or lost is published again."""

from __future__ import annotations

import asyncio
import time

import pytest

from dispatcher import outbox, redis_keys, routing
from dispatcher.messages import Publisher, make_celery
from dispatcher.push_types import Lane
from dispatcher.sweeping import SWEEP_LIMIT, Message
from tests.conductor.conftest import APP, SHARD, Bench, make_record, until
from tests.conductor.recording_publisher import make_sweeper
from tests.conductor.scripted_transport import BUSY
from tests.conductor.test_dispatcher import messages
from workers.sweeper import MARKER_MARGIN_S, MARKER_PATIENCE_S, SWEEP_EVERY_S, Sweeper

QUEUE = "apns.alert"


async def test_what_is_due_is_published(bench: Bench) -> None:
    """A batch that waited for its next try is published, to its queue and with the line for Flower, when it is due."""
    worker = await bench.worker()
    sweeper, publisher = make_sweeper(bench)
    batch_id = await bench.put(make_record(count=2))
    worker.transport.script(make_record(count=2).device_tokens, BUSY)
    await worker.deliver(batch_id)
    await sweeper.sweep()
    assert publisher.messages == []
    bench.advance(3600)
    await sweeper.sweep()
    assert publisher.messages == [Message(queue=QUEUE, batch_id=batch_id, summary=f"{APP} 2")]
    await sweeper.sweep()
    assert len(publisher.messages) == 1, "it is queued now"


async def test_a_full_sweep_is_not_the_last(bench: Bench) -> None:
    """When more is due than one sweep moves, it says so, until everything is published once."""
    await bench.clock.compare()
    sweeper, publisher = make_sweeper(bench)
    stored = make_record()
    batch_ids = [await bench.put(stored) for _ in range(2 * SWEEP_LIMIT + 50)]
    claims = [outbox.claim(one, "dead", lane=Lane.ALERT, queue=QUEUE, lease_s=1) for one in batch_ids]
    await bench.state.run_all(claims)
    bench.advance(2)
    assert [await sweeper.sweep() for _ in range(3)] == [True, True, False]
    assert sorted(publisher.published()) == sorted(batch_ids)


async def test_a_backlog_of_the_dead_is_published_without_pause(bench: Bench) -> None:
    """As long as sweeps are full the next one follows at once."""
    await bench.clock.compare()
    sweeper, publisher = make_sweeper(bench)
    batch_ids = [await bench.put(make_record()) for _ in range(2 * SWEEP_LIMIT + 1)]
    claims = [outbox.claim(one, "dead", lane=Lane.ALERT, queue=QUEUE, lease_s=1) for one in batch_ids]
    await bench.state.run_all(claims)
    bench.advance(2)
    started = time.monotonic()
    sweeping = asyncio.create_task(sweeper.keep_sweeping())
    await until(lambda: len(publisher.messages) == len(batch_ids))
    assert time.monotonic() - started < 2 * SWEEP_EVERY_S
    sweeping.cancel()


async def test_a_marker_travels_as_a_task_of_its_own(bench: Bench, state_url: str) -> None:
    """On the broker a marker is a message in the queue it measures, with its time and nothing else."""
    await bench.clock.compare()
    publisher = Publisher(make_celery(state_url, timeout_s=1.0))
    sweeper = Sweeper(
        lane=Lane.ALERT, apps=(), state=bench.state, publisher=publisher, worker="host:1", now=bench.clock.now
    )
    await bench.put(make_record())
    bench.advance(MARKER_MARGIN_S + 1)
    await sweeper.sweep()
    await sweeper.sweep()
    publisher.close()
    (message,) = messages(bench.redis, QUEUE)
    queue, sent = message["args"]
    assert (message["task"], message["argsrepr"], queue) == (routing.MARKER_TASK, f"({QUEUE})", QUEUE)
    assert float(sent) == pytest.approx(bench.clock.now(), abs=2)


async def test_a_lost_message_comes_back(bench: Bench) -> None:
    """A marker sent through the queue shows which message was lost, and only that one is published again."""
    worker = await bench.worker()
    sweeper, publisher = make_sweeper(bench)
    lost_id = await bench.put(make_record())
    await sweeper.sweep()
    assert publisher.markers == [], "it may still be on its way"
    bench.advance(MARKER_MARGIN_S + 5)
    recent_id = await bench.put(make_record())
    await sweeper.sweep()
    ((queue, sent),) = publisher.markers
    assert queue == QUEUE
    bench.advance(2)
    assert (await sweeper.marker_out(queue, sent)).endswith("published again 1")
    assert publisher.published() == [lost_id]
    assert await worker.deliver(lost_id) == "sent 1"
    assert await worker.deliver(recent_id) == "sent 1"


async def test_a_backlog_is_not_lost(bench: Bench) -> None:
    """As long as the marker is still in the queue, so are the batches before it: nothing is published again."""
    await bench.clock.compare()
    sweeper, publisher = make_sweeper(bench)
    await bench.put(make_record())
    bench.advance(MARKER_MARGIN_S + 1)
    await sweeper.sweep()
    bench.advance(MARKER_PATIENCE_S - 1)
    await sweeper.sweep()
    assert (len(publisher.markers), publisher.messages) == (1, [])
    bench.advance(2)
    await sweeper.sweep()
    assert (len(publisher.markers), publisher.messages) == (2, []), "the marker itself may have been lost"


async def test_an_empty_queue_needs_no_marker(bench: Bench) -> None:
    """Where nothing waits no marker is sent."""
    worker = await bench.worker()
    sweeper, publisher = make_sweeper(bench)
    await worker.deliver(await bench.put(make_record()))
    bench.advance(3600)
    await sweeper.sweep()
    assert publisher.markers == []


async def test_a_marker_that_finds_nothing_publishes_nothing(bench: Bench) -> None:
    """When everything before a marker was claimed, the marker only measures the queue."""
    worker = await bench.worker()
    sweeper, publisher = make_sweeper(bench)
    batch_id = await bench.put(make_record())
    bench.advance(MARKER_MARGIN_S + 1)
    await sweeper.sweep()
    await worker.deliver(batch_id)
    bench.advance(3)
    assert (await sweeper.marker_out(*publisher.markers[0])).endswith("published again 0")
    assert publisher.messages == []
    assert float(bench.redis.hget(redis_keys.marker(QUEUE), "age")) == pytest.approx(3, abs=1)


async def test_both_queues_of_the_alert_lane_have_markers(bench: Bench) -> None:
    """A campaign's queue is measured by itself."""
    await bench.clock.compare()
    sweeper, publisher = make_sweeper(bench)
    for queue in routing.LANE_QUEUES[Lane.ALERT]:
        await bench.put(make_record(), queue=queue)
    bench.advance(MARKER_MARGIN_S + 1)
    await sweeper.sweep()
    assert [queue for queue, _ in publisher.markers] == list(routing.LANE_QUEUES[Lane.ALERT])


async def test_what_the_broker_did_not_take_is_published_later(bench: Bench) -> None:
    """A batch swept while the broker is away is found by a marker once it is back."""
    await bench.clock.compare()
    sweeper, publisher = make_sweeper(bench)
    batch_id = await bench.put(make_record())
    await bench.state.run(outbox.claim(batch_id, "dead", lane=Lane.ALERT, queue=QUEUE, lease_s=1))
    publisher.is_away = True
    bench.advance(2)
    await sweeper.sweep()
    publisher.is_away = False
    bench.advance(MARKER_MARGIN_S + 1)
    await sweeper.sweep()
    ((queue, sent),) = publisher.markers
    await sweeper.marker_out(queue, sent)
    assert publisher.published() == [batch_id]


async def test_a_marker_that_the_broker_did_not_take_is_not_waited_for(bench: Bench) -> None:
    """However long the broker was away, the first sweep after it is back sends a marker."""
    await bench.clock.compare()
    sweeper, publisher = make_sweeper(bench)
    await bench.put(make_record())
    publisher.is_away = True
    for _ in range(5):
        bench.advance(MARKER_MARGIN_S + 1)
        await sweeper.sweep()
    publisher.is_away = False
    await sweeper.sweep()
    assert len(publisher.markers) == 1


async def test_due_slots_wake_a_worker(bench: Bench) -> None:
    """A lost wake-up is found like any lost message, and only apps this fleet knows are looked after."""
    await bench.clock.compare()
    sweeper, publisher = make_sweeper(bench, lane=Lane.BACKGROUND)
    await bench.put_slot(make_record(push_type="background"))
    await sweeper.sweep()
    assert publisher.messages == [], "the producer's wake-up is on its way"
    bench.advance(MARKER_MARGIN_S + 1)
    await sweeper.sweep()
    ((queue, sent),) = publisher.markers
    await sweeper.marker_out(queue, sent)
    assert publisher.messages == [
        Message(queue="apns.background", batch_id=routing.wake_up_id(APP, SHARD), summary=f"{APP} wake-up")
    ]
