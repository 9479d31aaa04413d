"""What a web app hears when it cancels a notification or asks where it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from uuid import uuid4

import pytest
import redis

from dispatcher import (
    Cancellation,
    Dispatcher,
    NotificationError,
    Outcome,
    Settings,
    State,
    StateServerError,
    Status,
    ids,
    outbox,
    redis_keys,
    sweeping,
)
from dispatcher.dev.embedded import EmbeddedServer
from dispatcher.notes import Notes
from dispatcher.push_types import Lane
from tests.conductor.conftest import Bench
from tests.conductor.test_dispatcher import APP, DEVICE_TOKEN, counted, messages

PAYLOAD: Final = {"aps": {"alert": "hi"}}


def many(count: int) -> Iterator[str]:
    """Yield so many different device tokens."""
    return (f"{number:064x}" for number in range(count))


def state_of(push: Dispatcher, apns_id: str) -> State | None:
    """Return where a notification is."""
    found = push.status(apns_id)
    return None if found is None else found.state


@pytest.mark.parametrize("own_id", [None, "123e4567-e89b-42d3-a456-426614174000"])
async def test_an_alert_is_cancelled_in_time(push: Dispatcher, bench: Bench, own_id: str | None) -> None:
    """An alert that nobody has claimed never leaves, its message finds nothing, and cancelling again is too late."""
    apns_id = push.alert(APP, DEVICE_TOKEN, title="hi", apns_id=own_id).apns_id
    assert push.cancel(apns_id) is Cancellation.CANCELLED
    worker = await bench.worker()
    (message,) = messages(bench.redis, "apns.alert")
    assert await worker.deliver(message["args"][0]) == "gone"
    assert push.cancel(apns_id) is Cancellation.ENDED
    assert counted(bench.redis, "cancelled") == 1
    assert {name for name in bench.leftovers() if name.startswith(redis_keys.PREFIX + "{")} == set()


def test_one_of_many_is_cancelled(push: Dispatcher, state: redis.Redis) -> None:
    """From the apns id of one in a campaign follows its batch: it alone is cancelled."""
    receipt = push.send_many(APP, many(600), payload=PAYLOAD, push_type="alert")
    batch_id = receipt.batches[0].batch_id
    assert push.cancel(ids.apns_id_of(batch_id, 499)) is Cancellation.CANCELLED
    done: Any = state.hget(redis_keys.claim(ids.shard_of(batch_id), batch_id), "done")
    assert done == b"0" * 499 + b"1"
    assert counted(state, "cancelled") == 1


def test_nobody_knows_a_foreign_id(push: Dispatcher) -> None:
    """An id that was never accepted is unknown; what is no apns id is refused."""
    for foreign in (str(uuid4()), ids.new_batch_id(3, bytes(16)), ids.apns_id_of(ids.new_batch_id(3, bytes(16)), 7)):
        assert push.cancel(foreign) is Cancellation.UNKNOWN
        assert push.status(foreign) is None
    for ask in (push.cancel, push.status):
        with pytest.raises(NotificationError) as caught:
            ask("no apns id")
        assert caught.value.field == "apns_id"


def test_without_a_state_server_nothing_is_known(env: dict[str, str]) -> None:
    """A state server that is gone is an error, not an answer."""
    with EmbeddedServer() as server:
        push = Dispatcher(Settings.from_env({**env, "APNS_STATE_URL": server.url, "APNS_TIMEOUT": "0.6"}))
    for ask in (push.cancel, push.status):
        with pytest.raises(StateServerError):
            ask(str(uuid4()))


async def test_the_life_of_a_tracked_alert(push: Dispatcher, bench: Bench) -> None:
    """A tracked alert for later can be followed from its schedule to Apple's answer."""
    send_at = bench.redis.time()[0] + 3600
    apns_id = push.alert(APP, DEVICE_TOKEN, title="hi", send_at=send_at, track=True, apns_id=str(uuid4())).apns_id
    found = push.status(apns_id)
    assert found is not None
    assert (found.state, found.due, found.outcome) == (State.SCHEDULED, send_at, None)
    bench.advance(3601)
    swept = await bench.state.run(sweeping.sweep(ids.shard_of(apns_id), Lane.ALERT))
    assert [message.batch_id for message in swept.messages] == [apns_id]
    assert state_of(push, apns_id) is State.QUEUED
    worker = await bench.worker()
    assert await worker.deliver(apns_id) == "sent 1"
    found = push.status(apns_id)
    assert found is not None
    assert found == Status(
        apns_id=apns_id,
        state=State.ENDED,
        attempts=1,
        outcome=Outcome.DELIVERED,
        status=200,
        ended_at=found.ended_at,
    )
    assert found.ended_at == pytest.approx(bench.clock.now(), abs=5)


async def test_what_is_not_tracked_is_forgotten(push: Dispatcher, bench: Bench) -> None:
    """An alert that is not tracked can be followed while it lives, and no longer."""
    apns_id = push.alert(APP, DEVICE_TOKEN, title="hi").apns_id
    assert state_of(push, apns_id) is State.QUEUED
    claim = outbox.claim(apns_id, "me", lane=Lane.ALERT, queue="apns.alert", lease_s=1)
    await bench.state.run(claim)
    assert state_of(push, apns_id) is State.BEING_SENT
    await bench.state.run(outbox.settle(apns_id, "me", Notes(ended=[0]), app=APP, lane=Lane.ALERT, size=1))
    assert push.status(apns_id) is None
    assert push.cancel(apns_id) is Cancellation.ENDED


async def test_a_cancelled_one_that_was_tracked(push: Dispatcher) -> None:
    """How it ended is known of a cancelled one, too."""
    apns_id = push.alert(APP, DEVICE_TOKEN, title="hi", track=True).apns_id
    push.cancel(apns_id)
    found = push.status(apns_id)
    assert found is not None
    assert (found.state, found.outcome, found.attempts) == (State.ENDED, Outcome.CANCELLED, 0)
