"""Let something happen to the state under load, and look what became of the load."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import Final

from dispatcher import Lane
from dispatcher.dev.children import poll
from tests.replication.conftest import Fleet
from tests.replication.load import LANES, Load, check_ends
from workers.lease import LANE_TIMES

#: The promise: producers and workers are back by themselves.
BACK_WITHIN_S: Final = 30.0
BEFORE: Final = 150
AFTER: Final = 200
TIMEOUT_S: Final = 2.0
#: What a worker was about to write when the servers changed may wait for the end of its lease.
LEASES_END_S: Final = LANE_TIMES[Lane.ALERT].lease_s + 1


def happen_under_load(
    fleet: Fleet, happen: Callable[[], object], is_over: Callable[[], bool], *, window_s: float = 0.0
) -> str:
    """Let it happen in the middle of a load; check that the fleet comes back, and everything accepted ends once.

    Args:
        fleet: Whose.
        happen: Makes it happen.
        is_over: Tells whether the servers have recovered.
        window_s: What was accepted so shortly before may be lost, in seconds.

    Returns:
        What was measured, in a line.
    """
    with Load(push=fleet.push) as load:
        assert poll(lambda: len(load.accepted) >= BEFORE, within_s=BACK_WITHIN_S), fleet.describe()
        happened_at = time.time()
        happen()
        assert poll(is_over, within_s=BACK_WITHIN_S), fleet.describe()
        over_at = time.time()
        assert poll(lambda: _has_sent_since(fleet, load, over_at), within_s=BACK_WITHIN_S), fleet.describe()
        back_s = time.time() - happened_at
        assert poll(lambda: len(load.accepted_between(over_at, inf)) >= AFTER, within_s=BACK_WITHIN_S), fleet.describe()
    assert back_s < BACK_WITHIN_S
    assert load.slowest_s < TIMEOUT_S + 1
    fleet.advance(LEASES_END_S)
    lost = [
        apns_id for apns_id in load.accepted_between(happened_at - window_s, happened_at) if _is_gone(fleet, apns_id)
    ]
    for apns_id in lost:
        del load.accepted[apns_id]
    records = fleet.feedback(f"after {happened_at}", load.accepted)
    result = check_ends(load, records, fleet.requests(), happened_at)
    assert fleet.stack.revive() == [], "no worker had to be started again"
    return f"{result}, lost {len(lost)}, back after {back_s:.1f} s"


def _is_gone(fleet: Fleet, apns_id: str) -> bool:
    """Tell whether nothing is known of a notification, though all are tracked."""
    return fleet.push.status(apns_id) is None


def _has_sent_since(fleet: Fleet, load: Load, at: float) -> bool:
    """Tell whether workers of every lane have sent what was accepted after that."""
    sent = [each["push_type"] for each in fleet.requests() if load.accepted.get(each["apns_id"], 0.0) > at]
    return set(sent) >= LANES.keys()
