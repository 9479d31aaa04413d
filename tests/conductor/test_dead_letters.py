"""What could not be sent can be found, sent again as it was, or dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from dispatcher import Dispatcher, NotificationError, Settings, ids, redis_keys, routing, slots
from dispatcher.dead_letter import DeadLetter, Wanted
from dispatcher.dead_letters import DeadLetters
from dispatcher.push_types import Lane
from dispatcher.replay import Replay, take, way_back
from dispatcher.scripts import Clock
from dispatcher.state_server import StateServer
from tests.conductor.conftest import APP, Bench, Worker
from tests.conductor.scripted_transport import ACCEPTED, BUSY

DEVICE_TOKEN: Final = "ab" * 32
OWN_ID: Final = "123e4567-e89b-42d3-a456-426614174000"
MOST_TRIES: Final = 20
#: Longer than any wait between two tries.
LONG_S: Final = 5000


@pytest.fixture
def letters(settings: Settings) -> Iterator[DeadLetters]:
    """Return the dead letters of the fleet."""
    with DeadLetters(settings) as dead_letters:
        yield dead_letters


async def fail_alert(bench: Bench, worker: Worker, apns_id: str, device_token: str = DEVICE_TOKEN) -> None:
    """Let a worker try an alert until it gives up."""
    worker.transport.script([device_token], BUSY)
    await deliver_until_dead(bench, worker, apns_id, Lane.ALERT)


async def fail_update(bench: Bench, worker: Worker, apns_id: str) -> str:
    """Let a worker try a background update until it gives up; returns the wake-up of its slot."""
    worker.transport.script([DEVICE_TOKEN], BUSY)
    wake_up = routing.wake_up_id(APP, ids.shard_of(apns_id))
    await deliver_until_dead(bench, worker, wake_up, Lane.BACKGROUND)
    return wake_up


async def deliver_until_dead(bench: Bench, worker: Worker, message: str, lane: Lane) -> None:
    """Deliver again and again, with time in between, until there is a dead letter."""
    shards = [redis_keys.dead(shard, APP) for shard in range(ids.SHARDS)]
    before = sum(bench.redis.xlen(stream) for stream in shards)
    for _ in range(MOST_TRIES):
        await worker.deliver(message, lane=lane)
        if sum(bench.redis.xlen(stream) for stream in shards) > before:
            return
        bench.advance(LONG_S)
    raise AssertionError("it was never given up")


def the_only(letters: DeadLetters, **wanted: Any) -> DeadLetter:
    """Return the one wanted dead letter."""
    (letter,) = letters.find(Wanted(**wanted))
    return letter


async def test_a_replayed_one_is_sent_as_it_was(bench: Bench, push: Dispatcher, letters: DeadLetters) -> None:
    """A dead letter goes out again under its apns id, byte for byte, and is gone from its stream."""
    worker = await bench.worker()
    apns_id = push.alert(APP, DEVICE_TOKEN, title="Hello", collapse_id="one", priority=5).apns_id
    await fail_alert(bench, worker, apns_id)
    letter = the_only(letters)
    assert (letter.apns_id, letter.reason, letter.status, letter.push_type) == (
        apns_id,
        "ServiceUnavailable",
        503,
        "alert",
    )
    assert letter.accepted_at < letter.at - LONG_S
    bench.redis.delete(*routing.QUEUE_LANES)
    assert letters.replay(letter) is Replay.REPLAYED
    assert list(letters.find(Wanted())) == []
    assert bench.redis.llen("apns.alert") == 1, "a message says so"
    other = await bench.worker()
    other.transport.script([DEVICE_TOKEN], ACCEPTED)
    assert await other.deliver(apns_id) == "sent 1"
    first, last = worker.transport.requests[0], other.transport.requests[-1]
    assert (last.apns_id, last.payload, last.collapse_id, last.priority) == (
        first.apns_id,
        first.payload,
        first.collapse_id,
        first.priority,
    )


async def test_a_replayed_one_has_all_its_tries_again(bench: Bench, push: Dispatcher, letters: DeadLetters) -> None:
    """What fails again after a replay is tried as often as the first time, and is a dead letter again."""
    worker = await bench.worker()
    apns_id = push.alert(APP, DEVICE_TOKEN, title="Hello").apns_id
    await fail_alert(bench, worker, apns_id)
    tries = len(worker.transport.requests)
    letters.replay(the_only(letters))
    await fail_alert(bench, worker, apns_id)
    assert len(worker.transport.requests) == 2 * tries
    assert the_only(letters).apns_id == apns_id


async def test_one_of_a_batch_comes_back_alone(bench: Bench, push: Dispatcher, letters: DeadLetters) -> None:
    """Of a batch only the one that failed is sent again, under its own id, not its batch's."""
    worker = await bench.worker()
    tokens = [f"{number:064x}" for number in range(3)]
    payload = {"aps": {"alert": "hi"}}
    (batch,) = push.send_many(APP, tokens, payload=payload, push_type="alert").batches
    await fail_alert(bench, worker, batch.batch_id, tokens[1])
    letter = the_only(letters)
    assert letter.apns_id == ids.apns_id_of(batch.batch_id, 1)
    assert letters.replay(letter) is Replay.REPLAYED
    other = await bench.worker()
    other.transport.script([tokens[1]], ACCEPTED)
    assert await other.deliver(letter.apns_id) == "sent 1"
    assert [(request.apns_id, request.device_token) for request in other.transport.requests] == [
        (letter.apns_id, tokens[1])
    ]


