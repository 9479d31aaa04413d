"""A batch from its message to its end: what leaves, what is noted, what comes back."""

from __future__ import annotations

import pytest

from dispatcher import ids, outbox, record
from dispatcher.errors import MessageError, SigningError, TransportError
from dispatcher.feedback import Outcome
from dispatcher.notification import Report
from dispatcher.push_types import Environment, Lane
from dispatcher.routing import BULK_QUEUE
from tests.conductor.conftest import APP, SHARD, Bench, Worker, device_tokens, make_record
from tests.conductor.scripted_transport import ACCEPTED, BUSY, UNREGISTERED
from workers.reasons import Verdict
from workers.retry import RetryRules, rules_of
from workers.transport.port import ApnsAnswer

#: Longer than any delay between two tries.
LONG_S = 2 * 3600.0


async def test_a_batch_of_mixed_answers_is_settled(bench: Bench) -> None:
    """Each answer of a whole batch is counted, only failures are told, and Flower gets one short line."""
    worker = await bench.worker()
    gone, busy = device_tokens(500)[7], device_tokens(500)[9]
    worker.transport.script([gone], UNREGISTERED)
    worker.transport.script([busy], BUSY)
    batch_id = await bench.put(make_record(count=500))
    assert await worker.deliver(batch_id) == "sent 498, unregistered 1, retry 1"
    assert bench.counters() == {"accepted": 500, "delivered": 498, "unregistered": 1, "retried": 1}
    (told,) = bench.feedback()
    assert (told.outcome, told.apns_id, told.device_token) == (
        Outcome.UNREGISTERED,
        ids.apns_id_of(batch_id, 7),
        gone,
    )
    assert (told.app, told.environment, told.push_type) == (APP, Environment.PRODUCTION, "alert")
    assert (told.status, told.reason, told.unregistered_at) == (410, "Unregistered", 1_700_000_000_000)
    assert told.at == pytest.approx(bench.clock.now(), abs=5)
    assert bench.where(batch_id) == {"due"}


async def test_every_push_is_complete(bench: Bench) -> None:
    """What leaves is what was accepted: the payload's bytes, the app's key and topic, the headers asked for."""
    worker = await bench.worker()
    asked = make_record(
        count=2, push_type="voip", environment=Environment.SANDBOX, expiration=0, collapse_id="ring", payload=b'{"a":1}'
    )
    batch_id = await bench.put(asked, lane=Lane.VOIP)
    await worker.deliver(batch_id, lane=Lane.VOIP)
    assert worker.transport.apns_ids == [batch_id, ids.apns_id_of(batch_id, 1)]
    first = worker.transport.requests[0]
    assert (first.device_token, first.payload) == (device_tokens(1)[0], b'{"a":1}')
    assert (first.environment, first.key_id, first.topic) == (Environment.SANDBOX, "KEYID12345", f"{APP}.voip")
    assert (first.push_type, first.priority, first.expiration, first.collapse_id) == ("voip", 10, 0, "ring")


async def test_delivered_batch_leaves_only_counters(bench: Bench) -> None:
    """Once everything is delivered no key of the batch is left and nothing is told."""
    worker = await bench.worker()
    batch_id = await bench.put(make_record(count=3))
    assert await worker.deliver(batch_id) == "sent 3"
    assert bench.leftovers() == set()
    assert bench.feedback() == []


async def test_deliveries_are_told_when_asked(bench: Bench) -> None:
    """An app that asked for everything hears of each delivery, under its apns id."""
    worker = await bench.worker()
    batch_id = await bench.put(make_record(count=3, report=Report.EVERYTHING))
    await worker.deliver(batch_id)
    assert {(told.outcome, told.apns_id) for told in bench.feedback()} == {
        (Outcome.DELIVERED, ids.apns_id_of(batch_id, index)) for index in range(3)
    }


async def test_retries_carry_their_apns_id(bench: Bench) -> None:
    """Only what has to be tried again leaves again, after its delay, under the same apns id, to its own queue."""
    worker = await bench.worker()
    tokens = device_tokens(4)
    worker.transport.script([tokens[1], tokens[3]], BUSY, ACCEPTED)
    batch_id = await bench.put(make_record(count=4), queue=BULK_QUEUE)
    assert await worker.deliver(batch_id, queue=BULK_QUEUE) == "sent 2, retry 2"
    rules = rules_of(Verdict.SERVER_TROUBLE)
    assert isinstance(rules, RetryRules)
    bench.advance(rules.ordinary.first_delay_s - 5)
    assert await bench.sweep() == []
    assert await worker.deliver(batch_id, queue=BULK_QUEUE) == "waiting"
    bench.advance(10)
    assert await bench.sweep() == [batch_id]
    assert await worker.deliver(batch_id, queue=BULK_QUEUE) == "sent 2"
    assert sorted(worker.transport.apns_ids[4:]) == [ids.apns_id_of(batch_id, index) for index in (1, 3)]
    assert bench.leftovers() == set()


