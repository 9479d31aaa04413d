"""What rows send, and what they measure of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from tests.chaos.ledger import Accepted
from tests.chaos.rig import Rig


def steadily(rig: Rig, call: Callable[[], int], *, rate: float, seconds: float) -> None:
    """Call at a steady rate of notifications, reading feedback meanwhile; `call` returns how many each time is."""
    begun, sent = time.monotonic(), 0
    while (passed_s := time.monotonic() - begun) < seconds:
        sent += call()
        rig.wait(max(0.0, sent / rate - passed_s))


def delays_s(rig: Rig, is_meant: Callable[[Accepted], bool] = lambda _: True) -> list[float]:
    """Return how long after its receipt each notification first came to Apple, in seconds."""
    accepted_at = {each.apns_id: each.at for each in rig.accepted() if is_meant(each)}
    first_at: dict[str, float] = {}
    for request in rig.arrived():
        first_at.setdefault(request.apns_id, request.at)
    return [at - accepted_at[apns_id] for apns_id, at in first_at.items() if apns_id in accepted_at]


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the value that so many percent are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def provider_tokens(rig: Rig) -> int:
    """Return how many different provider tokens Apple has seen."""
    return len({request.provider_token for request in rig.arrived()})


def attempts_used(rig: Rig) -> int:
    """Return the most attempts that anything unsettled has used up."""
    used = [0]
    for claim in rig.state.scan_iter("*:claim:*", count=1000):
        fields = rig.state.hgetall(claim)
        used += [int(value.split(b" ")[0]) for name, value in fields.items() if name.isdigit()]
    for slot in rig.state.scan_iter("*:slot:*", count=1000):
        used.append(int(rig.state.hget(slot, "attempts") or 0))
    return max(used)
