"""Records that somebody else wrote, changed or moved are refused, kept for inspection, and hold up nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest

from dispatcher import Dispatcher, lookup, record, record_keys, redis_keys, routing, slots
from dispatcher.cancellation import Cancellation
from dispatcher.notification import Report
from dispatcher.push_types import Lane
from dispatcher.record import MAX_STORED_BYTES
from dispatcher.sealing import PLAIN, Sealing, batch_place, dead_letter_place, slot_place
from dispatcher.sealing_choice import make_sealing
from tests.conductor.conftest import APP, SHARD, Bench, device_tokens, make_record
from tests.conductor.scripted_transport import BUSY
from tests.record_sealing import OTHER_KEY_TEXT, SEALED

WAKE_UP: Final = routing.wake_up_id(APP, SHARD)
DEVICE, OTHER_DEVICE = "a" * 32, "b" * 32
#: A key that somebody else gave the id of ours.
IMPOSTOR: Final = make_sealing(record_keys.parse(OTHER_KEY_TEXT.replace("other:", "test:")))
OTHER: Final = make_sealing(record_keys.parse(OTHER_KEY_TEXT))
BROKEN: Final = "its seal does not fit"

#: What lies in a record's place -> how it is made of the record's own bytes and the bytes that it would hold if
#: somebody with another key had written it; and the rule that the refusal names.
FORGERIES: Final[dict[str, tuple[Any, str]]] = {
    "garbage": (lambda _own, _written: b"\x00\xffgarbage", "cannot be read"),
    "oversized": (lambda own, _written: own + bytes(MAX_STORED_BYTES), "longer than any of ours"),
    "unknown version": (lambda own, _written: own.replace(b'{"v":2', b'{"v":3', 1), "version 3"),
    "header changed": (lambda own, _written: own.replace(b'"priority":', b'"priority": ', 1), BROKEN),
    "payload changed": (lambda own, _written: own[:-20] + bytes([own[-20] ^ 1]) + own[-19:], BROKEN),
    "not encrypted": (lambda _own, written: written(PLAIN), "not encrypted"),
    "with a key of the same name": (lambda _own, written: written(IMPOSTOR), BROKEN),
    "with an unknown key": (
        lambda _own, written: written(OTHER),
        "the key other, which APNS_RECORD_KEYS does not list",
    ),
}
forgeries = pytest.mark.parametrize("forgery", FORGERIES)


def update(**changes: Any) -> record.Record:
    """Return a background notification."""
    return make_record(push_type="background", **changes)


def unreadable(bench: Bench, apns_id: str, rule: str) -> None:
    """See that exactly this one lies with what cannot be read, for breaking this rule."""
    (letter,) = bench.dead_letters(redis_keys.UNREADABLE)
    assert letter.apns_id == apns_id
    assert rule in letter.reason
    assert bench.counters()["dead_lettered"] == 1
    assert bench.dead() == [], "it is not one of the app's own"
    assert bench.feedback() == []
    assert bench.leftovers() == set()


@forgeries
async def test_a_forged_batch_is_refused(bench: Bench, forgery: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever somebody puts into a batch's place is buried with its rule and logged by its hash; others are sent."""
    make, rule = FORGERIES[forgery]
    worker = await bench.worker()
    batch = make_record(payload=b'{"aps":{"alert":"canary"}}')
    batch_id, healthy = await bench.put(batch), await bench.put(make_record())
    key, place = redis_keys.batch(SHARD, batch_id), batch_place(batch_id)
    at, _, own = bench.redis.get(key).partition(b" ")
    bench.redis.set(key, at + b" " + make(own, lambda sealing: record.encode(batch, place, sealing)))
    assert [await worker.deliver(each) for each in (batch_id, healthy)] == ["unreadable", "sent 1"]
    unreadable(bench, batch_id, rule)
    (letter,) = bench.dead(redis_keys.UNREADABLE)
    told = capsys.readouterr().out
    assert letter["sha256"] in told
    assert not [word for word in ("canary", device_tokens(1)[0], own[-40:].hex()) if word in told]


@forgeries
async def test_a_forged_slot_is_refused(bench: Bench, forgery: str) -> None:
    """Whatever somebody puts into a slot's record is buried with its rule; the other slots of its claim are sent."""
    make, rule = FORGERIES[forgery]
    worker = await bench.worker()
    apns_id = await bench.put_slot(update(), device=DEVICE)
    await bench.put_slot(update(), device=OTHER_DEVICE)
    slot, place = redis_keys.slot(SHARD, DEVICE), slot_place(SHARD, DEVICE, apns_id)
    own = bench.redis.hget(slot, "record")
    bench.redis.hset(slot, "record", make(own, lambda sealing: record.encode(update(), place, sealing)))
    assert await worker.deliver(WAKE_UP, lane=Lane.BACKGROUND) == "dead-lettered 1, sent 1"
    unreadable(bench, apns_id, rule)


