"""Apple's store-and-forward: the newest notification per device and topic, waiting for the device.

Source: "Viewing the status of push notifications using Metrics and APNs"; forum thread 773486 for "per topic".
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_DEFAULT_EXPIRY_S: Final = 30 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedPush:
    """A notification that Apple has taken.

    Attributes:
        apns_id: As answered.
        payload: The bytes pushed.
        collapse_id: Header value; empty without. So are topic, push_type and channel_id.
        expires_at: Unix seconds after which it is dropped; None when it is not stored at all.
    """

    apns_id: str
    payload: bytes
    collapse_id: str
    expires_at: float | None
    topic: str = ""
    push_type: str = ""
    channel_id: str = ""


class Storage:
    """Keeps one notification per (device token, topic) for devices that are offline; a later push replaces an earlier.

    Args:
        max_stored: Notifications kept; the one replaced longest ago goes first.
    """

    def __init__(self, *, max_stored: int) -> None:
        self._max_stored = max_stored
        self._stored: OrderedDict[tuple[str, str], AcceptedPush] = OrderedDict()

    def __len__(self) -> int:
        return len(self._stored)

    def put(self, device_token: str, topic: str, push: AcceptedPush) -> None:
        """Replace what waits for a device and topic; a push that must not be stored leaves it as it is."""
        if push.expires_at is None:
            return
        self._stored[device_token, topic] = push
        self._stored.move_to_end((device_token, topic))
        if len(self._stored) > self._max_stored:
            self._stored.popitem(last=False)

    def get(self, device_token: str, topic: str, now: float) -> AcceptedPush | None:
        """Return what waits for a device and topic, unless it has expired."""
        push = self._stored.get((device_token, topic))
        return push if push is not None and push.expires_at is not None and push.expires_at > now else None

    def take_all(self, device_token: str, now: float) -> list[AcceptedPush]:
        """Take out what waits for a device, of all topics, but for what has expired."""
        places = [place for place in self._stored if place[0] == device_token]
        waiting = [self.get(*place, now) for place in places]
        for place in places:
            del self._stored[place]
        return [push for push in waiting if push is not None]


def expiry(expiration: str, now: float) -> float | None:
    """Return when a push of this apns-expiration (empty without) is dropped, or None when it is never stored."""
    longest = now + _DEFAULT_EXPIRY_S
    if not expiration:
        return longest
    until = int(expiration)
    return min(float(until), longest) if until > now else None
