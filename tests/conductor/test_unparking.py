"""What is parked in the background lane goes on after a pause, whichever way it came."""

from __future__ import annotations

from dispatcher import pausing, redis_keys, routing
from dispatcher.pausing import PausedBy, Scope
from dispatcher.push_types import Lane
from dispatcher.sweeping import SWEEP_LIMIT
from tests import worker_parts
from tests.conductor.conftest import APP, SHARD, Bench, make_record
from workers.pauses import FleetPauses
from workers.unparking import LOOK_EVERY_S, Unparker

PAUSE = Scope(app=APP)


async def test_batches_and_slots_of_the_background_lane_go_on(bench: Bench) -> None:
    """A slot and a batch of the same lane are parked, and both are put back when the pause ends."""
    await bench.clock.compare()
    apps = {APP: worker_parts.APP}
    pauses = FleetPauses(bench.state, apps=apps, host="one", scale=1.0, lift=lambda _scope: None)
    unparker = Unparker(lane=Lane.BACKGROUND, apps=apps, state=bench.state, pauses=pauses, now=bench.clock.now)
    await bench.state.run(pausing.pause(PAUSE, "by hand"))
    await pauses.refresh()
    worker = await bench.worker()
    worker.pause_with(pauses)
    batch_id = await bench.put(make_record(push_type="widgets"), lane=Lane.BACKGROUND)
    await bench.put_slot(make_record(push_type="background"))
    wake_up = routing.wake_up_id(APP, SHARD)
    assert await worker.deliver(batch_id, lane=Lane.BACKGROUND) == "parked 1"
    assert await worker.deliver(wake_up, lane=Lane.BACKGROUND) == "parked 1"
    parked = [redis_keys.parked(SHARD, APP, Lane.BACKGROUND), redis_keys.slot_parked(SHARD, APP)]
    assert [bench.redis.zcard(each) for each in parked] == [1, 1]
    await unparker.sweep()
    assert [bench.redis.zcard(each) for each in parked] == [1, 1]
    await bench.state.run(pausing.resume(PAUSE, by=PausedBy.OPERATOR))
    await pauses.refresh()
    bench.advance(LOOK_EVERY_S + 1)
    published = {message.batch_id for message in await unparker.sweep()}
    assert published == {batch_id, wake_up}
    assert [bench.redis.zcard(each) for each in parked] == [0, 0]
    assert [await worker.deliver(each, lane=Lane.BACKGROUND) for each in (batch_id, wake_up)] == ["sent 1", "sent 1"]


async def test_more_than_one_sweep_moves(bench: Bench) -> None:
    """Very many parked slots are put back sweep by sweep, without waiting in between."""
    await bench.clock.compare()
    apps = {APP: worker_parts.APP}
    pauses = FleetPauses(bench.state, apps=apps, host="one", scale=1.0, lift=lambda _scope: None)
    unparker = Unparker(lane=Lane.BACKGROUND, apps=apps, state=bench.state, pauses=pauses, now=bench.clock.now)
    stored = make_record(push_type="background")
    devices = [f"{number:032x}" for number in range(2 * SWEEP_LIMIT + 1)]
    for device in devices:
        await bench.put_slot(stored, device=device)
    parked, held = redis_keys.slot_parked(SHARD, APP), redis_keys.held(SHARD, APP)
    bench.redis.zunionstore(parked, [held])
    bench.redis.delete(held)
    for left in (SWEEP_LIMIT + 1, 1, 0):
        await unparker.sweep()
        assert bench.redis.zcard(parked) == left
    assert bench.redis.zcard(held) == len(devices)
