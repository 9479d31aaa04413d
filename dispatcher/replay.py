"""How a dead letter comes back: as a batch of one, or into its device's slot, always under its own apns id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis
from redis.client import Pipeline

from dispatcher import ids, outbox, record, redis_keys, routing, slots, sweeping
from dispatcher.dead_letter import DeadLetter
from dispatcher.outbox import Acceptance
from dispatcher.push_types import PUSH_TYPES
from dispatcher.record import Record
from dispatcher.sealing import Sealing, batch_place, slot_place
from dispatcher.slot_values import sent_at, terms_of
from dispatcher.state_call import StateCall
from dispatcher.state_server import StateServer
from dispatcher.sweeping import Message


class Replay(StrEnum):
    """What became of the wish to send a dead letter again; only the replayed leave their stream."""

    REPLAYED = "replayed"
    EXPIRED = "expired"
    UNREADABLE = "unreadable"
    NOT_CONFIGURED = "app not configured"
    SUPERSEDED = "superseded"
    UNSETTLED = "not settled yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """One way back.

    Attributes:
        call: Accepts it.
        watched: Keys that must not change between the look and the call.
        hindrance: Looks whether something is in the way.
        acceptance: Reads from the call's reply what became of it.
        message: Reads from it what to publish.
        done: The key of a claim, and the flags of those that had ended before; None when none had.
    """

    call: StateCall[Any]
    watched: tuple[str, ...]
    hindrance: Callable[[Pipeline], Replay | None]
    acceptance: Callable[[Any], Acceptance]
    message: Callable[[Any], Message | None]
    done: tuple[str, str] | None = None


def way_back(letter: DeadLetter, again: Record, *, spacing_s: float, sealing: Sealing) -> Return:
    """Return how a dead letter gets where it was before.

    Args:
        letter: The dead letter.
        again: What is to be sent of it.
        spacing_s: Seconds between two background notifications of a device.
        sealing: How records are sealed.
    """
    return _into_slot(letter, again, spacing_s, sealing) if letter.in_slot else _as_batch(letter, again, sealing)


def hindrance_of(state: StateServer, way: Return) -> Replay | None:
    """Look whether something is in the way at present.

    Raises:
        redis.RedisError: The server did not answer.
    """
    with state.transaction(way.call.shard) as look:
        look.watch(*way.watched)  # type: ignore[no-untyped-call]
        return way.hindrance(look)


def take(state: StateServer, way: Return, apns_id: str) -> tuple[Replay, Message | None]:
    """Go a way back; returns what became of it, and what to publish.

    The id is settled, and so known; it is forgotten for as long as this takes, and what was known of it comes back.

    Raises:
        redis.RedisError: The server did not confirm it.
    """
    seen = redis_keys.seen(way.call.shard, apns_id)
    with state.transaction(way.call.shard) as transaction:
        transaction.watch(seen, *way.watched)  # type: ignore[no-untyped-call]
        if found := way.hindrance(transaction):
            return found, None
        known: Any = transaction.get(seen)
        left_ms: Any = transaction.pttl(seen)
        transaction.multi()
        transaction.delete(seen)
        state.enlist(way.call, transaction)
        if way.done is not None:
            claim, flags = way.done
            transaction.hset(claim, "done", flags)
        if known is not None and left_ms > 0:
            transaction.set(seen, known, px=left_ms)
        try:
            reply = way.call.read(transaction.execute()[1])
        except redis.WatchError:
            return Replay.UNSETTLED, None
    if way.acceptance(reply) is not Acceptance.ACCEPTED:
        return Replay.UNSETTLED, None
    return Replay.REPLAYED, way.message(reply)


def _as_batch(letter: DeadLetter, again: Record, sealing: Sealing) -> Return:
    """Come back as a batch, unless one of that id still holds others that have not ended.

    It is a batch of one, or all that could not be read before, without those that had ended.
    """
    shard, count = ids.shard_of(letter.apns_id), len(again.device_tokens)
    lane = PUSH_TYPES[again.push_type].lane
    queue = routing.single_queue(lane)
    batch = redis_keys.batch(shard, letter.apns_id)
    message = Message(queue=queue, batch_id=letter.apns_id, summary=sweeping.summary(again.app, count))
    return Return(
        call=outbox.put(
            letter.apns_id,
            record.encode(again, batch_place(letter.apns_id), sealing),
            app=again.app,
            lane=lane,
            queue=queue,
            count=count,
            digest="",
        ),
        done=(redis_keys.claim(shard, letter.apns_id), letter.done) if letter.done else None,
        watched=(batch,),
        hindrance=lambda look: Replay.UNSETTLED if look.exists(batch) else None,
        acceptance=lambda reply: reply,
        message=lambda _reply: message,
    )


def _into_slot(letter: DeadLetter, again: Record, spacing_s: float, sealing: Sealing) -> Return:
    """Come back into the device's slot, unless a newer one is there or was sent since."""
    digest = slots.device_of(again)
    shard, device = ids.shard_of_device(digest), digest.hex()
    slot, sent = redis_keys.slot(shard, device), redis_keys.sent(shard, device)

    def hindrance(look: Pipeline) -> Replay | None:
        occupant: Any = look.hget(slot, "id")
        if occupant is not None:
            return Replay.UNSETTLED if occupant.decode() == letter.apns_id else Replay.SUPERSEDED
        last_send: Any = look.get(sent)
        return Replay.SUPERSEDED if sent_at(last_send) > letter.at else None

    wake_up = slots.wake_up_message(routing.wake_up_id(again.app, shard))
    return Return(
        call=slots.put(
            shard,
            device,
            letter.apns_id,
            record.encode(again, slot_place(shard, device, letter.apns_id), sealing),
            app=again.app,
            terms=terms_of(again, spacing_s=spacing_s),
            digest="",
            window_s=0,
        ),
        watched=(slot, sent),
        hindrance=hindrance,
        acceptance=lambda reply: reply.acceptance,
        message=lambda reply: wake_up if reply.wake_up else None,
    )
