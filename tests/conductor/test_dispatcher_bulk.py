"""One payload for many devices: any number, in constant memory, and no bad device token stops the rest."""

from __future__ import annotations

import gc
import os
import signal
import tracemalloc
from collections.abc import Iterator
from typing import Any, Final

import pytest
import redis

from dispatcher import Dispatcher, EnqueueError, NotificationError, Settings, ids, redis_keys
from dispatcher.bulk import MAX_REFUSALS
from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.ids import MAX_BATCH_SIZE
from dispatcher.push_types import Lane
from tests.conductor.test_dispatcher import APP, counted, messages, stored_record

PAYLOAD: Final = {"aps": {"alert": "hi"}}
UPDATE: Final = {"aps": {"content-available": 1}}


def many(count: int) -> Iterator[str]:
    """Yield so many different device tokens, one at a time."""
    return (f"{number:064x}" for number in range(count))


def test_batches_of_five_hundred(push: Dispatcher, state: redis.Redis) -> None:
    """Device tokens are packed into batches in order; apns ids follow from batch id and place."""
    receipt = push.send_many(APP, many(1201), payload=PAYLOAD, push_type="alert")
    assert (receipt.lane, receipt.accepted, receipt.refused, receipt.replaced) == (Lane.ALERT, 1201, 0, 0)
    assert [batch.count for batch in receipt.batches] == [500, 500, 201]
    assert all(batch.queued for batch in receipt.batches)
    stored = [stored_record(state, batch.batch_id) for batch in receipt.batches]
    assert [device_token for one in stored for device_token in one.device_tokens] == list(many(1201))
    queued = messages(state, "apns.alert.bulk")
    assert [message["args"] for message in queued] == [[batch.batch_id] for batch in receipt.batches]
    assert [message["argsrepr"] for message in queued] == [f"({APP} {count})" for count in (500, 500, 201)]
    assert messages(state, "apns.alert") == [], "a campaign does not delay single alerts"
    assert counted(state, "accepted") == 1201


def test_memory_does_not_grow_with_the_number(push: Dispatcher) -> None:
    """Twenty thousand device tokens from a generator need hardly more memory than two thousand."""
    push.send_many(APP, many(MAX_BATCH_SIZE), payload=PAYLOAD, push_type="alert")

    def peak_bytes(count: int) -> int:
        gc.collect()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        receipt = push.send_many(APP, many(count), payload=PAYLOAD, push_type="alert")
        assert receipt.accepted == count
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        few, lots = peak_bytes(2_000), peak_bytes(20_000)
    finally:
        tracemalloc.stop()
    assert lots < few + 200_000, "the device tokens alone are 2 MB"


def test_refused_device_tokens_do_not_stop_the_rest(push: Dispatcher, state: redis.Redis) -> None:
    """A bad device token is named by its place and rule; the valid ones are accepted."""
    receipt = push.send_many(APP, ["AA", "no hex", "bb", "../x", "cc"], payload=PAYLOAD, push_type="alert")
    assert (receipt.accepted, receipt.refused) == (3, 2)
    assert [(refusal.position, refusal.field) for refusal in receipt.refusals] == [
        (1, "device_token"),
        (3, "device_token"),
    ]
    assert stored_record(state, receipt.batches[0].batch_id).device_tokens == ("aa", "bb", "cc")


def test_refusals_are_capped(push: Dispatcher) -> None:
    """Of many refusals the first are kept in full; the rest are only counted."""
    receipt = push.send_many(APP, ["zz"] * (MAX_REFUSALS + 500), payload=PAYLOAD, push_type="alert")
    assert (receipt.accepted, receipt.refused, receipt.batches) == (0, MAX_REFUSALS + 500, ())
    assert [refusal.position for refusal in receipt.refusals] == list(range(MAX_REFUSALS))


