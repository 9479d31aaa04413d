"""What goes into the calls of the slots' scripts, and what comes out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dispatcher.notes import Ends
from dispatcher.outbox import Acceptance
from dispatcher.push_types import PUSH_TYPES
from dispatcher.record import Record
from dispatcher.state_call import Argument, text


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotTerms:
    """When a notification may be sent, and what makes it newer than another.

    Attributes:
        spacing_s: Seconds between two notifications of a device; 0 for none.
        hold_for: Seconds to gather updates.
        send_at: Not before, Unix seconds.
        expires_in: Seconds from acceptance, or from `send_at`, during which it may be sent.
        expiration: Not after, Unix seconds; None and 0 for no limit.
        version: The app's own count of its news.
    """

    spacing_s: float = 0.0
    hold_for: float = 0.0
    send_at: float | None = None
    expires_in: float | None = None
    expiration: int | None = None
    version: int | None = None

    def as_args(self) -> tuple[Argument, ...]:
        """Return what put_slot.lua reads, empty for None."""
        optional = (self.send_at, self.expires_in, self.expiration or None, self.version)
        return (self.spacing_s, self.hold_for, *("" if value is None else value for value in optional))


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPut:
    """What became of a put into a slot.

    Attributes:
        acceptance: Accepted, or why not.
        replaced: It took the place of one still waiting.
        wake_up: A wake-up has to be published.
        superseded: A newer version had come before: it has ended already.
    """

    acceptance: Acceptance
    replaced: bool = False
    wake_up: bool = False
    superseded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A claimed slot.

    Attributes:
        device: What stands for the device in keys, 32 hex digits.
        apns_id: Of the notification in it.
        record: The stored record.
        accepted_at: Unix seconds.
        attempts: Attempts used.
        crashes: How many workers died while they held it.
        history: The last tries, "<unix s> <reason>; ...".
        has_expired: It must not be sent any more; the budget was left untouched.
    """

    device: str
    apns_id: str
    record: bytes
    accepted_at: float
    attempts: int
    crashes: int = 0
    history: str = ""
    has_expired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotsClaimed:
    """Due slots of one app and shard.

    Attributes:
        now: The state server's clock, Unix seconds.
        slots: At most as many as were asked for, or one whose worker died; none when the wake-up is over.
    """

    now: float
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReturn:
    """What became of the notification a slot was sending.

    Attributes:
        device: The slot's device.
        apns_id: Of the notification that was sent or tried.
        ends: What it leaves behind.
        counts: It was sent, or may have been: it uses up the device's budget.
        delay_s: None when it ended, else seconds until it is tried again; the device gets nothing sooner.
        is_parked: It waits until a pause ends.
        attempts: Attempts used.
        history: The last tries, "<unix s> <reason>; ...".
    """

    device: str
    apns_id: str
    ends: Ends
    counts: bool
    delay_s: float | None = None
    is_parked: bool = False
    attempts: int = 0
    history: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the form that give_back.lua decodes."""
        return {
            "device": self.device,
            "apns_id": self.apns_id,
            "has_ended": self.delay_s is None and not self.is_parked,
            "is_parked": self.is_parked,
            "counts": self.counts,
            "delay": self.delay_s or 0,
            "attempts": self.attempts,
            "history": self.history,
            "ends": self.ends.as_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotStatus:
    """How far a notification in a slot has come.

    Attributes:
        accepted_at: Unix seconds.
        allowed: When it may be sent, Unix seconds; in the past when it is due.
        attempts: Attempts used.
        is_being_sent: A worker has it.
        is_parked: It waits until a pause ends.
    """

    accepted_at: float
    allowed: float
    attempts: int
    is_being_sent: bool
    is_parked: bool


class Released(StrEnum):
    """What became of a device's waiting notification when its app was launched."""

    RELEASED = "released"
    DROPPED = "dropped"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOnline:
    """The reply to a launch of the app on a device.

    Attributes:
        released: What became of the waiting one.
        wake_up: A wake-up has to be published.
    """

    released: Released
    wake_up: bool


def terms_of(record: Record, *, spacing_s: float, hold_for: float = 0.0) -> SlotTerms:
    """Return a record's terms; only push types whose number Apple counts are spaced."""
    return SlotTerms(
        spacing_s=spacing_s if PUSH_TYPES[record.push_type].is_budgeted else 0.0,
        hold_for=hold_for,
        send_at=record.send_at,
        expires_in=record.expires_in,
        expiration=record.expiration,
        version=record.version,
    )


def sent_at(last_send: bytes | None) -> float:
    """Return when a device's last send was at the latest, as slots.lua stores it; 0 if it is not known."""
    at = (last_send or b"").partition(b" ")[0]
    return 0.0 if at in (b"", b"-") else float(at)


def read_put(reply: Sequence[Any]) -> SlotPut:
    """Read the reply of put_slot.lua."""
    acceptance = Acceptance(text(reply[0]))
    if acceptance is not Acceptance.ACCEPTED:
        return SlotPut(acceptance=acceptance)
    replaced, wake_up, superseded = map(bool, reply[1:])
    return SlotPut(acceptance=acceptance, replaced=replaced, wake_up=wake_up, superseded=superseded)


def read_claim(reply: Sequence[Any]) -> SlotsClaimed:
    """Read the reply of claim_slots.lua."""
    return SlotsClaimed(now=float(reply[0]), slots=tuple(map(_read_slot, reply[1:])))


def read_status(reply: Sequence[Any] | None) -> SlotStatus | None:
    """Read the reply of slot_status.lua."""
    if reply is None:
        return None
    accepted_at, allowed, attempts, is_being_sent, is_parked = reply
    return SlotStatus(
        accepted_at=float(accepted_at),
        allowed=float(allowed),
        attempts=int(attempts),
        is_being_sent=bool(is_being_sent),
        is_parked=bool(is_parked),
    )


def _read_slot(taken: Sequence[Any]) -> Slot:
    device, apns_id, record, accepted_at, attempts, crashes, history, has_expired = taken
    return Slot(
        device=text(device),
        apns_id=text(apns_id),
        record=record,
        accepted_at=float(accepted_at),
        attempts=int(attempts),
        crashes=int(crashes),
        history=text(history),
        has_expired=bool(has_expired),
    )
