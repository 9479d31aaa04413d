"""A wake-up empties an app's due slots; the newest notification of a device is the one that leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dispatcher import record, redis_keys, routing
from dispatcher.errors import TransportError
from dispatcher.feedback import Outcome
from dispatcher.notification import Report
from dispatcher.push_types import Lane
from dispatcher.record import Record
from tests.conductor.conftest import APP, SHARD, Bench, Worker, make_record, until
from tests.conductor.scripted_transport import ACCEPTED, BUSY, UNREGISTERED, Late, Reply
from workers.lease import LANE_TIMES
from workers.slot_delivery import SLOTS_AT_ONCE

WAKE_UP = routing.wake_up_id(APP, SHARD)
DEVICE_TOKEN = "ab" * 32
LEASE_S = LANE_TIMES[Lane.BACKGROUND].lease_s


def update(device_token: str = DEVICE_TOKEN, **changes: Any) -> Record:
    """Return a background notification for one device."""
    return make_record(push_type="background", device_tokens=(device_token,), **changes)


async def wake(worker: Worker) -> str:
    """Let a worker do what a wake-up says."""
    return await worker.deliver(WAKE_UP, lane=Lane.BACKGROUND)


async def wake_with_silence(worker: Worker, *, sent: int) -> tuple[asyncio.Task[str], Late]:
    """Begin to do what a wake-up says; return when so many pushes have left, with one not answered."""
    late = Late()
    worker.transport.script([DEVICE_TOKEN], late, ACCEPTED)
    waking = worker.start(WAKE_UP, lane=Lane.BACKGROUND)
    await until(lambda: len(worker.transport.requests) == sent)
    return waking, late


async def test_only_the_newest_leaves(bench: Bench) -> None:
    """A hundred updates of one device are one push: the last, with its own apns id and payload."""
    worker = await bench.worker()
    for number in range(99):
        await bench.put_slot(update(payload=b'{"aps":{"content-available":1},"n":%d}' % number))
    newest = await bench.put_slot(update(payload=b'{"aps":{"content-available":1},"n":99}'))
    assert await wake(worker) == "sent 1"
    (request,) = worker.transport.requests
    assert (request.apns_id, request.payload) == (newest, b'{"aps":{"content-available":1},"n":99}')
    assert (request.topic, request.push_type, request.priority) == (APP, "background", 5)
    assert bench.counters() == {"accepted": 100, "superseded": 99, "delivered": 1}
    assert bench.leftovers() == set()


async def test_a_wake_up_empties_every_slot(bench: Bench) -> None:
    """One wake-up sends what is due for all devices, more than one claim takes, and each once."""
    worker = await bench.worker()
    count = SLOTS_AT_ONCE + 50
    for number in range(count):
        await bench.put_slot(update(f"{number:064x}"), device=f"{number:032x}")
    assert await wake(worker) == f"sent {count}"
    assert len(set(worker.transport.apns_ids)) == count
    assert bench.leftovers() == set()


async def test_one_that_comes_while_sending_leaves_afterwards(bench: Bench) -> None:
    """An update that arrives while its predecessor is on the way leaves after it, with the same wake-up."""
    worker = await bench.worker()
    first = await bench.put_slot(update())
    waking, late = await wake_with_silence(worker, sent=1)
    second = await bench.put_slot(update())
    late.come.set()
    assert await waking == "sent 2"
    assert worker.transport.apns_ids == [first, second]
    assert bench.counters() == {"accepted": 2, "delivered": 2}


async def test_a_retry_gives_way_to_a_newer_one(bench: Bench) -> None:
    """An update that has to be tried again is superseded by the newer one, which waits the time asked for."""
    worker = await bench.worker()
    await bench.put_slot(update(report=Report.EVERYTHING))
    late = Late(answer=BUSY)
    worker.transport.script([DEVICE_TOKEN], late, ACCEPTED)
    waking = worker.start(WAKE_UP, lane=Lane.BACKGROUND)
    await until(lambda: worker.transport.requests)
    newest = await bench.put_slot(update(report=Report.EVERYTHING))
    late.come.set()
    assert await waking == "retry 1"
    bench.advance(16 * 60)
    assert await wake(worker) == "sent 1"
    assert worker.transport.apns_ids[1:] == [newest]
    assert [told.outcome for told in bench.feedback()] == [Outcome.SUPERSEDED, Outcome.DELIVERED]
    assert bench.counters() == {"accepted": 2, "superseded": 1, "delivered": 1}


@pytest.mark.parametrize(
    ("reply", "delay_s"), [(BUSY, 15 * 60.0), (TransportError("no answer in time", maybe_sent=True), 5.0)]
)
async def test_retries_wait_in_their_slot(bench: Bench, reply: Reply, delay_s: float) -> None:
    """A slot to be tried again wakes a worker when its time has come, keeps its apns id and counts its attempts."""
    worker = await bench.worker()
    worker.transport.script([DEVICE_TOKEN], reply)
    apns_id = await bench.put_slot(update())
    assert await wake(worker) == "retry 1"
    bench.advance(delay_s - 1)
    assert await bench.sweep(Lane.BACKGROUND) == []
    bench.advance(2)
    for _ in range(4):
        assert await bench.sweep(Lane.BACKGROUND) == [WAKE_UP]
        assert await wake(worker) == "retry 1"
        bench.advance(2 * 3600)
    await bench.sweep(Lane.BACKGROUND)
    assert await wake(worker) == "dead-lettered 1"
    assert set(worker.transport.apns_ids) == {apns_id}
    (letter,) = bench.dead_letters()
    assert record.decode(letter.stored, letter.place, bench.sealing).device_tokens == (DEVICE_TOKEN,)
    assert bench.leftovers() == set()


async def test_failures_are_told(bench: Bench) -> None:
    """An update to a device that is gone ends its slot, and the app is told."""
    worker = await bench.worker()
    worker.transport.script([DEVICE_TOKEN], UNREGISTERED)
    apns_id = await bench.put_slot(update())
    assert await wake(worker) == "unregistered 1"
    (told,) = bench.feedback()
    assert (told.outcome, told.apns_id, told.device_token) == (Outcome.UNREGISTERED, apns_id, DEVICE_TOKEN)


async def test_a_stopping_worker_gives_slots_back(bench: Bench) -> None:
    """What a stopping worker has not sent stays in its slot, due at once, with no attempt used."""
    worker = await bench.worker()
    worker.transport.streams_free.clear()
    await bench.put_slot(update())
    waking = worker.start(WAKE_UP, lane=Lane.BACKGROUND)
    await until(lambda: worker.transport.waiting)
    worker.has_stopped = True
    worker.transport.streams_free.set()
    assert await waking == "given back 1"
    assert held(bench) == 1
    assert bench.counters() == {"accepted": 1}
    assert await wake(worker) == "nothing to do", "a stopping worker takes no slot"
    assert await wake(await bench.worker()) == "sent 1"


async def test_a_cancelled_worker_gives_slots_back(bench: Bench) -> None:
    """A wake-up that is cut off notes what was answered; the other slots are due at once."""
    worker = await bench.worker()
    for number in range(5):
        await bench.put_slot(update(f"{number:064x}"), device=f"{number:032x}")
    await bench.put_slot(update())
    waking, _ = await wake_with_silence(worker, sent=6)
    waking.cancel()
    await asyncio.wait([waking])
    assert (held(bench), bench.counters()["delivered"]) == (1, 5)
    assert await wake(await bench.worker()) == "sent 1"
    assert bench.leftovers() == set()


async def test_a_killed_worker_loses_no_slot(bench: Bench) -> None:
    """What a killed worker held is sent by the next wake-up, which the sweep publishes when the lease is over."""
    killed, other = await bench.worker(), await bench.worker()
    apns_id = await bench.put_slot(update())
    waking, late = await wake_with_silence(killed, sent=1)
    killed.state.is_killed = True
    late.come.set()
    assert await wake(other) == "nothing to do"
    bench.advance(LEASE_S + 1)
    assert WAKE_UP in await bench.sweep(Lane.BACKGROUND)
    assert await wake(other) == "sent 1"
    assert other.transport.apns_ids == [apns_id]
    assert not waking.done()


async def test_late_answers_under_a_lost_lease_are_dropped(bench: Bench) -> None:
    """What a stalled worker hears after another took its slot over is not counted."""
    stalled, other = await bench.worker(), await bench.worker()
    await bench.put_slot(update())
    waking, late = await wake_with_silence(stalled, sent=1)
    bench.advance(LEASE_S + 1)
    assert await wake(other) == "sent 1"
    late.come.set()
    await waking
    assert bench.counters() == {"accepted": 1, "delivered": 1}
    assert bench.leftovers() == set()


async def test_a_second_wake_up_finds_nothing(bench: Bench) -> None:
    """The same wake-up again, or one for an app and shard with no slot, finds nothing to do."""
    worker = await bench.worker()
    await bench.put_slot(update())
    assert await wake(worker) == "sent 1"
    assert await wake(worker) == "nothing to do"
    assert await worker.deliver(routing.wake_up_id("com.example.other", 9), lane=Lane.BACKGROUND) == "nothing to do"
    assert len(worker.transport.requests) == 1


async def test_an_unreadable_slot_does_not_stop_the_others(bench: Bench) -> None:
    """A slot that cannot be read is laid among the dead letters as it is; the others of its claim are sent."""
    worker = await bench.worker()
    unreadable = await bench.put_slot(b"no record at all", device="a" * 32)
    await bench.put_slot(update())
    assert await wake(worker) == "dead-lettered 1, sent 1"
    (letter,) = bench.dead_letters("unreadable")
    assert (letter.apns_id, letter.stored) == (unreadable, b"no record at all")
    assert bench.counters() == {"accepted": 2, "delivered": 1, "dead_lettered": 1}
    assert bench.leftovers() == set()


async def test_two_workers_share_the_slots(bench: Bench) -> None:
    """Two workers woken for the same app and shard never send the same slot."""
    one, two = await bench.worker(), await bench.worker()
    for number in range(3 * SLOTS_AT_ONCE):
        await bench.put_slot(update(f"{number:064x}"), device=f"{number:032x}")
    for worker in (one, two):
        worker.transport.streams_free.clear()
    waking = [worker.start(WAKE_UP, lane=Lane.BACKGROUND) for worker in (one, two)]
    await until(lambda: (one.transport.waiting, two.transport.waiting) == (SLOTS_AT_ONCE, SLOTS_AT_ONCE))
    for worker in (one, two):
        worker.transport.streams_free.set()
    await asyncio.gather(*waking)
    sent = one.transport.apns_ids + two.transport.apns_ids
    assert (len(sent), len(set(sent))) == (3 * SLOTS_AT_ONCE, 3 * SLOTS_AT_ONCE)
    assert bench.counters()["delivered"] == 3 * SLOTS_AT_ONCE
    assert bench.leftovers() == set()


def held(bench: Bench) -> int:
    """Return how many of the app's slots wait."""
    return int(bench.redis.zcard(redis_keys.held(SHARD, APP)))


