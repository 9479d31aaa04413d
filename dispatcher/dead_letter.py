"""What could not be sent, as a value: how it lies in its stream, which ones somebody wants, how one is sent again.

Pure: `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from dispatcher.push_types import PUSH_TYPES, Collapse
from dispatcher.record import Record

_SHOWN_DIGITS: Final = 4
_TRIES_SEPARATOR: Final = "; "


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One notification that could not be sent after all tries, or could not be read.

    Attributes:
        app: Bundle id; `redis_keys.UNREADABLE` for a record that cannot be read, of which little else is known.
        apns_id: Its id.
        reason: Why it ended here: Apple's last reason, or ours in words.
        at: When, Unix seconds of the state server's clock.
        stored: The record as it was stored.
        shard: The shard of its stream.
        stream_id: Its place there.
        environment: Apple's environment.
        push_type: Value of apns-push-type.
        device_token: Lower-case hex.
        status: HTTP status of Apple's last answer; 0 when there was none.
        accepted_at: When it was accepted, Unix seconds; when it ended if that is not known.
        tries: "<Unix seconds> <reason>" of its last tries, oldest first.
        in_slot: It waited in its device's slot, where only the newest counts.
    """

    app: str
    apns_id: str
    reason: str
    at: float
    stored: bytes
    shard: int
    stream_id: str
    environment: str = ""
    push_type: str = ""
    device_token: str = ""
    status: int = 0
    accepted_at: float = 0.0
    tries: tuple[str, ...] = ()
    in_slot: bool = False

    @property
    def order(self) -> tuple[int, int]:
        """What sorts dead letters by time, over all streams."""
        milliseconds, _, number = self.stream_id.partition("-")
        return int(milliseconds), int(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which dead letters somebody wants; what is None does not matter.

    Attributes:
        app: Bundle id, or `redis_keys.UNREADABLE`.
        reason: Exactly this reason.
        push_type: Value of apns-push-type.
        since: Not before this time, Unix seconds.
        until: Not after this time, Unix seconds.
        apns_id: Only this one.
    """

    app: str | None = None
    reason: str | None = None
    push_type: str | None = None
    since: float | None = None
    until: float | None = None
    apns_id: str | None = None

    def includes(self, letter: DeadLetter) -> bool:
        """Tell whether a dead letter is wanted."""
        exactly = (
            (self.app, letter.app),
            (self.reason, letter.reason),
            (self.push_type, letter.push_type),
            (self.apns_id, letter.apns_id),
        )
        is_late_enough = self.since is None or letter.at >= self.since
        is_early_enough = self.until is None or letter.at <= self.until
        return is_late_enough and is_early_enough and all(wanted in (None, found) for wanted, found in exactly)


def decode(app: str, fields: Mapping[bytes, bytes], *, shard: int, stream_id: str) -> DeadLetter:
    """Return the dead letter of a stream entry; fields that are missing are unknown."""
    text = {name.decode(): value.decode(errors="replace") for name, value in fields.items()}
    at = float(text.get("at", 0))
    return DeadLetter(
        app=app,
        apns_id=text.get("apns_id", ""),
        reason=text.get("reason", ""),
        at=at,
        stored=fields.get(b"record", b""),
        shard=shard,
        stream_id=stream_id,
        environment=text.get("environment", ""),
        push_type=text.get("push_type", ""),
        device_token=text.get("device_token", ""),
        status=int(text.get("status", 0)),
        accepted_at=float(text.get("accepted_at", 0)) or at,
        tries=tuple(filter(None, text.get("history", "").split(_TRIES_SEPARATOR))),
        in_slot=_is_always_in_slot(text.get("push_type", "")) or text.get("in_slot") == "1",
    )


def renewed(record: Record, *, accepted_at: float, now: float) -> Record | None:
    """Return what to accept again, now; None when its time, counted from the first acceptance, is over."""
    expires_at = record.expires_at(accepted_at)
    if expires_at is not None and expires_at <= now:
        return None
    if record.expires_in is None:
        return replace(record, send_at=None)
    left_s = max(accepted_at, record.send_at or 0.0) + record.expires_in - now
    return replace(record, send_at=None, expires_in=left_s)


def shortened(device_token: str) -> str:
    """Return what may be shown of a device token: its ends."""
    if len(device_token) <= 4 * _SHOWN_DIGITS:
        return "..."
    return f"{device_token[:_SHOWN_DIGITS]}...{device_token[-_SHOWN_DIGITS:]}"


def _is_always_in_slot(push_type: str) -> bool:
    return push_type in PUSH_TYPES and PUSH_TYPES[push_type].collapse is Collapse.ALWAYS
