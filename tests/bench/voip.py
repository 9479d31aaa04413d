"""How long a call takes from the web app to APNs, alone and while alerts wait for a slow APNs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Final

from dispatcher.dev.children import poll
from dispatcher.push_types import Environment, Lane
from tests.bench.fleet import GIVE_UP_AFTER_S, Fleet, fleet
from tests.bench.pushes import APP, PAYLOAD, device_token, device_tokens
from tests.bench.results import Row, Unit, VoidError
from tests.bench.sizes import Sizes
from workers.transport.port import STATUS_ACCEPTED

_WARM_UP_CALLS: Final = 20
#: Enough for the alerts' worker to find out how much it may have in flight.
_WARM_UP_ALERTS: Final = 2_000
_EVERY_S: Final = 0.02
_ALERT_DELAY_MS: Final = 500


def measure(sizes: Sizes) -> Iterator[Row]:
    """Measure calls to the simulator; alerts go to the sink, as to another environment of APNs."""
    with fleet(simulated_production=True, delay_ms=_ALERT_DELAY_MS) as stage:
        for lane in (Lane.VOIP, Lane.ALERT):
            stage.stack.start_worker(lane)
        _call(stage, _WARM_UP_CALLS)
        idle = [_call(stage, sizes.calls) for _ in range(sizes.call_rounds)]
        _queue_alerts(stage, _WARM_UP_ALERTS)
        _wait_for_alerts(stage, _WARM_UP_ALERTS)
        left: list[int] = []
        busy = [_call_while_busy(stage, sizes, left) for _ in range(sizes.call_rounds)]
    note = f"{sizes.calls:,} calls, one every {_EVERY_S * 1000:g} ms"
    yield _row("call to APNs, idle, p50", idle, 50, aim=3.0, note=note)
    yield _row("call to APNs, idle, p99", idle, 99, aim=10.0)
    note = f"answered after {_ALERT_DELAY_MS:,} ms; {min(left):,} or more left at the last call"
    yield _row(f"call to APNs, {sizes.queued_alerts:,} alerts queued, p50", busy, 50, note=note)
    yield _row(f"call to APNs, {sizes.queued_alerts:,} alerts queued, p99", busy, 99, aim=50.0)


def _row(what: str, rounds: Sequence[list[float]], percent: int, *, aim: float | None = None, note: str = "") -> Row:
    values = [_percentile(latencies_ms, percent) for latencies_ms in rounds]
    return Row(what=what, unit=Unit.MS, values=values, aim=aim, note=note)


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[ceil(len(values) * percent / 100) - 1]


def _call_while_busy(stage: Fleet, sizes: Sizes, left: list[int]) -> list[float]:
    """Queue alerts, then call; `left` gets how many alerts had not reached APNs by the last call."""
    expected = stage.sink.seen + sizes.queued_alerts
    _queue_alerts(stage, sizes.queued_alerts)
    latencies_ms = _call(stage, sizes.calls)
    left.append(expected - stage.sink.seen)
    if left[-1] <= 0:
        raise VoidError("the alerts were all sent before the last call")
    _wait_for_alerts(stage, expected)
    return latencies_ms


def _queue_alerts(stage: Fleet, count: int) -> None:
    stage.push.send_many(APP, device_tokens(count), payload=PAYLOAD, push_type="alert", environment=Environment.SANDBOX)


def _wait_for_alerts(stage: Fleet, seen: int) -> None:
    if not poll(lambda: stage.sink.seen >= seen, within_s=GIVE_UP_AFTER_S) or stage.sink.seen != seen:
        raise VoidError(f"the sink saw {stage.sink.seen:,} alerts instead of {seen:,}")


def _call(stage: Fleet, calls: int) -> list[float]:
    """Send calls at an even pace; return how long each took, in milliseconds.

    Raises:
        VoidError: The simulator did not accept each of them exactly once.
    """
    sent: dict[str, float] = {}
    next_at = time.monotonic()
    for number in range(calls):
        time.sleep(max(0.0, next_at - time.monotonic()))
        next_at += _EVERY_S
        before = time.time()
        sent[stage.push.voip(APP, device_token(number), {"call": f"{number:08x}"}).apns_id] = before
    poll(lambda: len(_accepted(stage, sent)) >= calls, within_s=GIVE_UP_AFTER_S)
    accepted = _accepted(stage, sent)
    if sorted(apns_id for apns_id, _ in accepted) != sorted(sent):
        raise VoidError(f"{calls:,} calls sent, {len(accepted):,} accepted by the simulator")
    return [(at - sent[apns_id]) * 1000 for apns_id, at in accepted]


def _accepted(stage: Fleet, sent: dict[str, float]) -> list[tuple[str, float]]:
    """Return the apns id and the Unix time of each of these pushes that the simulator accepted."""
    written, _, _ = stage.stack.simulator_requests.read_text(encoding="utf-8").rpartition("\n")
    requests = map(json.loads, written.splitlines())
    return [
        (request["apns_id"], request["at"])
        for request in requests
        if request["apns_id"] in sent and request["status"] == STATUS_ACCEPTED
    ]