def test_a_bad_payload_stores_nothing(push: Dispatcher, state: redis.Redis) -> None:
    """What is wrong for all device tokens is refused before the first is looked at."""
    untouched = many(10)
    with pytest.raises(NotificationError):
        push.send_many(APP, untouched, payload={"aps": {}}, push_type="alert")
    assert next(untouched) == f"{0:064x}"
    assert state.dbsize() == 0


def test_updates_go_to_their_devices_slots(push: Dispatcher, state: redis.Redis) -> None:
    """Updates in bulk are one notification per slot, and at most one wake-up per shard."""
    first = push.send_many(APP, many(700), payload=UPDATE, push_type="background")
    assert (first.lane, first.accepted, first.replaced) == (Lane.BACKGROUND, 700, 0)
    assert sum(batch.count for batch in first.batches) == 700
    held = sum(int(state.zcard(redis_keys.held(shard, APP))) for shard in range(ids.SHARDS))
    assert held == 700
    assert len(messages(state, "apns.background")) == ids.SHARDS
    second = push.send_many(APP, many(700), payload=UPDATE, push_type="background")
    assert (second.accepted, second.replaced) == (700, 700)
    assert len(messages(state, "apns.background")) == ids.SHARDS


def test_ids_of_updates_follow_from_their_batches(push: Dispatcher, state: redis.Redis) -> None:
    """Each slot holds an apns id that follows from a batch id of the receipt and a place in it."""
    receipt = push.send_many(APP, many(40), payload=UPDATE, push_type="background")
    expected = {ids.apns_id_of(batch.batch_id, index) for batch in receipt.batches for index in range(batch.count)}
    slots: list[Any] = list(state.scan_iter("*:slot:*"))
    assert {state.hget(slot, "id").decode() for slot in slots} == expected  # type: ignore[union-attr]


def test_the_same_device_twice_in_one_call(push: Dispatcher, state: redis.Redis) -> None:
    """A device named twice gets one update: the second takes the place of the first."""
    receipt = push.send_many(APP, ["ab", "AB"], payload=UPDATE, push_type="background")
    assert (receipt.accepted, receipt.replaced) == (2, 1)
    assert counted(state, "superseded") == 1


def test_other_types_use_their_lanes_own_queue(push: Dispatcher, state: redis.Redis) -> None:
    """Only alerts have a queue for campaigns; calls in bulk are calls."""
    receipt = push.send_many(APP, many(2), payload={"call": 1}, push_type="voip", expires_in=9)
    assert [message["args"] for message in messages(state, "apns.voip")] == [[receipt.batches[0].batch_id]]
    assert stored_record(state, receipt.batches[0].batch_id).expires_in == 9.0


def test_a_server_that_goes_away_names_the_batch_in_doubt(env: dict[str, str]) -> None:
    """When the state server falls silent half-way the error names the one batch that may have been accepted."""
    with EmbeddedServer() as server:
        settings = Settings.from_env({**env, "APNS_STATE_URL": server.url, "APNS_TIMEOUT": "0.6"})

        def device_tokens_until_silence() -> Iterator[str]:
            yield from many(2 * MAX_BATCH_SIZE)
            os.kill(server.pid, signal.SIGSTOP)
            yield "ab"

        with Dispatcher(settings) as push, pytest.raises(EnqueueError) as caught:
            push.send_many(APP, device_tokens_until_silence(), payload=PAYLOAD, push_type="alert")
        os.kill(server.pid, signal.SIGCONT)
        assert not caught.value.certainly_not_accepted
        before = caught.value.accepted
        assert before is not None
        assert (before.accepted, len(before.batches)) == (2 * MAX_BATCH_SIZE, 2)
        (in_doubt,) = caught.value.apns_ids
        assert ids.is_canonical(in_doubt)
        with redis.Redis.from_url(server.url) as state:
            assert counted(state, "accepted") in {2 * MAX_BATCH_SIZE, 2 * MAX_BATCH_SIZE + 1}
