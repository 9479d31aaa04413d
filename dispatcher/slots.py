"""Slots: the newest background notification of each device. Each function says one call of one script.

An occupied slot is always in exactly one of `held`, by due time, and `slot-leased`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dispatcher import outbox, redis_keys, routing, sweeping
from dispatcher.cancellation import Cancellation
from dispatcher.notes import Ends
from dispatcher.outbox import Acceptance
from dispatcher.push_types import PUSH_TYPES, Lane
from dispatcher.record import Record
from dispatcher.slot_values import SlotStatus
from dispatcher.state_call import StateCall, text

_QUEUE: Final = routing.single_queue(Lane.BACKGROUND)
#: Delay that tells give_back.lua: it has ended.
_ENDED: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPut:
    """What became of a put into a slot.

    Attributes:
        acceptance: Accepted, or why not.
        replaced: It took the place of one still waiting.
        wake_up: A wake-up has to be published.
    """

    acceptance: Acceptance
    replaced: bool = False
    wake_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A claimed slot.

    Attributes:
        device: What stands for the device in keys, 32 hex digits.
        apns_id: Of the notification in it.
        record: The stored record.
        accepted_at: Unix seconds.
        attempts: Attempts used.
    """

    device: str
    apns_id: str
    record: bytes
    accepted_at: float
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotsClaimed:
    """Due slots of one app and shard.

    Attributes:
        now: The state server's clock, Unix seconds.
        slots: At most as many as were asked for; none when the wake-up is over.
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
        delay_s: None when it ended, else seconds until it is tried again.
        attempts: Attempts used.
    """

    device: str
    apns_id: str
    ends: Ends
    delay_s: float | None = None
    attempts: int = 0


def device_of(record: Record) -> bytes:
    """Return the digest that stands for the device of a single notification."""
    topic = PUSH_TYPES[record.push_type].topic(record.app)
    return redis_keys.device_digest(record.environment, topic, record.device_tokens[0])


def put(
    shard: int, device: str, apns_id: str, record: bytes, *, app: str, digest: str, window_s: int = outbox.DAY_S
) -> StateCall[SlotPut]:
    """Put a notification into its device's slot; the newest wins."""
    return StateCall(
        script="put_slot",
        shard=shard,
        keys=(
            redis_keys.slot(shard, device),
            redis_keys.held(shard, app),
            redis_keys.queued(shard, _QUEUE),
            redis_keys.leased(shard, Lane.BACKGROUND),
            redis_keys.counters(shard),
            redis_keys.seen(shard, apns_id),
            redis_keys.feedback(shard),
        ),
        args=(
            device,
            apns_id,
            record,
            redis_keys.counter("accepted", app, Lane.BACKGROUND),
            digest,
            window_s,
            routing.wake_up_id(app, shard),
        ),
        read=_read_put,
    )


def claim(app: str, shard: int, claim_id: str, *, lease_s: float, most: int) -> StateCall[SlotsClaimed]:
    """Take at most `most` due slots of an app for `lease_s` seconds."""
    return StateCall(
        script="claim_slots",
        shard=shard,
        keys=(
            redis_keys.held(shard, app),
            redis_keys.slot_leased(shard, app),
            redis_keys.queued(shard, _QUEUE),
            redis_keys.leased(shard, Lane.BACKGROUND),
            redis_keys.counters(shard),
            redis_keys.feedback(shard),
        ),
        args=(routing.wake_up_id(app, shard), claim_id, lease_s, most, redis_keys.slot(shard, "")),
        read=_read_claim,
    )


def give_back(app: str, shard: int, claim_id: str, returns: Iterable[SlotReturn]) -> StateCall[int]:
    """Give slots back; the reply is how many were still ours."""
    items = [
        (
            item.device,
            item.apns_id,
            _ENDED if item.delay_s is None else item.delay_s,
            item.attempts,
            item.ends.as_json(),
        )
        for item in returns
    ]
    return StateCall(
        script="give_back",
        shard=shard,
        keys=(
            redis_keys.held(shard, app),
            redis_keys.slot_leased(shard, app),
            redis_keys.feedback(shard),
            redis_keys.counters(shard),
            redis_keys.dead(shard, app),
        ),
        args=(claim_id, redis_keys.slot(shard, ""), redis_keys.seen(shard, ""), json.dumps(items)),
        read=int,
    )