async def test_a_wake_up_cut_off_is_published_at_once(bench: Bench) -> None:
    """When a worker is cut off while it drains, the next sweep wakes another one."""
    worker = await bench.worker()
    worker.transport.script([DEVICE_TOKEN], Late())
    await bench.put_slot(update())
    draining = worker.start(WAKE_UP, lane=Lane.BACKGROUND)
    await until(lambda: worker.transport.requests)
    draining.cancel()
    await asyncio.wait([draining])
    assert await bench.sweep(Lane.BACKGROUND) == [WAKE_UP]


async def test_a_wake_up_left_at_stop_is_published_at_once(bench: Bench) -> None:
    """When a worker stops with slots unsent, the next sweep wakes another one."""
    worker = await bench.worker()
    worker.transport.streams_free.clear()
    await bench.put_slot(update())
    draining = worker.start(WAKE_UP, lane=Lane.BACKGROUND)
    await until(lambda: worker.transport.waiting)
    worker.has_stopped = True
    worker.transport.streams_free.set()
    await draining
    assert await bench.sweep(Lane.BACKGROUND) == [WAKE_UP]


async def test_a_newer_one_over_an_unreadable_slot(bench: Bench) -> None:
    """A slot in which something unreadable waits takes a newer notification, which is sent."""
    worker = await bench.worker()
    await bench.put_slot(b"no record at all")
    await bench.put_slot(update())
    assert await wake(worker) == "sent 1"
    assert bench.counters() == {"accepted": 2, "delivered": 1, "superseded": 1}
