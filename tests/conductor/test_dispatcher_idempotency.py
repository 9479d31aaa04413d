"""A call that is made again, by whom and however often, is accepted once and gives the same receipt."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final
from uuid import uuid4

import pytest
import redis

from dispatcher import (
    BulkReceipt,
    ConflictError,
    Dispatcher,
    EnqueueError,
    NotificationError,
    Settings,
    ids,
    outbox,
    redis_keys,
)
from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.ids import MAX_BATCH_SIZE
from dispatcher.notes import Notes
from dispatcher.push_types import Environment, Lane
from dispatcher.scripts import Clock
from dispatcher.state_server import StateServer
from tests.conductor.test_dispatcher import APP, DEVICE_TOKEN, asked, counted, messages

KEY: Final = "order-7/shipped"
BODIES: Final[dict[str, dict[str, Any]]] = {
    "alert": {"aps": {"alert": "hi"}},
    "background": {"aps": {"content-available": 1}},
}
#: Each push type has one of them.
BODY_KEYS: Final = frozenset({"title", "data"})
#: Devices whose slots are in every shard, so that a key's own shard is met and missed.
TOKENS: Final = [f"{number:064x}" for number in range(64)]

push_types = pytest.mark.parametrize("push_type", ["alert", "background"])


def many(count: int) -> Iterator[str]:
    """Yield so many different device tokens."""
    return (f"{number:064x}" for number in range(count))


@push_types
def test_the_same_call_is_accepted_once(push: Dispatcher, state: redis.Redis, push_type: str) -> None:
    """The same key and content give the same receipt, whoever asks and whatever the device's shard."""
    send = getattr(push, push_type)
    for number, device_token in enumerate(TOKENS):
        call = {**asked(push_type, "one"), "idempotency_key": f"{KEY}-{number}"}
        first, again = (send(APP, device_token, **call) for _ in range(2))
        assert (first.repeated, again.repeated) == (False, True)
        assert first == again
    assert counted(state, "accepted") == len(TOKENS)
    assert len(messages(state, "apns.alert")) == (len(TOKENS) if push_type == "alert" else 0)


