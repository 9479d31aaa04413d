"""Servers that are gone, and queues that hold what nobody should have put there."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from dispatcher import Dispatcher, EnqueueError, Lane, Notification, Settings
from dispatcher.dev.embedded import EmbeddedServer

APP = "com.example.app"
GARBAGE = [b"\x00\xffgarbage", b"[]", b"{}", b'["a", 1]', b"null", b'{"body": 7}', b'{"headers": {}, "properties": {}}']
Devices = Callable[[int], list[str]]


def test_state_server_stopped(fleet: Any, devices: Devices) -> None:
    """With the state server gone every enqueue raises within 3 s, and says that nothing was accepted."""
    (device_token,) = devices(1)
    fleet.push.alert(APP, device_token, title="Hello")
    fleet.stack.server.child.kill()
    errors = []
    for send in (partial(fleet.push.alert, title="Hello"), fleet.push.background):
        started = time.monotonic()
        with pytest.raises(EnqueueError) as caught:
            send(APP, device_token)
        assert time.monotonic() - started < 3
        errors.append(caught.value)
    assert [len(error.apns_ids) for error in errors] == [1, 1]
    assert errors[-1].certainly_not_accepted, "a refused connection leaves no doubt"


def test_frozen_state_server(fleet: Any, devices: Devices) -> None:
    """With the state server frozen an enqueue raises within 3 s; sending again with its apns id is safe."""
    (device_token,) = devices(1)
    fleet.push.alert(APP, device_token, title="warm")
    fleet.stack.server.child.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(EnqueueError) as caught:
        fleet.push.alert(APP, device_token, title="Hello")
    assert time.monotonic() - started < 3
    assert not caught.value.certainly_not_accepted
    fleet.stack.server.child.send_signal(signal.SIGCONT)
    (apns_id,) = caught.value.apns_ids
    notification = Notification(
        app=APP,
        push_type="alert",
        device_token=device_token,
        payload={"aps": {"alert": {"title": "Hello"}}},
        apns_id=apns_id,
    )
    fleet.push.send(notification)
    fleet.push.send(notification)
    fleet.stack.start_worker(Lane.ALERT)
    fleet.wait_until_settled()
    assert fleet.push.send(notification).repeated
    assert fleet.seen()[apns_id] == 1


def test_broker_gone(fleet: Any, devices: Devices) -> None:
    """With only the broker gone a notification is accepted, not queued, and sent when the broker is back."""
    broker = EmbeddedServer()
    broker.start()
    env = {**fleet.stack.env, "APNS_BROKER_URL": broker.url, "APNS_STATE_URL": fleet.stack.server.url}
    broker.stop()
    with Dispatcher(Settings.from_env(env)) as push:
        receipts = [push.alert(APP, each, title="Hello") for each in devices(3)]
        receipts += [push.background(APP, each, {"sync": "inbox"}) for each in devices(3)]
        assert not any(receipt.queued for receipt in receipts)
    fleet.stack.start_worker(Lane.ALERT)
    fleet.stack.start_worker(Lane.BACKGROUND)
    fleet.wait_until_settled()
    assert fleet.seen() == {receipt.apns_id: 1 for receipt in receipts}


def test_garbage_in_a_queue(fleet: Any, devices: Devices) -> None:
    """Garbage in a queue does not end the worker or lose anything else, and each piece is counted."""
    worker = fleet.stack.start_worker(Lane.ALERT)
    device_tokens = devices(20)
    receipts = []
    for device_token, garbage in zip(device_tokens, GARBAGE * 3, strict=False):
        fleet.state.lpush("apns.alert", garbage)
        receipts.append(fleet.push.alert(APP, device_token, title="Hello"))
    fleet.wait_for_requests(20)
    fleet.wait_until_settled()
    assert worker.is_running
    assert set(fleet.seen()) == {receipt.apns_id for receipt in receipts}
    fleet.wait_for(lambda: fleet.counters("garbage") == 20)


def test_unreadable_record(fleet: Any, devices: Devices) -> None:
    """A stored record that cannot be read lies among the dead letters; the others are sent."""
    first, second = devices(2)
    broken = fleet.push.alert(APP, first, title="Hello")
    whole = fleet.push.alert(APP, second, title="Hello")
    (record_key,) = fleet.state.keys(f"*:batch:{broken.apns_id}")
    fleet.state.set(record_key, b"1.0 garbage")
    fleet.stack.start_worker(Lane.ALERT)
    fleet.wait_until_settled()
    assert fleet.seen() == {whole.apns_id: 1}
    assert fleet.counters("dead_lettered") == 1
    (dead_key,) = fleet.state.keys("*:dead:unreadable")
    assert fleet.state.xrange(dead_key)[0][1][b"apns_id"].decode() == broken.apns_id


def test_forged_records(fleet: Any, devices: Devices) -> None:
    """Records that somebody changed or exchanged are refused, kept and logged; the others are sent."""
    device_tokens = devices(8)
    alerts = [fleet.push.alert(APP, each, title="Hello").apns_id for each in device_tokens]
    updates = [fleet.push.background(APP, each, {"sync": "inbox"}).apns_id for each in device_tokens]
    (changed,) = fleet.state.keys(f"*:batch:{alerts[0]}")
    fleet.state.setrange(changed, fleet.state.strlen(changed) - 1, b"!!")
    one, two = (fleet.state.keys(f"*:batch:{apns_id}")[0] for apns_id in alerts[1:3])
    first, second = fleet.state.mget(one, two)
    fleet.state.mset({one: second, two: first})
    here, there = (slot_of(fleet, apns_id) for apns_id in updates[:2])
    fleet.state.hset(here, "record", fleet.state.hget(there, "record"))
    workers = [fleet.stack.start_worker(lane) for lane in (Lane.ALERT, Lane.BACKGROUND)]
    fleet.wait_until_settled()
    assert all(worker.is_running for worker in workers)
    assert fleet.seen() == dict.fromkeys([*alerts[3:], *updates[1:]], 1)
    assert fleet.counters("dead_lettered") == 4
    streams = fleet.state.keys("*:dead:unreadable")
    kept = [fields for stream in streams for _, fields in fleet.state.xrange(stream)]
    assert {fields[b"apns_id"].decode() for fields in kept} == {*alerts[:3], updates[0]}
    assert all(b"seal does not fit" in fields[b"reason"] for fields in kept)
    logs = "".join(worker.log.read_text(encoding="utf-8") for worker in workers)
    assert all(fields[b"sha256"].decode() in logs for fields in kept)
    assert not [each for each in device_tokens if each in logs]


def slot_of(fleet: Any, apns_id: str) -> str:
    """Return the key of the slot that holds a notification."""
    (names_it,) = fleet.state.keys(f"*:slot-of:{apns_id}")
    prefix = names_it.decode().partition("slot-of:")[0]
    return f"{prefix}slot:{fleet.state.get(names_it).decode()}"
