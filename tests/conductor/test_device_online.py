"""What a web app's calls do to a device's slot: hold, release, refuse."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest

from dispatcher import Dispatcher, Notification, NotificationError, Receipt, Released, ids, redis_keys, routing, slots
from dispatcher.push_types import Environment, Lane
from tests.conductor.conftest import APP, Bench, Worker

DEVICE_TOKEN: Final = "ab" * 32


async def deliver(worker: Worker, receipt: Receipt) -> str:
    """Let a worker do what a wake-up for a receipt's device says."""
    return await worker.deliver(routing.wake_up_id(APP, ids.shard_of(receipt.apns_id)), lane=Lane.BACKGROUND)


def wake_ups(bench: Bench) -> int:
    """Return how many messages lie on the background queue."""
    return int(bench.redis.llen("apns.background"))


async def test_a_launch_lets_the_held_one_go(push: Dispatcher, bench: Bench) -> None:
    """The app's budget holds the second update; a launch on the device publishes a wake-up that sends it."""
    worker = await bench.worker()
    first = push.background(APP, DEVICE_TOKEN, {"n": 1})
    await deliver(worker, first)
    second = push.background(APP, DEVICE_TOKEN, {"n": 2})
    assert await deliver(worker, second) == "nothing to do"
    published = wake_ups(bench)
    assert push.device_online(APP, DEVICE_TOKEN.upper()) is Released.RELEASED
    assert wake_ups(bench) == published + 1
    assert await deliver(worker, second) == "sent 1"
    assert worker.transport.apns_ids == [first.apns_id, second.apns_id]
    assert push.device_online(APP, DEVICE_TOKEN) is Released.NOTHING


async def test_a_launch_with_the_news_drops_the_held_one(push: Dispatcher, bench: Bench) -> None:
    """`fetched` drops what is held, in the environment that is meant."""
    worker = await bench.worker()
    await deliver(worker, push.background(APP, DEVICE_TOKEN, {"n": 1}))
    held = push.background(APP, DEVICE_TOKEN, {"n": 2})
    other = Environment.SANDBOX
    assert push.device_online(APP, DEVICE_TOKEN, fetched=True, environment=other) is Released.NOTHING
    assert push.device_online(APP, DEVICE_TOKEN, fetched=True) is Released.DROPPED
    assert await deliver(worker, held) == "nothing to do"
    assert bench.leftovers() <= {"apns.background"}


def test_gathering_and_collapsing_on_request(push: Dispatcher, state: Any) -> None:
    """`hold_for` delays any notification that collapses, one by one or in bulk; only background ones are spaced."""
    push.background(APP, DEVICE_TOKEN, hold_for=60.0)
    widgets = {"aps": {"content-changed": True}}
    push.send(
        Notification(
            app=APP, push_type="widgets", device_token=DEVICE_TOKEN, payload=widgets, collapse=True, hold_for=60
        )
    )
    push.send_many(APP, ["cd" * 32], payload={"aps": {"content-available": 1}}, push_type="background", hold_for=60.0)
    waiting = [
        score - time.time()
        for shard in range(ids.SHARDS)
        for _, score in state.zrange(redis_keys.held(shard, APP), 0, -1, withscores=True)
    ]
    assert waiting == [pytest.approx(60, abs=2)] * 3
    terms = [state.hget(key, "terms").split()[4] for key in sorted(state.keys("apns:*:slot:*"))]
    assert sorted(terms) == [b"0.0", b"1200.0", b"1200.0"]


@pytest.mark.parametrize("changes", [{"app": "com.example.none"}, {"device_token": "xyz"}, {"environment": "moon"}])
def test_a_launch_names_a_known_device(push: Dispatcher, changes: dict[str, Any]) -> None:
    """A launch of an unknown app, or with what is no device token or environment, is refused by name."""
    arguments = {"app": APP, "device_token": DEVICE_TOKEN, **changes}
    with pytest.raises(NotificationError) as refused:
        push.device_online(**arguments)
    assert refused.value.field == next(iter(changes))


async def test_a_past_expiration_is_refused_by_the_servers_clock(push: Dispatcher, bench: Bench) -> None:
    """A host whose clock is behind cannot enqueue a background notification that has expired already."""
    bench.advance(1000)
    expiration = int(time.time() + 500)
    with pytest.raises(NotificationError, match="expiration: is in the past"):
        push.background(APP, DEVICE_TOKEN, expiration=expiration)
    with pytest.raises(NotificationError, match="expiration: is in the past"):
        push.send_many(
            APP,
            [DEVICE_TOKEN],
            payload={"aps": {"content-available": 1}},
            push_type="background",
            expiration=expiration,
        )
    assert bench.leftovers() == set()


async def test_status_and_cancel_find_a_slot_by_its_apns_id(push: Dispatcher, bench: Bench) -> None:
    """An id of ours leads to the shard of its slot."""
    apns_id = push.background(APP, DEVICE_TOKEN).apns_id
    shard = ids.shard_of(apns_id)
    assert await bench.state.run(slots.status(shard, apns_id)) is not None
    assert await bench.state.run(slots.cancel(shard, apns_id)) == "cancelled"
