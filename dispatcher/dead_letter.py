"""What could not be sent, as a value: how it lies in its stream, which ones somebody wants, how one is sent again.

Pure: `now` is an argument.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final

from dispatcher import record, redis_keys
from dispatcher.errors import MessageError
from dispatcher.push_types import PUSH_TYPES, Collapse
from dispatcher.record import Record
from dispatcher.sealing import Place, Sealing, batch_place, dead_letter_place, slot_place

_SHOWN_DIGITS: Final = 4
_TRIES_SEPARATOR: Final = "; "
_KEPT_OF_OVERSIZED: Final = 4096


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
        device_token: Lower-case hex; empty if it is not known, or was not sealed by one of us for this apns id.
        status: HTTP status of Apple's last answer; 0 when there was none.
        accepted_at: When it was accepted, Unix seconds; when it ended if that is not known.
        tries: "<Unix seconds> <reason>" of its last tries, oldest first.
        in_slot: It waited in its device's slot, where only the newest counts.
        device: Of what could not be read: what stands for the device in whose slot it was; empty for a batch.
        done: Of a batch that could not be read: one character per notification, "1" when it had ended before.
        told: Of feedback that could not be read: the fields of its entry as JSON; empty for a record.
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
    device: str = ""
    done: str = ""
    told: str = ""

    @property
    def place(self) -> Place:
        """The place its record was sealed for; what could not be read is kept as it lay."""
        if self.app != redis_keys.UNREADABLE:
            return dead_letter_place(self.apns_id)
        return slot_place(self.shard, self.device, self.apns_id) if self.device else batch_place(self.apns_id)

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


def decode(app: str, fields: Mapping[bytes, bytes], *, shard: int, stream_id: str, sealing: Sealing) -> DeadLetter:
    """Return the dead letter of a stream entry; fields that are missing, or make no sense, are unknown."""
    text = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
    at = _number(text.get("at", "")) or int(stream_id.partition("-")[0]) / 1000
    apns_id, push_type = text.get("apns_id", ""), text.get("push_type", "")
    return DeadLetter(
        app=app,
        apns_id=apns_id,
        reason=text.get("reason", ""),
        at=at,
        stored=_bytes(fields.get(b"stored", b"")),
        shard=shard,
        stream_id=stream_id,
        environment=text.get("environment", ""),
        push_type=push_type,
        device_token=_device_token(text.get("device_token", ""), apns_id, sealing),
        status=int(_number(text.get("status", ""))),
        accepted_at=_number(text.get("accepted_at", "")) or at,
        tries=tuple(filter(None, text.get("history", "").split(_TRIES_SEPARATOR))),
        in_slot=_is_always_in_slot(push_type) or text.get("in_slot") == "1",
        device=text.get("device", ""),
        done=text.get("done", ""),
        told=text.get("told", ""),
    )


def kept(stored: bytes) -> list[str | int]:
    """Return the fields in which a dead letter keeps a record: whole, whatever its bytes, unless it is oversized."""
    if len(stored) > record.MAX_STORED_BYTES:
        stored = stored[:_KEPT_OF_OVERSIZED]
    return ["stored", b2a_base64(stored, newline=False).decode()]


def renewed(before: Record, *, accepted_at: float, now: float) -> Record | None:
    """Return what to accept again, now; None when its time, counted from the first acceptance, is over."""
    expires_at = before.expires_at(accepted_at)
    if expires_at is not None and expires_at <= now:
        return None
    if before.expires_in is None:
        return replace(before, send_at=None)
    left_s = max(accepted_at, before.send_at or 0.0) + before.expires_in - now
    return replace(before, send_at=None, expires_in=left_s)


def shortened(device_token: str) -> str:
    """Return what may be shown of a device token: its ends."""
    if len(device_token) <= 4 * _SHOWN_DIGITS:
        return "..."
    return f"{device_token[:_SHOWN_DIGITS]}...{device_token[-_SHOWN_DIGITS:]}"


def _device_token(closed: str, apns_id: str, sealing: Sealing) -> str:
    try:
        return sealing.open_device_token(closed, apns_id) if closed else ""
    except MessageError:
        return ""


def _bytes(encoded: bytes) -> bytes:
    try:
        return a2b_base64(encoded)
    except ValueError:
        return b""


def _number(text: str) -> float:
    """Return a number of a dead letter; what is none, or no finite one, is 0."""
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if isfinite(number) else 0.0


def _is_always_in_slot(push_type: str) -> bool:
    return push_type in PUSH_TYPES and PUSH_TYPES[push_type].collapse is Collapse.ALWAYS
