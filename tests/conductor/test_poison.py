"""What nobody can send or read ends, and holds up nothing else."""

from __future__ import annotations

import pytest

from dispatcher import redis_keys
from dispatcher.push_types import Lane
from tests.conductor.conftest import SHARD, Bench, device_tokens, make_record
from workers.lease import LANE_TIMES, Lease


async def test_a_mistake_in_the_worker_ends_one_notification(bench: Bench) -> None:
    """A notification that makes the worker fail uses up its attempts and is a dead letter; its batch goes on."""
    worker = await bench.worker()
    poison, healthy = device_tokens(2)
    worker.transport.script([poison], KeyError("canary"))
    batch_id = await bench.put(make_record(device_tokens=(poison, healthy)))
    results = []
    while bench.where(batch_id):
        results.append(await worker.deliver(batch_id))
        bench.advance(4000)
        await bench.sweep()
    assert results[0] in {"retry 1, sent 1", "sent 1, retry 1"}
    assert results[-1] == "dead-lettered 1"
    (letter,) = bench.dead_letters()
    assert (letter.device_token, letter.reason) == (poison, "failed in the worker (KeyError)")


@pytest.mark.parametrize(
    "stored",
    [
        b"garbage",
        b"",
        b"1.0 ",
        b"1.0 " + b"[" * 100_000 + b"\n{}",
    ],
    ids=["no time", "empty", "no record", "deep"],
)
async def test_whatever_lies_there_instead_of_a_record(bench: Bench, stored: bytes) -> None:
    """Whatever somebody wrote in a record's place is a dead letter and leaves nothing behind."""
    worker = await bench.worker()
    batch_id = await bench.put(make_record())
    bench.redis.set(redis_keys.batch(SHARD, batch_id), stored)
    assert await worker.deliver(batch_id) == "unreadable"
    assert len(bench.dead("unreadable")) == 1
    assert bench.leftovers() == set()


async def test_a_payload_that_is_no_text_can_be_buried(bench: Bench) -> None:
    """A dead letter is written even if somebody put bytes into the payload that are no UTF-8."""
    worker = await bench.worker()
    worker.transport.script(device_tokens(1), KeyError("again and again"))
    batch_id = await bench.put(make_record(payload=b"\xff\xfe"))
    while bench.where(batch_id):
        await worker.deliver(batch_id)
        bench.advance(4000)
        await bench.sweep()
    assert len(bench.dead()) == 1


async def test_an_unknown_app_does_not_keep_a_call_alive(bench: Bench) -> None:
    """A call of an app that this worker does not know expires like any other."""
    worker = await bench.worker()
    unknown = make_record(push_type="voip", expires_in=30.0, app="com.example.unknown")
    batch_id = await bench.put(unknown, lane=Lane.VOIP)
    bench.advance(31)
    assert await worker.deliver(batch_id, lane=Lane.VOIP) == "expired 1"


@pytest.mark.parametrize("lane", Lane)
def test_a_lease_is_renewed_while_streams_may_be_opened(lane: Lane) -> None:
    """A push that waits long for a stream keeps its claim: renewal comes before the gate closes."""
    times = LANE_TIMES[lane]
    assert Lease(times, lambda: 0.0).renew_every_s < times.lease_s - times.deadline_s