async def test_the_first_of_a_batch_waits_for_the_others(bench: Bench, push: Dispatcher, letters: DeadLetters) -> None:
    """While others of its batch wait under the same id a dead letter stays where it is."""
    worker = await bench.worker()
    tokens = [f"{number:064x}" for number in range(2)]
    payload = {"aps": {"alert": "hi"}}
    (batch,) = push.send_many(APP, tokens, payload=payload, push_type="alert").batches
    await fail_alert(bench, worker, batch.batch_id, tokens[0])
    letter = the_only(letters)
    bench.redis.set(redis_keys.batch(letter.shard, batch.batch_id), b"1.0 still here")
    assert letters.replay(letter) is Replay.UNSETTLED
    assert letters.replay(letter, is_rehearsal=True) is Replay.UNSETTLED
    assert the_only(letters) == letter
    bench.redis.delete(redis_keys.batch(letter.shard, batch.batch_id))
    assert letters.replay(letter) is Replay.REPLAYED


async def test_expired_ones_stay(bench: Bench, push: Dispatcher, letters: DeadLetters) -> None:
    """The time of a dead letter counts from its first acceptance, not from its replay or its end."""
    worker = await bench.worker()
    lasting = push.alert(APP, DEVICE_TOKEN, title="Hello", expires_in=86_000).apns_id
    await fail_alert(bench, worker, lasting)
    letter = the_only(letters)
    bench.advance(86_000 - (letter.at - letter.accepted_at) - 100)
    assert letters.replay(letter, is_rehearsal=True) is Replay.REPLAYED
    bench.advance(200)
    assert letters.replay(letter) is Replay.EXPIRED
    assert the_only(letters) == letter
    letters.drop(letter)
    assert list(letters.find(Wanted())) == []


async def test_what_is_left_of_its_time_goes_with_it(bench: Bench, push: Dispatcher, letters: DeadLetters) -> None:
    """A replayed one expires when it would have without the replay."""
    worker = await bench.worker()
    apns_id = push.alert(APP, DEVICE_TOKEN, title="Hello", expires_in=86_000).apns_id
    await fail_alert(bench, worker, apns_id)
    letter = the_only(letters)
    bench.advance(86_000 - (letter.at - letter.accepted_at) - 100)
    assert letters.replay(letter) is Replay.REPLAYED
    bench.advance(200)
    late_worker = await bench.worker()
    assert await late_worker.deliver(apns_id) == "expired 1"
    assert late_worker.transport.requests == []


async def test_an_update_comes_back_into_its_slot(bench: Bench, push: Dispatcher, letters: DeadLetters) -> None:
    """A background update is put into its device's slot, where a newer one replaces it."""
    worker = await bench.worker()
    apns_id = push.background(APP, DEVICE_TOKEN, {"version": 1}).apns_id
    wake_up = await fail_update(bench, worker, apns_id)
    bench.redis.delete(*routing.QUEUE_LANES)
    assert letters.replay(the_only(letters)) is Replay.REPLAYED
    assert bench.redis.llen("apns.background") == 1
    newer = push.background(APP, DEVICE_TOKEN, {"version": 2})
    assert newer.replaced
    other = await bench.worker()
    other.transport.script([DEVICE_TOKEN], ACCEPTED)
    await other.deliver(wake_up, lane=Lane.BACKGROUND)
    assert other.transport.apns_ids == [newer.apns_id]


async def test_an_update_is_never_put_over_a_newer_one(bench: Bench, push: Dispatcher, letters: DeadLetters) -> None:
    """While a newer update waits for the device, or when one was sent since, the old one stays a dead letter."""
    worker = await bench.worker()
    await fail_update(bench, worker, push.background(APP, DEVICE_TOKEN, {"version": 1}).apns_id)
    letter = the_only(letters)
    newer = push.background(APP, DEVICE_TOKEN, {"version": 2})
    assert letters.replay(letter, is_rehearsal=True) is Replay.SUPERSEDED
    assert letters.replay(letter) is Replay.SUPERSEDED
    other = await bench.worker()
    other.transport.script([DEVICE_TOKEN], ACCEPTED)
    wake_up = routing.wake_up_id(APP, ids.shard_of(newer.apns_id))
    await other.deliver(wake_up, lane=Lane.BACKGROUND)
    assert other.transport.apns_ids == [newer.apns_id]
    sent = redis_keys.sent(letter.shard, slots.device_of(letters.opened(letter)).hex())
    bench.redis.set(sent, f"{letter.at + 1} {newer.apns_id} - -")
    assert letters.replay(letter) is Replay.SUPERSEDED, "the device has got something newer"
    bench.redis.set(sent, f"{letter.at - 1} older - -")
    assert letters.replay(letter) is Replay.REPLAYED


