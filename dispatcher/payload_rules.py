"""What each push type demands of its payload, as functions that return the broken rules.

Each function takes the decoded payload and yields `(field, rule)` for everything Apple's pages forbid; a payload
that yields nothing is fine. They are fields of the rows in `push_types.PUSH_TYPES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

Violation = tuple[str, str]
PayloadRule = Callable[[Mapping[str, Any]], Iterator[Violation]]

VISIBLE_KEYS: Final = ("alert", "badge", "sound")
LIVE_ACTIVITY_EVENTS: Final = ("start", "update", "end")


def any_payload(_payload: Mapping[str, Any]) -> Iterator[Violation]:
    """Accept every JSON object."""
    yield from ()


def alert_payload(payload: Mapping[str, Any]) -> Iterator[Violation]:
    """Demand something a person can see or hear.

    Source: "Generating a remote notification".
    """
    aps = _aps(payload)
    if not any(key in aps for key in VISIBLE_KEYS):
        yield "payload.aps", f"an alert push needs at least one of {', '.join(VISIBLE_KEYS)}"
    badge = aps.get("badge")
    if badge is not None and (isinstance(badge, bool) or not isinstance(badge, int) or badge < 0):
        yield "payload.aps.badge", "must be a whole number, 0 or more"


def background_payload(payload: Mapping[str, Any]) -> Iterator[Violation]:
    """Demand that `aps` holds `content-available` and nothing else.

    Source: "Pushing background updates to your App".
    """
    content_available = _aps(payload).get("content-available")
    if set(_aps(payload)) != {"content-available"} or content_available != 1 or isinstance(content_available, bool):
        yield "payload.aps", 'of a background push must be exactly {"content-available": 1}'


def live_activity_payload(payload: Mapping[str, Any]) -> Iterator[Violation]:
    """Demand the keys that an event of a Live Activity needs.

    Source: "Starting and updating Live Activities with ActivityKit push notifications".
    """
    aps = _aps(payload)
    event = aps.get("event")
    if event not in LIVE_ACTIVITY_EVENTS:
        yield "payload.aps.event", f"must be one of {', '.join(LIVE_ACTIVITY_EVENTS)}"
    timestamp = aps.get("timestamp")
    if isinstance(timestamp, bool) or not isinstance(timestamp, int):
        yield "payload.aps.timestamp", "must be whole Unix seconds"
    for key in _LIVE_ACTIVITY_NEEDS.get(str(event), ()):
        if key not in aps:
            yield f"payload.aps.{key}", f"is required for the event {event}"


def content_changed_payload(payload: Mapping[str, Any]) -> Iterator[Violation]:
    """Demand `content-changed: true`.

    Source: "Updating widgets with WidgetKit push notifications", "Updating controls locally and remotely".
    """
    if _aps(payload).get("content-changed") is not True:
        yield "payload.aps.content-changed", "must be true"


def mdm_payload(payload: Mapping[str, Any]) -> Iterator[Violation]:
    """Demand the push magic of the device's enrolment."""
    if not isinstance(payload.get("mdm"), str):
        yield "payload.mdm", "must be the device's push magic, a string"


_LIVE_ACTIVITY_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "start": ("content-state", "attributes-type", "attributes", "alert"),
    "update": ("content-state",),
}


def _aps(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    aps = payload.get("aps")
    return aps if isinstance(aps, Mapping) else {}
