"""A notification of which workers die is found out and laid aside, and its batch goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from dispatcher import ids, outbox, redis_keys
from dispatcher.feedback import Outcome
from dispatcher.push_types import Lane
from tests.conductor.conftest import SHARD, Bench, Worker, device_tokens, make_record, until
from tests.conductor.scripted_transport import BUSY, Late, ScriptedTransport
from workers.endings import MAX_CRASHES
from workers.lease import LANE_TIMES
from workers.transport.port import ApnsAnswer, PushRequest

LEASE_S = LANE_TIMES[Lane.ALERT].lease_s


class Deadly(ScriptedTransport):
    """Kills its worker with the push to one device; after that nothing is answered."""

    def __init__(self, worker: Worker, device_token: str) -> None:
        super().__init__()
        self._worker = worker
        self._device_token = device_token

    async def send(self, request: PushRequest) -> ApnsAnswer:
        """Answer as long as the worker lives."""
        self._worker.state.is_killed |= request.device_token == self._device_token
        if self._worker.state.is_killed:
            self.requests.append(request)
            await asyncio.Event().wait()
        return await super().send(request)


async def die_of(bench: Bench, batch_id: str, device_token: str, *, lane: Lane = Lane.ALERT) -> list[str]:
    """Let a worker die of one device's push; returns the apns ids of what left, once its batch is queued again."""
    worker = await bench.worker()
    transport = Deadly(worker, device_token)
    worker.edges = replace(worker.edges, sending=replace(worker.edges.sending, transport=transport))
    worker.start(batch_id, lane=lane)
    await until(lambda: worker.state.is_killed)
    bench.advance(LEASE_S + 1)
    assert await bench.sweep(lane) == [batch_id]
    return transport.apns_ids


async def test_three_deaths_are_enough(bench: Bench) -> None:
    """After three deaths the culprit is a dead letter with its reason, and every other one has been sent."""
    tokens = device_tokens(6)
    batch_id = await bench.put(make_record(count=6))
    culprit = ids.apns_id_of(batch_id, 3)
    await die_of(bench, batch_id, tokens[3])
    careful = [*await die_of(bench, batch_id, tokens[3]), *await die_of(bench, batch_id, tokens[3])]
    healthy = await bench.worker()
    assert await healthy.deliver(batch_id) == "sent 2, dead-lettered 1"
    left = Counter([*careful, *healthy.transport.apns_ids])
    assert left == {culprit: 2} | {ids.apns_id_of(batch_id, index): 1 for index in (0, 1, 2, 4, 5)}
    (letter,) = bench.dead_letters()
    assert (letter.apns_id, letter.device_token) == (culprit, tokens[3])
    assert letter.reason == f"its worker died {MAX_CRASHES} times"
    assert [(told.outcome, told.apns_id) for told in bench.feedback()] == [(Outcome.DEAD_LETTERED, culprit)]
    assert bench.counters() == {"accepted": 6, "delivered": 5, "dead_lettered": 1}
    assert bench.leftovers() == set()


@pytest.mark.parametrize("lane", [Lane.ALERT, Lane.VOIP])
async def test_one_alone_is_to_blame(bench: Bench, lane: Lane) -> None:
    """A notification that is a batch of its own has three tries at its worker's life, no more."""
    batch_id = await bench.put(make_record(push_type=lane), lane=lane)
    for _ in range(MAX_CRASHES):
        assert await die_of(bench, batch_id, device_tokens(1)[0], lane=lane) == [batch_id]
    healthy = await bench.worker()
    assert await healthy.deliver(batch_id, lane=lane) == "dead-lettered 1"
    assert healthy.transport.requests == []


async def test_deaths_between_answers_count_too(bench: Bench) -> None:
    """A worker that dies late, when all others have been answered and noted, died of the one that is left."""
    tokens = device_tokens(4)
    batch_id = await bench.put(make_record(count=4))
    for number in range(MAX_CRASHES):
        worker = await bench.worker()
        worker.transport.script(tokens[:1], Late())
        worker.start(batch_id)
        await until(lambda worker=worker: tokens[0] in {each.device_token for each in worker.transport.requests})  # type: ignore[misc]
        await until(lambda: bench.done(batch_id) == "0111")
        assert len(worker.transport.requests) == (4 if number == 0 else 1)
        worker.state.is_killed = True
        bench.advance(LEASE_S + 1)
        await bench.sweep()
    healthy = await bench.worker()
    assert await healthy.deliver(batch_id) == "dead-lettered 1"
    assert bench.counters()["delivered"] == 3


