"""What is sealed can be opened wherever it has to be: by readers, by operators, and while keys change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest
import redis

from dispatcher import Dispatcher, Settings, ids, record, record_keys, redis_keys, routing, slots
from dispatcher.cancellation import Cancellation
from dispatcher.dead_letter import Wanted
from dispatcher.dead_letters import DeadLetters
from dispatcher.notification import Report
from dispatcher.push_types import Lane
from dispatcher.replay import Replay
from dispatcher.sealing import batch_place
from dispatcher.sealing_choice import make_sealing
from tests.conductor.conftest import APP, SHARD, Bench, device_tokens, make_record, until
from tests.conductor.scripted_transport import ACCEPTED, BUSY, Late
from tests.conductor.test_dead_letters import fail_alert
from tests.record_sealing import KEYS_TEXT, OTHER_KEY_TEXT, SEALED

WAKE_UP: Final = routing.wake_up_id(APP, SHARD)
OTHER: Final = make_sealing(record_keys.parse(OTHER_KEY_TEXT))


def update(**changes: Any) -> record.Record:
    """Return a background notification."""
    return make_record(push_type="background", **changes)


@pytest.fixture
def letters(settings: Settings) -> Iterator[DeadLetters]:
    """Return the dead letters as an operator with the fleet's keys sees them."""
    with DeadLetters(settings) as dead_letters:
        yield dead_letters


async def test_a_missing_key_loses_nothing(bench: Bench, letters: DeadLetters) -> None:
    """What workers without the key refused is replayed where the key is listed; what had ended is not sent again."""
    worker = await bench.worker()
    bench.sealing = OTHER
    stranger = await bench.worker()
    bench.sealing = SEALED
    worker.transport.script(device_tokens(3)[:1], BUSY)
    batch_id = await bench.put(make_record(count=3))
    apns_id = await bench.put_slot(update(), device=slots.device_of(update()).hex())
    assert await worker.deliver(batch_id) == "sent 2, retry 1"
    bench.advance(3600)
    await bench.sweep()
    assert await stranger.deliver(batch_id) == "unreadable"
    assert await stranger.deliver(WAKE_UP, lane=Lane.BACKGROUND) == "dead-lettered 1"
    found = list(letters.find(Wanted(app=redis_keys.UNREADABLE)))
    assert [letter.apns_id for letter in found] == [batch_id, apns_id]
    assert [letters.replay(letter, is_rehearsal=True) for letter in found] == [Replay.REPLAYED] * 2
    assert [letters.replay(letter) for letter in found] == [Replay.REPLAYED] * 2
    assert list(letters.find(Wanted())) == []
    worker.transport.script(device_tokens(3)[:1], ACCEPTED)
    worker.transport.requests.clear()
    shard = ids.shard_of_device(slots.device_of(update()))
    assert await worker.deliver(batch_id) == "sent 1"
    assert await worker.deliver(routing.wake_up_id(APP, shard), lane=Lane.BACKGROUND) == "sent 1"
    assert worker.transport.apns_ids == [batch_id, apns_id]


async def test_a_replay_writes_with_the_first_key(bench: Bench, env: dict[str, str], push: Dispatcher) -> None:
    """A dead letter is opened with any listed key; what is sent again is sealed with the newest."""
    worker = await bench.worker()
    apns_id = push.alert(APP, device_tokens(1)[0], title="Hello").apns_id
    await fail_alert(bench, worker, apns_id, device_tokens(1)[0])
    shard = ids.shard_of(apns_id)
    rotated = {**env, "APNS_RECORD_KEYS": f"{OTHER_KEY_TEXT},{KEYS_TEXT}"}
    with DeadLetters(Settings.from_env(rotated)) as letters:
        (letter,) = letters.find(Wanted())
        assert letter.device_token == device_tokens(1)[0]
        assert letters.opened(letter).payload == b'{"aps":{"alert":{"title":"Hello"}}}'
        assert letters.replay(letter) is Replay.REPLAYED
    stored = bench.redis.get(redis_keys.batch(shard, apns_id)).partition(b" ")[2]
    assert record.decode(stored, batch_place(apns_id), OTHER).device_tokens == device_tokens(1)


async def test_a_dead_letter_under_another_id_is_not_replayed(
    bench: Bench, letters: DeadLetters, push: Dispatcher
) -> None:
    """A dead letter that somebody gave another apns id shows no device token and is not sent."""
    worker = await bench.worker()
    apns_id = push.alert(APP, device_tokens(1)[0], title="Hello").apns_id
    await fail_alert(bench, worker, apns_id, device_tokens(1)[0])
    (letter,) = letters.find(Wanted())
    stream = redis_keys.dead(letter.shard, APP)
    ((_, fields),) = bench.redis.xrange(stream)
    bench.redis.xadd(stream, {**fields, b"apns_id": ids.apns_id_of(apns_id, 1).encode(), b"status": b"NaN"})
    _, forged = letters.find(Wanted())
    assert (forged.device_token, forged.status) == ("", 0)
    assert letters.replay(forged) is Replay.UNREADABLE
    assert letters.replay(letter) is Replay.REPLAYED