@pytest.mark.parametrize("sealing", [PLAIN, SEALED], ids=["plain", "sealed"])
async def test_swapped_batches_are_refused(bench: Bench, sealing: Sealing) -> None:
    """Two accepted batches whose records somebody exchanged are both refused, with and without a key."""
    bench.sealing = sealing
    worker = await bench.worker()
    batch_ids = [await bench.put(make_record(count=count)) for count in (1, 2)]
    first, second = (redis_keys.batch(SHARD, batch_id) for batch_id in batch_ids)
    records = bench.redis.mget(second, first)
    bench.redis.mset({first: records[0], second: records[1]})
    assert [await worker.deliver(each) for each in batch_ids] == ["unreadable"] * 2
    assert all(BROKEN in letter.reason for letter in bench.dead_letters(redis_keys.UNREADABLE))
    assert worker.transport.requests == []


@pytest.mark.parametrize("sealing", [PLAIN, SEALED], ids=["plain", "sealed"])
async def test_swapped_slots_are_refused(bench: Bench, sealing: Sealing) -> None:
    """A notification that somebody moved into another device's slot is not sent there, with and without a key."""
    bench.sealing = sealing
    worker = await bench.worker()
    for device, device_token in zip((DEVICE, OTHER_DEVICE), device_tokens(2), strict=True):
        await bench.put_slot(update(device_tokens=(device_token,)), device=device)
    first, second = (redis_keys.slot(SHARD, device) for device in (DEVICE, OTHER_DEVICE))
    for key, source in ((first, bench.redis.hgetall(second)), (second, bench.redis.hgetall(first))):
        bench.redis.hset(key, mapping=source)
    assert await worker.deliver(WAKE_UP, lane=Lane.BACKGROUND) == "dead-lettered 2"
    assert worker.transport.requests == []


async def test_a_dead_letter_is_no_batch(bench: Bench) -> None:
    """What was given up cannot be sent again by copying it into the outbox."""
    worker = await bench.worker()
    batch_id = await bench.put(make_record())
    stored = record.encode(make_record(), dead_letter_place(batch_id), SEALED)
    bench.redis.set(redis_keys.batch(SHARD, batch_id), b"1.0 " + stored)
    assert await worker.deliver(batch_id) == "unreadable"
    assert worker.transport.requests == []


async def test_what_is_changed_after_its_first_tries_is_buried_once(bench: Bench) -> None:
    """A batch that was partly sent, and waits, ends for good when somebody changed it meanwhile."""
    worker = await bench.worker()
    worker.transport.script(device_tokens(3)[2:], BUSY)
    batch_id = await bench.put(make_record(count=3))
    assert await worker.deliver(batch_id) == "sent 2, retry 1"
    assert await bench.state.run(lookup.cancel(batch_id, 5)) is Cancellation.UNKNOWN
    bench.redis.append(redis_keys.batch(SHARD, batch_id), b"!")
    bench.advance(3600)
    assert await bench.sweep() == [batch_id]
    assert await worker.deliver(batch_id) == "unreadable"
    (letter,) = bench.dead_letters(redis_keys.UNREADABLE)
    assert letter.done == "110"
    bench.advance(3600)
    assert await bench.sweep() == []
    assert bench.leftovers() == set()


async def test_a_forged_header_stops_no_script(bench: Bench, push: Dispatcher) -> None:
    """Whoever asks for, cancels or replaces something whose header makes no sense gets an answer, not an error."""
    worker = await bench.worker()
    headers: Sequence[bytes] = (
        b'{"lane":"alert","device_tokens":["ab"]}',
        b'{"app":{},"count":1,"environment":"x","push_type":"y","lane":"alert","device_tokens":["ab"]}',
        b'{"app":"a","count":9,"environment":"x","push_type":"y","lane":"alert","device_tokens":["ab"]}',
        b'{"app":"a","count":1,"environment":"x","push_type":"y","lane":"alert","device_tokens":[[]]}',
        b"[]",
    )
    for header in headers:
        batch_id = await bench.put(make_record())
        bench.redis.set(redis_keys.batch(SHARD, batch_id), b"1.0 " + header + b"\n{}")
        assert push.status(batch_id) is None
        assert push.cancel(batch_id) is Cancellation.UNKNOWN
        bench.redis.hset(redis_keys.claim(SHARD, batch_id), "cancelled", " 0")
        assert await worker.deliver(batch_id) == "unreadable"
        loud = b'{"v":2,"app":"com.example.app","track":true,"report":"everything",' + header[1:]
        apns_id = await bench.put_slot(loud + b"\n{}", device=DEVICE)
        assert await bench.state.run(slots.cancel(SHARD, apns_id)) is Cancellation.CANCELLED
        await bench.put_slot(loud + b"\n{}", device=DEVICE)
        await bench.put_slot(update(report=Report.EVERYTHING), device=DEVICE)
        assert await worker.deliver(WAKE_UP, lane=Lane.BACKGROUND) == "sent 1"
        bench.advance(3600)
    assert [told.outcome for told in bench.feedback()] == ["delivered"] * len(headers)