async def test_only_what_is_due_leaves(bench: Bench) -> None:
    """Notifications of one batch with different delays come back each at its own time."""
    worker = await bench.worker()
    soon, later = device_tokens(2)
    worker.transport.script([soon], ApnsAnswer(status=503, reason="Shutdown"), ACCEPTED)
    worker.transport.script([later], BUSY, ACCEPTED)
    batch_id = await bench.put(make_record(count=2))
    await worker.deliver(batch_id)
    bench.advance(2)
    await bench.sweep()
    assert await worker.deliver(batch_id) == "sent 1"
    assert bench.where(batch_id) == {"due"}
    bench.advance(LONG_S)
    await bench.sweep()
    assert await worker.deliver(batch_id) == "sent 1"
    assert [request.device_token for request in worker.transport.requests[2:]] == [soon, later]


async def retry_to_the_end(bench: Bench, worker: Worker, batch_id: str) -> list[str]:
    """Deliver a batch until nothing of it is left; returns what Flower shows of each try."""
    shown = [await worker.deliver(batch_id)]
    while bench.where(batch_id):
        bench.advance(LONG_S)
        assert await bench.sweep() == [batch_id]
        shown.append(await worker.deliver(batch_id))
    return shown


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        (BUSY, 503, "ServiceUnavailable"),
        (TransportError("no answer in time", maybe_sent=True), 0, "no answer in time"),
    ],
)
async def test_the_last_try_ends_as_a_dead_letter(
    bench: Bench, reply: ApnsAnswer | TransportError, status: int, reason: str
) -> None:
    """After the last try a notification is kept among the dead letters, whole, and the app is told why."""
    worker = await bench.worker()
    unlucky = device_tokens(2)[1]
    worker.transport.script([unlucky], reply)
    batch_id = await bench.put(make_record(count=2))
    shown = await retry_to_the_end(bench, worker, batch_id)
    assert shown == ["sent 1, retry 1", "retry 1", "retry 1", "retry 1", "retry 1", "dead-lettered 1"]
    unlucky_id = ids.apns_id_of(batch_id, 1)
    assert worker.transport.apns_ids[1:] == [unlucky_id] * 6
    (told,) = bench.feedback()
    assert (told.outcome, told.apns_id, told.status, told.reason) == (
        Outcome.DEAD_LETTERED,
        unlucky_id,
        status,
        reason,
    )
    (letter,) = bench.dead_letters()
    kept = record.decode(letter.stored, letter.place, bench.sealing)
    assert (letter.apns_id, kept.device_tokens, kept.payload) == (unlucky_id, (unlucky,), make_record().payload)
    assert bench.counters() == {"accepted": 2, "delivered": 1, "retried": 5, "dead_lettered": 1}


@pytest.mark.parametrize(
    "reply", [TransportError("cannot connect", maybe_sent=False), SigningError("no such key")], ids=["unreached", "key"]
)
async def test_what_certainly_did_not_leave_uses_no_attempt(bench: Bench, reply: Exception) -> None:
    """A push that APNs certainly did not see is tried twice at once, again as often as needed, and then delivered."""
    worker = await bench.worker()
    worker.transport.script(device_tokens(1), *[reply] * 20, ACCEPTED)
    shown = await retry_to_the_end(bench, worker, await bench.put(make_record()))
    assert shown == ["retry 1"] * 10 + ["sent 1"]


async def test_an_app_unknown_here_waits(bench: Bench) -> None:
    """A batch of an app that this worker does not know waits for one that does; no attempt is used."""
    worker = await bench.worker()
    batch_id = await bench.put(make_record(app="com.example.new"))
    for _ in range(8):
        assert await worker.deliver(batch_id) == "retry 1"
        bench.advance(61)
        assert await bench.sweep() == [batch_id]
    assert worker.transport.requests == []
    claimed = await bench.state.run(outbox.claim(batch_id, "me", lane=Lane.ALERT, queue="apns.alert", lease_s=1))
    assert claimed.waiting[0].attempts == 0


@pytest.mark.parametrize("stored", [b"no record at all", b'{"v":99}\n{}', b"\xff\xfe\n{}"])
async def test_an_unreadable_record_is_a_dead_letter(bench: Bench, stored: bytes) -> None:
    """A record that this release cannot read is laid aside as it is, counted, and never claimed again."""
    worker = await bench.worker()
    batch_id = await bench.put(stored)
    assert await worker.deliver(batch_id) == "unreadable"
    (letter,) = bench.dead_letters("unreadable")
    assert (letter.apns_id, letter.stored) == (batch_id, stored)
    assert bench.counters()["dead_lettered"] == 1
    assert await worker.deliver(batch_id) == "gone"
    assert bench.leftovers() == set()


@pytest.mark.parametrize(
    "malformed", ["", "no-uuid", "0" * 32, "wake:", "wake:16:com.example.app", "wake:xx:com.example.app"]
)
async def test_a_malformed_batch_id_harms_nothing(bench: Bench, malformed: str) -> None:
    """A message with an argument that is no batch id is an error of that message alone, and leaves no key."""
    worker = await bench.worker()
    with pytest.raises(MessageError, match="names no batch"):
        await worker.deliver(malformed)
    assert bench.leftovers() == set()
    assert await worker.deliver(await bench.put(make_record())) == "sent 1"


async def test_messages_without_a_batch_find_nothing(bench: Bench) -> None:
    """A message again, or for a batch that never was, finds nothing to do."""
    worker = await bench.worker()
    batch_id = await bench.put(make_record())
    assert await worker.deliver(batch_id) == "sent 1"
    assert await worker.deliver(batch_id) == "gone"
    assert await worker.deliver(ids.new_batch_id(SHARD, bytes(16))) == "gone"
    assert len(worker.transport.requests) == 1
