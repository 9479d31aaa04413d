"""What is paused waits in a place of its own, uses up nothing, and goes on or expires."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from dispatcher import outbox, redis_keys, sweeping
from dispatcher.push_types import Lane
from dispatcher.routing import BULK_QUEUE
from tests.conductor.conftest import APP, SHARD, Bench, Worker, device_tokens, make_record
from tests.conductor.scripted_transport import BUSY


class Paused:
    """Pauses everything.

    Attributes:
        probes: How many notifications may be sent all the same.
    """

    def __init__(self, *, probes: int = 0) -> None:
        self.probes = probes

    def is_paused(self, app: str, lane: Lane) -> bool:  # noqa: ARG002
        """Tell that it is."""
        return True

    async def take_probe(self, app: str, lane: Lane) -> bool:  # noqa: ARG002
        """Allow as many as there are left."""
        self.probes -= 1
        return self.probes >= 0


async def paused_worker(bench: Bench, *, probes: int = 0) -> Worker:
    """Start a worker for which everything is paused."""
    worker = await bench.worker()
    sending = replace(worker.edges.sending, pauses=Paused(probes=probes))
    worker.edges = replace(worker.edges, sending=sending)
    return worker


def parked_until(bench: Bench, batch_id: str) -> float:
    """Return when a parked batch is to be looked at."""
    return float(bench.redis.zscore(redis_keys.parked(SHARD, APP, Lane.ALERT), batch_id))


async def unpark(bench: Bench, *, before: float = inf) -> list[str]:
    """Put parked batches back; returns their ids."""
    call = sweeping.unpark(SHARD, APP, Lane.ALERT, before=before, most=100)
    return [message.batch_id for message in await bench.state.run(call)]


@pytest.mark.parametrize("queue", ["apns.alert", BULK_QUEUE])
async def test_a_paused_batch_is_parked_and_goes_on(bench: Bench, queue: str) -> None:
    """While its app is paused nothing of a batch leaves; it waits parked, uses no attempt, and is then sent whole."""
    worker, after = await paused_worker(bench), await bench.worker()
    batch_id = await bench.put(make_record(count=3), queue=queue)
    assert await worker.deliver(batch_id, queue=queue) == "parked 3"
    assert worker.transport.requests == []
    assert bench.where(batch_id) == {"parked"}
    assert parked_until(bench, batch_id) == inf
    assert await bench.sweep() == []
    assert await after.deliver(batch_id, queue=queue) == "waiting"
    (message,) = await bench.state.run(sweeping.unpark(SHARD, APP, Lane.ALERT, before=inf, most=100))
    assert (message.queue, message.batch_id) == (queue, batch_id)
    assert await after.deliver(batch_id, queue=queue) == "sent 3"
    assert bench.leftovers() == set()


async def test_what_expires_while_parked_is_told(bench: Bench) -> None:
    """A parked batch is looked at when its notifications expire, and they are reported though the pause goes on."""
    worker = await paused_worker(bench)
    batch_id = await bench.put(make_record(count=2, expires_in=600.0))
    accepted_at = bench.clock.now()
    await worker.deliver(batch_id)
    assert parked_until(bench, batch_id) == pytest.approx(accepted_at + 600, abs=2)
    assert await unpark(bench, before=bench.clock.now()) == []
    bench.advance(601)
    assert await unpark(bench, before=bench.clock.now()) == [batch_id]
    assert await worker.deliver(batch_id) == "expired 2"
    assert bench.counters()["expired"] == 2


async def test_one_probe_leaves(bench: Bench) -> None:
    """When it is time for a probe exactly one notification leaves; the others stay parked."""
    worker = await paused_worker(bench, probes=1)
    batch_id = await bench.put(make_record(count=5))
    assert await worker.deliver(batch_id) == "parked 4, sent 1"
    assert worker.transport.apns_ids == [batch_id]
    assert bench.done(batch_id) == "10000"
    await unpark(bench)
    assert await worker.deliver(batch_id) == "parked 4"


async def test_a_probe_that_fails_waits_with_the_others(bench: Bench) -> None:
    """A probe to be tried again keeps its attempts, and the whole batch stays parked."""
    worker = await paused_worker(bench, probes=1)
    worker.transport.script(device_tokens(1), BUSY)
    batch_id = await bench.put(make_record(count=2))
    await worker.deliver(batch_id)
    assert bench.where(batch_id) == {"parked"}
    await unpark(bench)
    claimed = await bench.state.run(outbox.claim(batch_id, "me", lane=Lane.ALERT, queue="apns.alert", lease_s=1))
    assert {index: waiting.attempts for index, waiting in claimed.waiting.items()} == {0: 1}
