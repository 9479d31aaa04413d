"""When a web app says that something is to be sent, and until when: on the state server's clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
import redis

from dispatcher import Dispatcher, NotificationError
from dispatcher.push_types import Lane
from tests.conductor.conftest import Bench
from tests.conductor.test_dispatcher import APP, DEVICE_TOKEN, counted, messages, stored_record

DAY_S = 24 * 3600
WEEK_S = 7 * DAY_S


def refusal(push: Dispatcher, push_type: str = "alert", **options: Any) -> NotificationError:
    """Return the error that a notification with these options meets."""
    body: dict[str, Any] = {"data": {"call": 1}} if push_type == "voip" else {"title": "hi"}
    with pytest.raises(NotificationError) as caught:
        getattr(push, push_type)(APP, DEVICE_TOKEN, **body, **options)
    return caught.value


def test_what_is_for_later_is_accepted_without_a_message(push: Dispatcher, state: redis.Redis) -> None:
    """An alert for later is accepted, said in seconds or as a datetime; its message comes when it is due."""
    send_at = int(time.time()) + 3600
    for moment in (send_at, datetime.fromtimestamp(send_at, UTC)):
        receipt = push.alert(APP, DEVICE_TOKEN, title="hi", send_at=moment)
        assert (receipt.queued, receipt.repeated) == (True, False)
        assert stored_record(state, receipt.apns_id).send_at == send_at
    bulk = push.send_many(APP, ["ab"], payload={"aps": {"alert": "hi"}}, push_type="alert", send_at=send_at)
    assert bulk.batches[0].queued
    assert messages(state, "apns.alert") + messages(state, "apns.alert.bulk") == []
    assert counted(state, "accepted") == 3


def test_a_wrong_clock_on_the_web_host_refuses_nothing(push: Dispatcher, bench: Bench) -> None:
    """A host that is a week behind the state server neither lets through what is past nor refuses what is not."""
    bench.advance(WEEK_S)
    there = int(time.time()) + WEEK_S
    assert push.alert(APP, DEVICE_TOKEN, title="hi", expiration=there + 60).queued
    assert push.voip(APP, DEVICE_TOKEN, {"call": 1}, expiration=there + 25).queued
    error = refusal(push, expiration=there - 60)
    assert (error.field, error.rule) == ("expiration", "is in the past")
    assert counted(bench.redis, "accepted") == 2


def test_a_wrong_clock_the_other_way(push: Dispatcher, bench: Bench) -> None:
    """A host that is a week ahead of the state server can still send a call."""
    bench.advance(-WEEK_S)
    there = int(time.time()) - WEEK_S
    assert push.voip(APP, DEVICE_TOKEN, {"call": 1}, expiration=there + 25).queued
    error = refusal(push, "voip", expiration=there + 35)
    assert (error.field, error.rule) == ("expiration", "of a push of type voip must be 0 or at most 30 s ahead")


def test_not_too_far_ahead(push: Dispatcher, state: redis.Redis) -> None:
    """Nothing waits longer than 30 days to be sent."""
    now = time.time()
    assert push.alert(APP, DEVICE_TOKEN, title="hi", send_at=now + 29 * DAY_S).queued
    error = refusal(push, send_at=now + 31 * DAY_S)
    assert (error.field, error.rule) == ("send_at", "must be at most 30 days ahead")
    assert counted(state, "accepted") == 1


async def test_it_is_sent_in_its_time(push: Dispatcher, bench: Bench) -> None:
    """A call for later is sent when it is due, and has its whole time from then on."""
    receipt = push.voip(APP, DEVICE_TOKEN, {"call": 1}, send_at=time.time() + 3600, expires_in=10)
    worker = await bench.worker()
    assert await worker.deliver(receipt.apns_id, lane=Lane.VOIP) == "waiting"
    bench.advance(3605)
    assert await worker.deliver(receipt.apns_id, lane=Lane.VOIP) == "sent 1"


async def test_its_time_is_over_at_last(push: Dispatcher, bench: Bench) -> None:
    """A call for later that nobody sent in its time expires."""
    receipt = push.voip(APP, DEVICE_TOKEN, {"call": 1}, send_at=time.time() + 3600, expires_in=10)
    worker = await bench.worker()
    bench.advance(3611)
    assert await worker.deliver(receipt.apns_id, lane=Lane.VOIP) == "expired 1"