def rest(app: str, shard: int) -> StateCall[bool]:
    """End a wake-up before its slots are drained, so that the next sweep wakes another worker."""
    return StateCall(
        script="rest",
        shard=shard,
        keys=(redis_keys.leased(shard, Lane.BACKGROUND),),
        args=(routing.wake_up_id(app, shard),),
        read=bool,
    )


def sweep(shard: int, apps: Sequence[str]) -> StateCall[list[sweeping.Message]]:
    """Take back slots of dead workers; the reply is the wake-ups to publish."""
    return StateCall(
        script="sweep_slots",
        shard=shard,
        keys=(
            redis_keys.queued(shard, _QUEUE),
            redis_keys.leased(shard, Lane.BACKGROUND),
            redis_keys.counters(shard),
            redis_keys.feedback(shard),
            *(key for app in apps for key in (redis_keys.held(shard, app), redis_keys.slot_leased(shard, app))),
        ),
        args=(redis_keys.slot(shard, ""), sweeping.SWEEP_LIMIT, *(routing.wake_up_id(app, shard) for app in apps)),
        read=lambda reply: [wake_up_message(text(wake_up)) for wake_up in reply],
    )


def unpark(shard: int, app: str, *, before: float, most: int) -> StateCall[list[sweeping.Message]]:
    """Hold parked slots that are to be looked at before a time: infinity for all, now for what has expired.

    The reply is the wake-up to publish, if one is needed.
    """
    wake_up = routing.wake_up_id(app, shard)
    return StateCall(
        script="unpark_slots",
        shard=shard,
        keys=(
            redis_keys.slot_parked(shard, app),
            redis_keys.held(shard, app),
            redis_keys.queued(shard, _QUEUE),
            redis_keys.leased(shard, Lane.BACKGROUND),
        ),
        args=(before, most, wake_up),
        read=lambda reply: [wake_up_message(wake_up)] if reply else [],
    )


def cancel(shard: int, apns_id: str) -> StateCall[Cancellation]:
    """Cancel a notification that went into a slot of this shard."""
    return StateCall(
        script="ended",
        shard=shard,
        keys=(redis_keys.slot_of(shard, apns_id),),
        args=(),
        read=lambda _: Cancellation.UNKNOWN,
    )


def status(shard: int, apns_id: str) -> StateCall[SlotStatus | None]:
    """Ask how far a notification has come; None when no slot of this shard holds it."""
    return StateCall(
        script="ended", shard=shard, keys=(redis_keys.slot_of(shard, apns_id),), args=(), read=lambda _: None
    )


def wake_up_message(wake_up: str) -> sweeping.Message:
    """Return the message that wakes a background worker."""
    app, _ = routing.parse_wake_up(wake_up) or ("?", 0)
    return sweeping.Message(queue=_QUEUE, batch_id=wake_up, summary=f"{app} wake-up")


def _read_put(reply: Sequence[Any]) -> SlotPut:
    acceptance = Acceptance(text(reply[0]))
    if acceptance is not Acceptance.ACCEPTED:
        return SlotPut(acceptance=acceptance)
    return SlotPut(acceptance=acceptance, replaced=bool(reply[1]), wake_up=bool(reply[2]))


def _read_claim(reply: Sequence[Any]) -> SlotsClaimed:
    return SlotsClaimed(
        now=float(reply[0]),
        slots=tuple(
            Slot(
                device=text(device),
                apns_id=text(apns_id),
                record=record,
                accepted_at=float(accepted_at),
                attempts=int(attempts),
            )
            for device, apns_id, record, accepted_at, attempts in reply[1:]
        ),
    )