@pytest.mark.parametrize(
    ("web", "workers"),
    [
        ("plain", "plain"),
        ("plain", f"plain,{KEYS_TEXT}"),
        (f"plain,{KEYS_TEXT}", "plain"),
        (f"plain,{KEYS_TEXT}", f"{KEYS_TEXT},plain"),
        (f"{KEYS_TEXT},plain", f"plain,{KEYS_TEXT}"),
        (KEYS_TEXT, f"{KEYS_TEXT},plain"),
        (f"{KEYS_TEXT},plain", KEYS_TEXT),
        (f"{OTHER_KEY_TEXT},{KEYS_TEXT}", f"{KEYS_TEXT},{OTHER_KEY_TEXT}"),
        (f"{KEYS_TEXT},{OTHER_KEY_TEXT}", f"{OTHER_KEY_TEXT},{KEYS_TEXT}"),
    ],
)
async def test_a_change_over_refuses_nothing(bench: Bench, env: dict[str, str], web: str, workers: str) -> None:
    """In every step of a change-over, whichever of web hosts and workers are updated first, all is sent and told."""
    settings = Settings.from_env({**env, "APNS_RECORD_KEYS": web})
    bench.sealing = make_sealing(record_keys.parse(workers))
    worker = await bench.worker()
    one, two = device_tokens(2)
    worker.transport.script([two], replace(ACCEPTED, status=410, reason="Unregistered"))
    with Dispatcher(settings) as push:
        receipts = [push.alert(APP, one, title="Hello"), push.alert(APP, two, title="Hello")]
        single = push.background(APP, one)
        shown = [await worker.deliver(receipt.apns_id) for receipt in receipts]
        wake_up = routing.wake_up_id(APP, ids.shard_of(single.apns_id))
        shown.append(await worker.deliver(wake_up, lane=Lane.BACKGROUND))
        (told,) = push.feedback("web").read()
    assert shown == ["sent 1", "unregistered 1", "sent 1"]
    assert (told.apns_id, told.device_token) == (receipts[1].apns_id, two)


async def test_a_repeated_call_is_recognised_over_a_change_of_keys(env: dict[str, str], push: Dispatcher) -> None:
    """What is asked for twice with one idempotency key is accepted once, however it is sealed."""
    rotated = Settings.from_env({**env, "APNS_RECORD_KEYS": f"{OTHER_KEY_TEXT},{KEYS_TEXT}"})
    device_token = device_tokens(1)[0]
    receipts = []
    with Dispatcher(rotated) as later:
        for each in (push, push, later):
            receipts.append(each.alert(APP, device_token, title="Hello", idempotency_key="one"))
            receipts.append(each.background(APP, device_token, idempotency_key="two"))
    assert len({receipt.apns_id for receipt in receipts}) == 2
    assert [receipt.repeated for receipt in receipts] == [False, False, True, True, True, True]


async def test_what_scripts_end_can_be_opened(bench: Bench, push: Dispatcher, state: redis.Redis) -> None:
    """Scripts copy sealed device tokens, without a key, into feedback that its reader opens."""
    device_token, *others = device_tokens(4)
    worker = await bench.worker()
    later = push.alert(APP, device_token, title="Hello", send_at=push_at(bench, 3600))
    assert push.cancel(later.apns_id) is Cancellation.CANCELLED
    payload = {"aps": {"alert": "hi"}}
    (batch,) = push.send_many(APP, others, payload=payload, push_type="alert").batches
    second = ids.apns_id_of(batch.batch_id, 1)
    assert push.cancel(second) is Cancellation.CANCELLED
    old = push.background(APP, device_token, {"n": 1}, report=Report.EVERYTHING)
    late = Late(answer=BUSY)
    worker.transport.script([device_token], late)
    waking = worker.start(routing.wake_up_id(APP, ids.shard_of(old.apns_id)), lane=Lane.BACKGROUND)
    await until(lambda: worker.transport.requests)
    newer = push.background(APP, device_token, {"n": 2}, report=Report.EVERYTHING)
    late.come.set()
    await waking
    newest = push.background(APP, device_token, {"n": 3}, report=Report.EVERYTHING)
    told = {feedback.apns_id: (feedback.outcome, feedback.device_token) for feedback in push.feedback("web").read()}
    assert told == {
        later.apns_id: ("cancelled", device_token),
        second: ("cancelled", others[1]),
        old.apns_id: ("superseded", device_token),
        newer.apns_id: ("superseded", device_token),
    }
    assert state.hget(redis_keys.slot(*slot_of(update(device_tokens=(device_token,)))), "id") == newest.apns_id.encode()


def push_at(bench: Bench, ahead_s: float) -> float:
    """Return a time so far ahead of the state server's clock."""
    seconds, microseconds = bench.redis.time()
    return float(seconds + microseconds / 1e6 + ahead_s)


def slot_of(single: record.Record) -> tuple[int, str]:
    """Return shard and device of a notification."""
    digest = slots.device_of(single)
    return ids.shard_of_device(digest), digest.hex()
