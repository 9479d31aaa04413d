"""Apple's store-and-forward: the newest notification per device and topic, waiting for the device.

Source: "Viewing the status of push notifications using Metrics and APNs"; forum thread 773486 for "per topic".
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_DEFAULT_EXPIRY_S: Final = 30 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNotification:
    """A notification that waits for its device.

    Attributes:
        apns_id: As answered.
        payload: The bytes pushed.
        collapse_id: Header value; empty without.
        expires_at: Unix seconds after which it is dropped.
    """

    apns_id: str
    payload: bytes
    collapse_id: str
    expires_at: float


class Storage:
    """Keeps one notification per (device token, topic): all devices are offline, and a later push replaces an earlier.

    Args:
        max_stored: Notifications kept; the one replaced longest ago goes first.
    """

    def __init__(self, *, max_stored: int) -> None:
        self._max_stored = max_stored
        self._stored: OrderedDict[tuple[str, str], StoredNotification] = OrderedDict()

    def __len__(self) -> int:
        return len(self._stored)

    def put(self, device_token: str, topic: str, notification: StoredNotification) -> None:
        """Replace what waits for a device and topic."""
        self._stored[device_token, topic] = notification
        self._stored.move_to_end((device_token, topic))
        if len(self._stored) > self._max_stored:
            self._stored.popitem(last=False)

    def get(self, device_token: str, topic: str, now: float) -> StoredNotification | None:
        """Return what waits for a device and topic, unless it has expired."""
        notification = self._stored.get((device_token, topic))
        return notification if notification is not None and notification.expires_at > now else None


def expiry(expiration: str, now: float) -> float | None:
    """Return when a push of this apns-expiration (empty without) is dropped, or None when it is never stored."""
    longest = now + _DEFAULT_EXPIRY_S
    if not expiration:
        return longest
    until = int(expiration)
    return min(float(until), longest) if until > now else None
