"""Devices that Apple wants left alone for a while: TooManyRequests is about one device, and slows nothing else.

Pure; all times are Unix seconds of the state server.

Source: "Handling notification responses from APNs": too many requests in a row to the same device token.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

#: Devices that are remembered; of more the one slowed longest ago is forgotten.
MOST_REMEMBERED: Final = 10_000


class SlowDevices:
    """Until when each device is left alone, as far as one process knows."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def slow_down(self, device_token: str, until: float) -> None:
        """Leave a device alone until a time."""
        self._until[device_token] = max(until, self._until.get(device_token, 0.0))
        self._until.move_to_end(device_token)
        if len(self._until) > MOST_REMEMBERED:
            self._until.popitem(last=False)

    def wait_s(self, device_token: str, now: float) -> float:
        """Return how long a device is to be left alone, in seconds; 0 for not at all."""
        if not self._until or (until := self._until.get(device_token)) is None:
            return 0.0
        if until > now:
            return until - now
        del self._until[device_token]
        return 0.0