async def test_innocent_ones_are_sent_together_again(bench: Bench) -> None:
    """Once all were tried by themselves and nobody died, the batch is sent all at once as before."""
    batch_id = await bench.put(make_record(count=3))
    await die_of(bench, batch_id, device_tokens(3)[2])
    careful, normal = await bench.worker(), await bench.worker()
    careful.transport.script(device_tokens(3), BUSY)
    assert await careful.deliver(batch_id) == "retry 3"
    bench.advance(4000)
    assert await bench.sweep() == [batch_id]
    late = Late()
    normal.transport.script(device_tokens(3), late)
    delivering = normal.start(batch_id)
    await until(lambda: len(normal.transport.requests) == 3)
    late.come.set()
    assert await delivering == "sent 3"


async def test_care_outlives_a_shutdown(bench: Bench) -> None:
    """A worker that stops in the middle of the careful pass leaves the suspicion to the next."""
    batch_id = await bench.put(make_record(count=3))
    await die_of(bench, batch_id, device_tokens(3)[2])
    stopping, after = await bench.worker(), await bench.worker()
    stopping.has_stopped = True
    assert await stopping.deliver(batch_id) == "nothing to do"
    assert await bench.sweep() == [batch_id]
    late = Late()
    after.transport.script(device_tokens(3), late)
    delivering = after.start(batch_id)
    await until(lambda: after.transport.requests)
    assert bench.redis.hget(redis_keys.claim(SHARD, batch_id), "trying") == b"0"
    late.come.set()
    assert await delivering == "sent 3"
    assert len(after.transport.requests) == 3


async def test_giving_back_is_no_death(bench: Bench) -> None:
    """However often workers stop or are cut off, and give a batch back, nobody is blamed for it."""
    batch_id = await bench.put(make_record(count=2))
    for _ in range(MAX_CRASHES + 1):
        worker = await bench.worker()
        worker.transport.script(device_tokens(2), Late())
        delivering = worker.start(batch_id)
        await until(lambda worker=worker: len(worker.transport.requests) == 2)  # type: ignore[misc]
        delivering.cancel()
        await asyncio.wait([delivering])
        assert await bench.sweep() == [batch_id]
    claimed = await bench.state.run(outbox.claim(batch_id, "me", lane=Lane.ALERT, queue="apns.alert", lease_s=1))
    assert (claimed.is_suspect, claimed.crashes) == (False, {})


async def test_a_lost_answer_is_no_death(bench: Bench) -> None:
    """A worker that asks for its claim again, because the answer was lost, is not taken for a dead one."""
    batch_id = await bench.put(make_record())
    claim = outbox.claim(batch_id, "me", lane=Lane.ALERT, queue="apns.alert", lease_s=30)
    claims = [await bench.state.run(claim) for _ in range(MAX_CRASHES + 1)]
    assert [(claimed.is_suspect, claimed.crashes) for claimed in claims] == [(False, {})] * len(claims)


async def test_a_dead_letter_tells_the_tries(bench: Bench) -> None:
    """What ends as a dead letter says when and why each of its tries failed."""
    worker = await bench.worker()
    worker.transport.script(device_tokens(1), ApnsAnswer(status=429, reason="TooManyRequests"), BUSY)
    started = bench.clock.now()
    batch_id = await bench.put(make_record())
    while bench.where(batch_id):
        await worker.deliver(batch_id)
        bench.advance(4000)
        await bench.sweep()
    (letter,) = bench.dead()
    tries = [each.split(" ") for each in letter["history"].split("; ")]
    assert [reason for _, reason in tries] == ["TooManyRequests", *["ServiceUnavailable"] * (len(tries) - 1)]
    assert len(tries) >= 3
    times = [int(at) for at, _ in tries]
    assert times[0] == pytest.approx(started, abs=5)
    assert times == sorted(times)
