"""What the demo collects while it runs."""

from __future__ import annotations

from typing import Any

import redis

from dispatcher import Dispatcher, ids, redis_keys
from dispatcher.dev.demo.sources import HeldWatcher

APP = "com.example.app"


def device_in_slot(state: redis.Redis, shard: int, apns_id: str) -> str:
    """Return the device whose slot holds a notification."""
    devices: Any = state.zrange(redis_keys.held(shard, APP), 0, -1)
    for device in map(bytes.decode, devices):
        if state.hget(redis_keys.slot(shard, device), "id") == apns_id.encode():
            return device
    raise AssertionError("it is in no slot")


def test_held_updates_are_seen_waiting(push: Dispatcher, state: redis.Redis, state_url: str) -> None:
    """An update whose slot is due later is held; one that may go at once, or waits for another try, is not."""
    held, at_once, tried = (push.background(APP, f"{number:064x}").apns_id for number in range(3))
    with HeldWatcher(state_url, APP) as watcher:
        watcher.look()
        assert watcher.apns_ids == set()
        later = float(state.time()[0]) + 60
        for apns_id in (held, tried):
            shard = ids.shard_of(apns_id)
            device = device_in_slot(state, shard, apns_id)
            state.zadd(redis_keys.held(shard, APP), {device: later})
            state.hset(redis_keys.slot(shard, device), "attempts", int(apns_id == tried))
        watcher.look()
    assert watcher.apns_ids == {held}
    assert at_once not in watcher.apns_ids