@push_types
@pytest.mark.parametrize(
    "changes",
    [
        {"title": "two", "data": {"sync": "two"}},
        {"collapse_id": "x"},
        {"environment": Environment.SANDBOX},
        {"device_token": "cd" * 32},
        {"expires_in": 60},
        {"track": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_other_content_is_a_conflict(
    push: Dispatcher, state: redis.Redis, push_type: str, changes: dict[str, Any]
) -> None:
    """The same key with anything else about the notification changed is refused by name, and nothing is added."""
    first = {"app": APP, "device_token": DEVICE_TOKEN, **asked(push_type, "one"), "idempotency_key": KEY}
    send = getattr(push, push_type)
    send(**first)
    with pytest.raises(ConflictError) as caught:
        send(**{**first, **{name: value for name, value in changes.items() if name in first or name not in BODY_KEYS}})
    assert caught.value.field == "idempotency_key"
    assert not any(secret in str(caught.value) for secret in (KEY, DEVICE_TOKEN, "one"))
    assert counted(state, "accepted") == 1


def test_kinds_share_the_keys(push: Dispatcher, state: redis.Redis) -> None:
    """A key used for an alert cannot be used for an update, nor the other way round, whatever the device's shard."""
    for number, device_token in enumerate(TOKENS):
        sends: list[Callable[[str], Any]] = [
            lambda key, to=device_token: push.alert(APP, to, title="hi", idempotency_key=key),  # type: ignore[misc]
            lambda key, to=device_token: push.background(APP, to, idempotency_key=key),  # type: ignore[misc]
        ]
        for direction, (first, second) in enumerate((sends, sends[::-1])):
            first(f"{number}-{direction}")
            with pytest.raises(ConflictError):
                second(f"{number}-{direction}")
    assert counted(state, "accepted") == 2 * len(TOKENS)


def test_keys_are_the_apps_own(push: Dispatcher) -> None:
    """Different keys never meet; a key and an apns id are not given together."""
    first, other = (push.alert(APP, DEVICE_TOKEN, title="hi", idempotency_key=key) for key in ("a", "b"))
    assert first != other
    with pytest.raises(NotificationError) as caught:
        push.alert(APP, DEVICE_TOKEN, title="hi", idempotency_key="a", apns_id=str(uuid4()))
    assert caught.value.field == "idempotency_key"


def test_an_own_id_is_for_one_device(push: Dispatcher, state: redis.Redis) -> None:
    """An apns id used for one device's update is refused for another's, whatever their shards."""
    for device_token in TOKENS[1:]:
        own_id = str(uuid4())
        push.background(APP, TOKENS[0], apns_id=own_id)
        with pytest.raises(ConflictError) as caught:
            push.background(APP, device_token, apns_id=own_id)
        assert caught.value.field == "apns_id"
        assert push.background(APP, TOKENS[0], apns_id=own_id).repeated
    assert counted(state, "accepted") == len(TOKENS) - 1


def test_it_stays_known_after_it_was_delivered(push: Dispatcher, state: redis.Redis, state_url: str) -> None:
    """A notification that has ended is still the same for its window; then its key is free."""
    call: dict[str, Any] = {"title": "hi", "idempotency_key": KEY}
    first = push.alert(APP, DEVICE_TOKEN, **call)
    server = StateServer(state_url, clock=Clock.SHIFTED, timeout_s=4.0)
    server.run(outbox.claim(first.apns_id, "one", lane=Lane.ALERT, queue="apns.alert", lease_s=30))
    server.run(outbox.settle(first.apns_id, "one", Notes(ended=[0]), app=APP, lane=Lane.ALERT, size=1))
    server.close()
    assert push.alert(APP, DEVICE_TOKEN, **call).repeated
    with pytest.raises(ConflictError):
        push.alert(APP, DEVICE_TOKEN, **{**call, "title": "other"})
    seen = redis_keys.seen(ids.shard_of(first.apns_id), first.apns_id)
    assert state.ttl(seen) == pytest.approx(24 * 3600, abs=5)
    state.delete(seen)
    assert not push.alert(APP, DEVICE_TOKEN, **{**call, "title": "other"}).repeated


@push_types
def test_callers_at_once_are_one(push: Dispatcher, state: redis.Redis, push_type: str) -> None:
    """Of many threads with the same call one is the first, and all get the same receipt."""
    receipts: list[Any] = []
    barrier = threading.Barrier(8)

    def send() -> None:
        barrier.wait()
        body, accept = asked(push_type, "one"), getattr(push, push_type)
        receipts.extend(accept(APP, TOKENS[each], **body, idempotency_key=f"key-{each}") for each in range(20))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(receipts) == 160
    assert len({receipt.apns_id for receipt in receipts}) == 20
    assert sum(not receipt.repeated for receipt in receipts) == 20
    assert counted(state, "accepted") == 20


@push_types
def test_a_producer_that_crashed_runs_again(push: Dispatcher, state: redis.Redis, push_type: str) -> None:
    """A bulk call that got half-way, made again, adds what is missing and gives the receipt of an undisturbed one."""

    def send(device_tokens: Iterator[str]) -> BulkReceipt:
        return push.send_many(APP, device_tokens, payload=BODIES[push_type], push_type=push_type, idempotency_key=KEY)

    def crash_after(count: int) -> Iterator[str]:
        yield from many(count)
        raise KeyboardInterrupt

    for at in (MAX_BATCH_SIZE + 3, 2 * MAX_BATCH_SIZE + 1):
        with pytest.raises(KeyboardInterrupt):
            send(crash_after(at))
    assert counted(state, "accepted") == 2 * MAX_BATCH_SIZE
    again = send(many(1201))
    assert (again.accepted, again.repeated) == (1201, 2 * MAX_BATCH_SIZE)
    assert counted(state, "accepted") == 1201
    whole = send(many(1201))
    assert whole == again
    assert whole.repeated == 1201
    assert counted(state, "accepted") == 1201
    in_all = sum(len(messages(state, queue)) for queue in ("apns.alert.bulk", "apns.background"))
    assert in_all == (3 if push_type == "alert" else ids.SHARDS)


@push_types
def test_a_bulk_call_with_other_devices_is_a_conflict(push: Dispatcher, state: redis.Redis, push_type: str) -> None:
    """The chunks of a key are fixed: the first that differs is refused, those before it stay as they were."""
    call: dict[str, Any] = {"payload": BODIES[push_type], "push_type": push_type, "idempotency_key": KEY}
    push.send_many(APP, many(1001), **call)
    with pytest.raises(ConflictError) as caught:
        push.send_many(APP, [*many(1000), "ff"], **call)
    assert caught.value.field == "idempotency_key"
    assert counted(state, "accepted") == 1001


def test_one_and_many_do_not_meet(push: Dispatcher, state: redis.Redis) -> None:
    """The key of a bulk call, used for one update of a device in it, is refused."""
    push.send_many(APP, TOKENS, payload=BODIES["background"], push_type="background", idempotency_key=KEY)
    for device_token in TOKENS:
        with pytest.raises(ConflictError):
            push.background(APP, device_token, idempotency_key=KEY)
    assert counted(state, "accepted") == len(TOKENS)


def test_a_promise_without_its_notification_is_fulfilled_later(push: Dispatcher, state: redis.Redis) -> None:
    """A call that was cut off after it reserved its key is accepted when it is made again."""
    for number, device_token in enumerate(TOKENS):
        key = f"key-{number}"
        receipt = push.background(APP, device_token, idempotency_key=key)
        slot_shard = ids.shard_of(receipt.apns_id)
        # What a crash between the two steps leaves: the reservation, if there is one, and nothing in the slot's shard.
        left: Any = state.keys(f"{redis_keys.prefix(slot_shard)}*")
        state.delete(*left)
        again = push.background(APP, device_token, idempotency_key=key)
        assert (again, again.repeated) == (receipt, False)


@push_types
def test_in_doubt_the_key_is_enough(env: dict[str, str], push_type: str) -> None:
    """After an error that leaves doubt the same call with its key is accepted once."""
    with EmbeddedServer() as server:
        settings = Settings.from_env({**env, "APNS_STATE_URL": server.url, "APNS_TIMEOUT": "0.6"})
        with Dispatcher(settings) as push, redis.Redis.from_url(server.url) as state:
            call = {**asked(push_type, "one"), "idempotency_key": KEY}
            send = getattr(push, push_type)
            send(APP, "ab", **{**call, "idempotency_key": "another"})
            os.kill(server.pid, signal.SIGSTOP)
            with pytest.raises(EnqueueError) as caught:
                send(APP, DEVICE_TOKEN, **call)
            os.kill(server.pid, signal.SIGCONT)
            receipts = [send(APP, DEVICE_TOKEN, **call) for _ in range(2)]
            assert [receipt.apns_id for receipt in receipts] == [*caught.value.apns_ids] * 2
            assert counted(state, "accepted") == 2


def test_a_refused_time_reserves_nothing(push: Dispatcher, state: redis.Redis) -> None:
    """An alert whose expiration is past leaves its key free for the corrected call."""
    for number, device_token in enumerate(TOKENS[:16]):
        call: dict[str, Any] = {"idempotency_key": f"key-{number}"}
        with pytest.raises(NotificationError) as caught:
            push.alert(APP, device_token, title="hi", expiration=1, **call)
        assert caught.value.field == "expiration"
        assert push.alert(APP, device_token, title="hi", **call).queued
    assert counted(state, "accepted") == 16
