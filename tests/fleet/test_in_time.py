"""A call comes in time or not at all, whatever else there is to send."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dispatcher import Lane, Outcome, ids, redis_keys
from dispatcher.dev.children import poll
from dispatcher.dev.simulator.device_tokens import Form, special_device_token
from dispatcher.push_types import RING_TIME_S
from tests.conftest import StartStack
from tests.running_fleet import Fleet

APP = "com.example.app"
CALL = {"call": "8e21"}
CALLS_PER_S = 25
Devices = Callable[[int], list[str]]


def let_time_pass(fleet: Any, seconds: float) -> None:
    """Move the state server's clock."""
    for shard in range(ids.SHARDS):
        fleet.state.incrbyfloat(redis_keys.clock(shard), seconds)


def test_calls_whose_time_is_over_never_leave(fleet: Any, devices: Devices) -> None:
    """500 calls that nobody could send in time: none leaves, each is reported expired."""
    receipts = [fleet.push.voip(APP, device_token, CALL) for device_token in devices(500)]
    let_time_pass(fleet, RING_TIME_S + 1)
    fleet.stack.start_worker(Lane.VOIP)
    fleet.wait_until_settled()
    assert fleet.requests() == []
    reported = [(record.apns_id, record.outcome) for record in fleet.feedback()]
    assert sorted(reported) == sorted((receipt.apns_id, Outcome.EXPIRED) for receipt in receipts)


@pytest.fixture
def narrow(start_stack: StartStack) -> Iterator[Fleet]:
    """Return a fleet for calls and alerts to whose connections Apple allows few streams."""
    stack = start_stack(lanes=[Lane.VOIP, Lane.ALERT], simulator_options=["--set", "full_streams=200"])
    running = Fleet(stack)
    try:
        yield running
    finally:
        running.close()


def test_calls_overtake_a_campaign(narrow: Any, devices: Devices) -> None:
    """While 20,000 alerts wait for slow answers no call is late, and 99 of 100 leave within a quarter of a second."""
    narrow.warm_up("voip", 300)
    slowly_answered = (special_device_token(Form.LATE, number) for number in range(20_000))
    narrow.push.send_many(APP, slowly_answered, payload={"aps": {"alert": "hi"}}, push_type="alert")
    narrow.wait_for_requests(500)
    enqueued_at: dict[str, float] = {}
    start = time.monotonic()
    for number, device_token in enumerate(devices(200)):
        assert poll(lambda due=start + number / CALLS_PER_S: time.monotonic() >= due, within_s=1.0)  # type: ignore[misc]
        began = time.time()
        enqueued_at[narrow.push.voip(APP, device_token, CALL).apns_id] = began
    arrived_at: dict[str, float] = {}

    def have_arrived() -> bool:
        arrived_at.update({each["apns_id"]: each["at"] for each in narrow.requests() if each["push_type"] == "voip"})
        return enqueued_at.keys() <= arrived_at.keys()

    narrow.wait_for(have_arrived)
    delays_s = sorted(arrived_at[apns_id] - began for apns_id, began in enqueued_at.items())
    assert delays_s[len(delays_s) * 99 // 100] <= 0.25
    assert narrow.counters("expired") == 0
    assert sum(each["push_type"] == "alert" for each in narrow.requests()) < 20_000, "the campaign is still going on"
