"""What a web app hears of a background update: where it is, how it ended, and whether it could be cancelled."""

from __future__ import annotations

from typing import Final

import pytest

from dispatcher import Cancellation, ConflictError, Dispatcher, Outcome, State, ids, routing
from dispatcher.push_types import Lane
from tests.conductor.conftest import Bench
from tests.conductor.test_dispatcher import APP, DEVICE_TOKEN, counted

OWN_ID: Final = "123e4567-e89b-42d3-a456-426614174000"
SPACING_S: Final = 1200.0


async def deliver_updates(bench: Bench) -> str:
    """Let a worker do what is due for the device; returns what Flower shows."""
    worker = await bench.worker()
    shard = next(shard for shard in range(ids.SHARDS) if bench.redis.exists(f"apns:{{{shard:02d}}}:held:{APP}"))
    return await worker.deliver(routing.wake_up_id(APP, shard), lane=Lane.BACKGROUND)


@pytest.mark.parametrize("own_id", [None, OWN_ID])
async def test_the_life_of_a_tracked_update(push: Dispatcher, bench: Bench, own_id: str | None) -> None:
    """It is queued, then sent; the next is held until the budget allows, and superseded; all of it can be asked for."""
    first = push.background(APP, DEVICE_TOKEN, {"unread": 1}, track=True, apns_id=own_id)
    queued = push.status(first.apns_id)
    assert queued is not None
    assert queued.state is State.QUEUED
    assert await deliver_updates(bench) == "sent 1"
    sent = push.status(first.apns_id)
    assert sent is not None
    assert (sent.state, sent.outcome, sent.status, sent.attempts) == (State.ENDED, Outcome.DELIVERED, 200, 1)
    second = push.background(APP, DEVICE_TOKEN, {"unread": 2}, track=True)
    held = push.status(second.apns_id)
    assert held is not None
    assert held.accepted_at is not None
    assert held.due is not None
    assert held.state is State.HELD
    assert held.due == pytest.approx(held.accepted_at + SPACING_S, abs=10)
    assert push.background(APP, DEVICE_TOKEN, {"unread": 3}).replaced
    superseded = push.status(second.apns_id)
    assert superseded is not None
    assert (superseded.state, superseded.outcome) == (State.ENDED, Outcome.SUPERSEDED)


@pytest.mark.parametrize("own_id", [None, OWN_ID])
def test_a_held_update_is_cancelled(push: Dispatcher, bench: Bench, own_id: str | None) -> None:
    """One that waits in its slot never leaves, the app hears of it, and a second wish is too late."""
    assert push.cancel(push.background(APP, DEVICE_TOKEN, {"unread": 1}).apns_id) is Cancellation.CANCELLED
    receipt = push.background(APP, DEVICE_TOKEN, {"unread": 2}, apns_id=own_id, hold_for=60, track=True)
    assert push.cancel(receipt.apns_id) is Cancellation.CANCELLED
    assert push.cancel(receipt.apns_id) is Cancellation.ENDED
    assert [record.outcome for record in push.feedback("test").read()] == [Outcome.CANCELLED] * 2
    assert list(bench.redis.scan_iter("apns:*:slot*")) == []


def test_an_own_id_belongs_to_one_device(push: Dispatcher) -> None:
    """The same apns id for another device is a conflict, though its slot lies elsewhere."""
    push.background(APP, DEVICE_TOKEN, {"unread": 1}, apns_id=OWN_ID)
    assert push.background(APP, DEVICE_TOKEN, {"unread": 1}, apns_id=OWN_ID).repeated
    for number in range(20):
        with pytest.raises(ConflictError, match="apns_id"):
            push.background(APP, f"{number:064x}", {"unread": 1}, apns_id=OWN_ID)


def test_a_keyed_call_for_many_is_accepted_once(push: Dispatcher, bench: Bench) -> None:
    """Made again with the same key a bulk call of updates adds nothing, and the receipt says so."""
    device_tokens = [f"{number:064x}" for number in range(700)]
    payload = {"aps": {"content-available": 1}, "unread": 1}
    first, second = (
        push.send_many(APP, device_tokens, payload=payload, push_type="background", idempotency_key="news-7")
        for _ in range(2)
    )
    assert first == second
    assert (second.accepted, second.repeated) == (700, 700)
    assert counted(bench.redis, "accepted") == 700
    with pytest.raises(ConflictError, match="idempotency_key"):
        push.send_many(
            APP, device_tokens[:9], payload=payload, push_type="background", idempotency_key="news-7", track=True
        )