async def test_what_changes_meanwhile_is_not_overwritten(
    bench: Bench, push: Dispatcher, letters: DeadLetters, state_url: str
) -> None:
    """A newer update that arrives between the look at the slot and the replay is left alone."""
    worker = await bench.worker()
    await fail_update(bench, worker, push.background(APP, DEVICE_TOKEN, {"version": 1}).apns_id)
    letter = the_only(letters)
    way = way_back(letter, letters.opened(letter), spacing_s=0, sealing=bench.sealing)
    newer = []

    def look_too_early(_look: Any) -> None:
        newer.append(push.background(APP, DEVICE_TOKEN, {"version": 2}).apns_id)

    server = StateServer(state_url, clock=Clock.SHIFTED, timeout_s=2.0)
    result = take(server, replace(way, hindrance=look_too_early), letter.apns_id)
    server.close()
    assert result == (Replay.UNSETTLED, None)
    assert bench.redis.hget(way.watched[0], "id").decode() == newer[0]


async def test_an_own_id_stays_known(bench: Bench, push: Dispatcher, letters: DeadLetters) -> None:
    """After a replay an id that the caller brought is still accepted only once, and only with its content."""
    worker = await bench.worker()
    push.alert(APP, DEVICE_TOKEN, title="Hello", apns_id=OWN_ID)
    await fail_alert(bench, worker, OWN_ID)
    assert letters.replay(the_only(letters)) is Replay.REPLAYED
    assert push.alert(APP, DEVICE_TOKEN, title="Hello", apns_id=OWN_ID).repeated
    worker.transport.script([DEVICE_TOKEN], ACCEPTED)
    await worker.deliver(OWN_ID)
    assert push.alert(APP, DEVICE_TOKEN, title="Hello", apns_id=OWN_ID).repeated
    with pytest.raises(NotificationError):
        push.alert(APP, DEVICE_TOKEN, title="Something else", apns_id=OWN_ID)


async def test_the_unreadable_can_only_be_dropped(bench: Bench, letters: DeadLetters) -> None:
    """A record that cannot be read is found with the others, never sent, and can be dropped."""
    worker = await bench.worker()
    batch_id = await bench.put(b"garbage")
    await worker.deliver(batch_id)
    letter = the_only(letters)
    assert (letter.app, letter.apns_id) == (redis_keys.UNREADABLE, batch_id)
    assert letters.replay(letter) is Replay.UNREADABLE
    assert the_only(letters, app=redis_keys.UNREADABLE) == letter
    letters.drop(letter)
    assert list(letters.find(Wanted())) == []


async def test_records_of_another_release_stay(bench: Bench, push: Dispatcher, letters: DeadLetters) -> None:
    """A dead letter whose record this release cannot read is not sent, and stays for one that can."""
    worker = await bench.worker()
    await fail_alert(bench, worker, push.alert(APP, DEVICE_TOKEN, title="Hello").apns_id)
    letter = the_only(letters)
    newer = replace(letter, stored=letter.stored.replace(b'"v":2', b'"v":99'))
    assert letters.replay(newer) is Replay.UNREADABLE
    assert the_only(letters) == letter


async def test_an_app_that_is_gone_is_not_sent_to(bench: Bench, push: Dispatcher, letters: DeadLetters) -> None:
    """Dead letters of an app that is not configured any more can be asked for, and are not sent."""
    worker = await bench.worker()
    await fail_alert(bench, worker, push.alert(APP, DEVICE_TOKEN, title="Hello").apns_id)
    stream, gone = redis_keys.dead(the_only(letters).shard, APP), "com.example.gone"
    bench.redis.rename(stream, redis_keys.dead(the_only(letters).shard, gone))
    assert list(letters.find(Wanted())) == []
    letter = the_only(letters, app=gone)
    assert letters.replay(letter) is Replay.NOT_CONFIGURED
    assert the_only(letters, app=gone) == letter


def test_all_shards_are_looked_through_in_order_of_time(bench: Bench, letters: DeadLetters) -> None:
    """However many there are and wherever they lie, each is found once, the oldest first."""
    number_of_letters = 700
    pipeline = bench.redis.pipeline(transaction=False)
    for number in range(number_of_letters):
        shard = 5 if number % 2 else number % ids.SHARDS
        app = redis_keys.UNREADABLE if number % 5 == 0 else APP
        fields = {"apns_id": f"{number}", "at": number, "stored": "x"}
        pipeline.xadd(redis_keys.dead(shard, app), fields, id=f"{1000 + number}-0")
    pipeline.execute()
    assert [int(letter.apns_id) for letter in letters.find(Wanted())] == list(range(number_of_letters))
    found = [int(letter.apns_id) for letter in letters.find(Wanted(since=100, until=120, app=APP))]
    assert found == [number for number in range(100, 121) if number % 5]
