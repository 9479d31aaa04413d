"""A hundred updates of one device are one push: the newest."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from dispatcher import Lane

APP = "com.example.app"


def test_only_the_newest_reaches_each_device(fleet: Any, devices: Callable[[int], list[str]]) -> None:
    """1,000 updates to 200 devices, enqueued before a worker starts, are 200 pushes, each the last one enqueued."""
    device_tokens = devices(200)
    receipts = [fleet.push.background(APP, device_tokens[n % 200], {"version": n}) for n in range(1000)]
    assert [receipt.replaced for receipt in receipts] == [False] * 200 + [True] * 800
    fleet.stack.start_worker(Lane.BACKGROUND)
    fleet.wait_until_settled()
    received = {request["device_token"]: json.loads(request["payload"])["version"] for request in fleet.requests()}
    assert received == {device_tokens[n % 200]: n for n in range(800, 1000)}
    assert len(fleet.requests()) == 200
    assert fleet.counters("superseded") == 800


def test_bulk_updates_collapse_too(fleet: Any, devices: Callable[[int], list[str]]) -> None:
    """`send_many` of background updates goes through the same slots; its apns ids follow from its batches."""
    device_tokens = devices(30)
    payloads = [{"aps": {"content-available": 1}, "version": version} for version in range(3)]
    *_, receipt = (
        fleet.push.send_many(APP, [*device_tokens, "zz"], payload=payload, push_type="background")
        for payload in payloads
    )
    assert (receipt.accepted, receipt.refused, receipt.replaced) == (30, 1, 30)
    fleet.stack.start_worker(Lane.BACKGROUND)
    fleet.wait_until_settled()
    requests = fleet.requests()
    assert len(requests) == 30
    assert {json.loads(request["payload"])["version"] for request in requests} == {2}
    expected = {f"{batch.batch_id[:-4]}{n:04x}" for batch in receipt.batches for n in range(batch.count)}
    assert {request["apns_id"] for request in requests} == expected


def test_widgets_collapse_only_when_asked(fleet: Any, devices: Callable[[int], list[str]]) -> None:
    """A push type of the background lane that is collapsed on request is sent each time otherwise."""
    (device_token,) = devices(1)
    payload = {"aps": {"content-changed": True}}
    for collapse in (False, False, True, True):
        fleet.push.send_many(APP, [device_token], payload=payload, push_type="widgets", collapse=collapse)
    fleet.stack.start_worker(Lane.BACKGROUND)
    fleet.wait_until_settled()
    assert len(fleet.requests()) == 3
    assert {request["topic"] for request in fleet.requests()} == {f"{APP}.push-type.widgets"}
