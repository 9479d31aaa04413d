"""Slots: the newest background notification of each device. Each function says one call of one script.

An occupied slot is always in exactly one of `held`, by the time it may be sent or expires, `slot-leased` and
`slot-parked`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

from dispatcher import redis_keys, routing, slot_values, sweeping
from dispatcher.cancellation import Cancellation
from dispatcher.guard import NO_GUARD, Guard
from dispatcher.push_types import PUSH_TYPES, Lane
from dispatcher.record import Record
from dispatcher.slot_values import DeviceOnline, Released, SlotPut, SlotReturn, SlotsClaimed, SlotStatus, SlotTerms
from dispatcher.state_call import StateCall, text
from dispatcher.sweeping import Message

_QUEUE: Final = routing.single_queue(Lane.BACKGROUND)


def device_of(record: Record) -> bytes:
    """Return the digest that stands for the device of a single notification."""
    topic = PUSH_TYPES[record.push_type].topic(record.app)
    return redis_keys.device_digest(record.environment, topic, record.device_tokens[0])


def put(
    shard: int,
    device: str,
    apns_id: str,
    record: bytes,
    *,
    app: str,
    terms: SlotTerms,
    digest: str,
    window_s: int,
    guard: Guard = NO_GUARD,
) -> StateCall[SlotPut]:
    """Put a notification into its device's slot; the newest wins.

    Args:
        shard: The device's.
        device: What stands for the device in keys.
        apns_id: Of the notification.
        record: Its stored form.
        app: Its bundle id.
        terms: When it may be sent.
        digest: Of its content, to accept it once under a caller's own id; empty for an id of ours.
        window_s: How long the digest is remembered.
        guard: When it is refused, with an error reply; there are never more slots than devices, so none is too many.
    """
    return StateCall(
        script="put_slot",
        shard=shard,
        keys=(
            redis_keys.slot(shard, device),
            redis_keys.held(shard, app),
            *_wake_up_keys(shard),
            redis_keys.counters(shard),
            redis_keys.seen(shard, apns_id),
            redis_keys.feedback(shard),
            redis_keys.slot_parked(shard, app),
        ),
        args=(
            device,
            apns_id,
            record,
            redis_keys.counter("accepted", app, Lane.BACKGROUND),
            digest,
            window_s,
            routing.wake_up_id(app, shard),
            *terms.as_args(),
            *guard.server_args(),
        ),
        read=slot_values.read_put,
    )


def claim(app: str, shard: int, claim_id: str, *, lease_s: float, most: int) -> StateCall[SlotsClaimed]:
    """Take at most `most` due slots of an app for `lease_s` seconds."""
    args = (routing.wake_up_id(app, shard), claim_id, lease_s, most)
    return StateCall(
        script="claim_slots",
        shard=shard,
        keys=(
            redis_keys.held(shard, app),
            redis_keys.slot_leased(shard, app),
            *_wake_up_keys(shard),
            redis_keys.counters(shard),
            redis_keys.feedback(shard),
        ),
        args=(*args, 0),
        again=(*args, 1),
        read=slot_values.read_claim,
    )


def give_back(app: str, shard: int, claim_id: str, returns: Iterable[SlotReturn]) -> StateCall[int]:
    """Give slots back; the reply is how many were still ours."""
    return StateCall(
        script="give_back",
        shard=shard,
        keys=(
            redis_keys.held(shard, app),
            redis_keys.slot_leased(shard, app),
            redis_keys.feedback(shard),
            redis_keys.counters(shard),
            redis_keys.dead(shard, app),
            redis_keys.slot_parked(shard, app),
        ),
        args=(claim_id, json.dumps([item.as_json() for item in returns])),
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


def sweep(shard: int, apps: Sequence[str]) -> StateCall[list[Message]]:
    """Take back slots of dead workers; the reply is the wake-ups to publish."""
    return StateCall(
        script="sweep_slots",
        shard=shard,
        keys=(
            *_wake_up_keys(shard),
            redis_keys.counters(shard),
            redis_keys.feedback(shard),
            *(key for app in apps for key in (redis_keys.held(shard, app), redis_keys.slot_leased(shard, app))),
        ),
        args=(sweeping.SWEEP_LIMIT, *(routing.wake_up_id(app, shard) for app in apps)),
        read=lambda reply: [wake_up_message(text(wake_up)) for wake_up in reply],
    )


def unpark(shard: int, app: str, *, before: float, most: int) -> StateCall[list[Message]]:
    """Hold parked slots that are to be looked at before a time: infinity for all, now for what has expired.

    The reply is the wake-up to publish, if one is needed.
    """
    wake_up = routing.wake_up_id(app, shard)
    return StateCall(
        script="unpark_slots",
        shard=shard,
        keys=(redis_keys.slot_parked(shard, app), redis_keys.held(shard, app), *_wake_up_keys(shard)),
        args=(before, most, wake_up),
        read=lambda reply: [wake_up_message(wake_up)] if reply else [],
    )


def device_online(shard: int, device: str, *, app: str, fetched: bool) -> StateCall[DeviceOnline]:
    """Release what waits for a device whose app was launched; drop it if the app has fetched the news itself."""
    return StateCall(
        script="device_online",
        shard=shard,
        keys=(
            redis_keys.slot(shard, device),
            redis_keys.held(shard, app),
            redis_keys.slot_parked(shard, app),
            *_wake_up_keys(shard),
            redis_keys.counters(shard),
            redis_keys.feedback(shard),
        ),
        args=(device, routing.wake_up_id(app, shard), int(fetched)),
        read=lambda reply: DeviceOnline(released=Released(text(reply[0])), wake_up=bool(reply[1])),
    )


def cancel(shard: int, apns_id: str) -> StateCall[Cancellation]:
    """Cancel a notification that went into a slot of this shard.

    One that was superseded is only known if it is tracked or had an id of the caller's own.
    """
    return StateCall(
        script="slot_cancel",
        shard=shard,
        keys=(
            redis_keys.slot_of(shard, apns_id),
            redis_keys.seen(shard, apns_id),
            redis_keys.ended(shard, apns_id),
            redis_keys.counters(shard),
            redis_keys.feedback(shard),
        ),
        args=(apns_id,),
        read=lambda reply: Cancellation(text(reply)),
    )


def status(shard: int, apns_id: str) -> StateCall[SlotStatus | None]:
    """Ask how far a notification has come; None when no slot of this shard holds it."""
    return StateCall(
        script="slot_status",
        shard=shard,
        keys=(redis_keys.slot_of(shard, apns_id),),
        args=(apns_id,),
        read=slot_values.read_status,
    )


def wake_up_message(wake_up: str) -> Message:
    """Return the message that wakes a background worker."""
    app, _ = routing.parse_wake_up(wake_up) or ("?", 0)
    return Message(queue=_QUEUE, batch_id=wake_up, summary=f"{app} wake-up")


def _wake_up_keys(shard: int) -> tuple[str, str]:
    return redis_keys.queued(shard, _QUEUE), redis_keys.leased(shard, Lane.BACKGROUND)
