"""What a worker's tries mean for the next background notification of the device."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from dispatcher import redis_keys, routing, slots
from dispatcher.errors import TransportError
from dispatcher.feedback import Outcome
from dispatcher.push_types import Lane
from dispatcher.record import Record
from tests.conductor.conftest import APP, SHARD, Bench, Worker, make_record, until
from tests.conductor.scripted_transport import BUSY, UNREGISTERED, Late, Reply
from workers.lease import LANE_TIMES
from workers.transport.port import ApnsAnswer

WAKE_UP = routing.wake_up_id(APP, SHARD)
DEVICE = "d" * 32
DEVICE_TOKEN = "ab" * 32
LEASE_S = LANE_TIMES[Lane.BACKGROUND].lease_s
SPACING_S = 1200.0


class EverythingPaused:
    """Everything is paused until the test says otherwise; so many probes may be sent."""

    def __init__(self, probes: int) -> None:
        self.is_over = False
        self.probes = probes

    def is_paused(self, app: str, lane: Lane) -> bool:
        """Tell whether the pause goes on."""
        assert (app, lane) == (APP, Lane.BACKGROUND)
        return not self.is_over

    async def take_probe(self, app: str, lane: Lane) -> bool:
        """Give a probe if one is left."""
        assert self.is_paused(app, lane)
        self.probes -= 1
        return self.probes >= 0


def update(device_token: str = DEVICE_TOKEN, **changes: Any) -> Record:
    """Return a background notification."""
    return make_record(push_type="background", device_tokens=(device_token,), **changes)


async def wake(worker: Worker) -> str:
    """Let a worker do what a wake-up says."""
    return await worker.deliver(WAKE_UP, lane=Lane.BACKGROUND)


async def until_sent(worker: Worker, count: int) -> None:
    """Wait until so many pushes have left a worker."""
    await until(lambda: len(worker.transport.requests) == count)


async def next_in(bench: Bench) -> float:
    """Put a newer notification; return in how many seconds it is due."""
    apns_id = await bench.put_slot(update(), spacing_s=SPACING_S)
    status = await bench.state.run(slots.status(SHARD, apns_id))
    assert status is not None
    return max(0.0, status.allowed - status.accepted_at)


async def test_the_newest_leaves_when_the_budget_allows(bench: Bench) -> None:
    """Ten updates within the spacing are two pushes: the first at once, the newest when the sweep finds it due."""
    worker = await bench.worker()
    first = await bench.put_slot(update(), spacing_s=SPACING_S)
    assert await wake(worker) == "sent 1"
    *_, newest = [await bench.put_slot(update(), spacing_s=SPACING_S) for _ in range(9)]
    assert await wake(worker) == "nothing to do"
    bench.advance(SPACING_S + 1)
    assert await bench.sweep(Lane.BACKGROUND) == [WAKE_UP]
    assert await wake(worker) == "sent 1"
    assert worker.transport.apns_ids == [first, newest]
    assert bench.leftovers() == set()


@pytest.mark.parametrize(
    ("reply", "wait_s"),
    [
        (ApnsAnswer(status=200), SPACING_S),
        (UNREGISTERED, 0.0),
        (ApnsAnswer(status=400, reason="BadCollapseId"), 0.0),
        (ApnsAnswer(status=429, reason="TooManyRequests"), 60.0),
        (BUSY, 900.0),
        (TransportError("connection refused", maybe_sent=False), 3.0),
        (TransportError("no answer in time", maybe_sent=True), SPACING_S),
    ],
    ids=lambda value: str(getattr(value, "reason", "")),
)
async def test_only_what_may_have_arrived_uses_the_budget(bench: Bench, reply: Reply, wait_s: float) -> None:
    """What Apple took or may have taken uses up the budget; what was turned away only waits for its retry."""
    worker = await bench.worker()
    worker.transport.script([DEVICE_TOKEN], reply)
    await bench.put_slot(update(), spacing_s=SPACING_S)
    await wake(worker)
    assert await next_in(bench) == pytest.approx(wait_s, abs=2)


async def test_a_silence_that_outlives_its_push_uses_the_budget(bench: Bench) -> None:
    """A push that ends as expired because no answer came in time may have arrived all the same."""
    worker = await bench.worker()
    worker.transport.script([DEVICE_TOKEN], TransportError("no answer in time", maybe_sent=True))
    await bench.put_slot(update(expires_in=4.0), spacing_s=SPACING_S, expires_in=4.0)
    assert await wake(worker) == "expired 1"
    assert await next_in(bench) == pytest.approx(SPACING_S, abs=2)


async def test_what_was_cut_off_uses_the_budget(bench: Bench) -> None:
    """A push cut off on its way is due again at once; a newer one waits for the spacing."""
    worker = await bench.worker()
    worker.transport.script([DEVICE_TOKEN], Late())
    apns_id = await bench.put_slot(update(), spacing_s=SPACING_S)
    waking = worker.start(WAKE_UP, lane=Lane.BACKGROUND)
    await until(lambda: worker.transport.requests)
    waking.cancel()
    await asyncio.wait([waking])
    status = await bench.state.run(slots.status(SHARD, apns_id))
    assert status is not None
    assert status.allowed == status.accepted_at
    assert await next_in(bench) == pytest.approx(SPACING_S, abs=2)


async def test_what_was_not_sent_at_a_stop_uses_none(bench: Bench) -> None:
    """What a stopping worker gives back unsent leaves the budget as it was."""
    worker = await bench.worker()
    worker.transport.streams_free.clear()
    await bench.put_slot(update(), spacing_s=SPACING_S)
    waking = worker.start(WAKE_UP, lane=Lane.BACKGROUND)
    await until(lambda: worker.transport.waiting)
    worker.has_stopped = True
    worker.transport.streams_free.set()
    await waking
    assert await next_in(bench) == 0


async def test_what_expires_while_held_is_reported(bench: Bench) -> None:
    """A held notification whose time is over is not sent; the app is told."""
    worker = await bench.worker()
    await bench.put_slot(update(), spacing_s=SPACING_S)
    await wake(worker)
    apns_id = await bench.put_slot(update(expires_in=60.0), spacing_s=SPACING_S, expires_in=60.0)
    bench.advance(61)
    assert await bench.sweep(Lane.BACKGROUND) == [WAKE_UP]
    assert await wake(worker) == "expired 1"
    assert len(worker.transport.requests) == 1
    assert [(told.outcome, told.apns_id) for told in bench.feedback()] == [(Outcome.EXPIRED, apns_id)]
    assert bench.leftovers() == set()


async def test_what_kills_workers_becomes_a_dead_letter(bench: Bench) -> None:
    """A notification over which three workers died is not sent a fourth time; what was claimed with it is sent."""
    poison = await bench.put_slot(update())
    neighbour = await bench.put_slot(update("cd" * 32), device="e" * 32)
    cut_off = []
    for in_hand in (2, 1, 1):
        killed = await bench.worker()
        killed.transport.script([DEVICE_TOKEN, "cd" * 32], Late())
        cut_off.append(killed.start(WAKE_UP, lane=Lane.BACKGROUND))
        await until_sent(killed, in_hand)
        assert poison in killed.transport.apns_ids
        killed.state.is_killed = True
        bench.advance(LEASE_S + 1)
    last = await bench.worker()
    assert sorted((await wake(last)).split(", ")) == ["dead-lettered 1", "sent 1"]
    assert last.transport.apns_ids == [neighbour]
    (letter,) = bench.dead()
    assert (letter["apns_id"], letter["reason"]) == (poison, "its worker died 3 times")
    assert bench.counters() == {"accepted": 2, "delivered": 1, "dead_lettered": 1}
    assert bench.leftovers() == set()
    assert not any(task.done() for task in cut_off)


async def test_tries_are_remembered(bench: Bench) -> None:
    """A slot keeps when and why its notification was tried, for the dead letter it may become."""
    worker = await bench.worker()
    worker.transport.script([DEVICE_TOKEN], BUSY)
    await bench.put_slot(update())
    for _ in range(2):
        await wake(worker)
        bench.advance(3 * 3600)
        await bench.sweep(Lane.BACKGROUND)
    history = bench.redis.hget(redis_keys.slot(SHARD, DEVICE), "history").decode()
    times, reasons = zip(*(entry.split(" ", 1) for entry in history.split("; ")), strict=True)
    assert reasons == ("ServiceUnavailable", "ServiceUnavailable")
    assert int(times[1]) - int(times[0]) == pytest.approx(3 * 3600, abs=2)


async def test_slots_of_a_paused_app_are_parked(bench: Bench) -> None:
    """While an app is paused its slots are set aside, all but one probe, and go on when the pause is over."""
    worker = await bench.worker()
    pauses = EverythingPaused(probes=1)
    worker.edges = replace(worker.edges, sending=replace(worker.edges.sending, pauses=pauses))
    for number in range(5):
        await bench.put_slot(update(f"{number:064x}"), device=f"{number:032x}")
    summary = await wake(worker)
    assert sorted(summary.split(", ")) == ["parked 4", "sent 1"]
    assert await bench.sweep(Lane.BACKGROUND) == []
    pauses.is_over = True
    (wake_up,) = await bench.state.run(slots.unpark(SHARD, APP, before=float("inf"), most=10))
    assert wake_up.batch_id == WAKE_UP
    assert await wake(worker) == "sent 4"
    assert len(set(worker.transport.apns_ids)) == 5
    assert bench.leftovers() == set()
