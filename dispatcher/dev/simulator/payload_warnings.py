"""What a device would stumble over in a payload that Apple accepts all the same."""

from __future__ import annotations

import json
from functools import lru_cache

from dispatcher.dev.simulator.request import Request
from dispatcher.push_types import PUSH_TYPES


def payload_warnings(request: Request) -> list[str]:
    """Return one line per broken rule; none for a payload that is as the push type demands."""
    return list(_warnings(request.header("apns-push-type"), request.payload))


@lru_cache(maxsize=1024)
def _warnings(push_type: str, payload: bytes) -> tuple[str, ...]:
    try:
        content = json.loads(payload)
    except ValueError:
        return ("payload: is not JSON, the device will not show it",)
    if not isinstance(content, dict):
        return ("payload: is not a JSON object, the device will not show it",)
    if push_type not in PUSH_TYPES:
        return ()
    return tuple(f"{field}: {rule}" for field, rule in PUSH_TYPES[push_type].payload_rule(content))
