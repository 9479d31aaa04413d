"""Put back what is due, what dead workers left and what lost its message; each function says one call of one script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dispatcher import redis_keys, routing
from dispatcher.push_types import Lane
from dispatcher.state_call import StateCall, text

#: Batches that one sweep of one shard moves, and one marker finds.
SWEEP_LIMIT: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What to publish.

    Attributes:
        queue: Where.
        batch_id: A batch id or a wake-up.
        summary: What Flower may show.
    """

    queue: str
    batch_id: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep of one shard found.

    Attributes:
        messages: Batches put back in their queues, to be published.
        oldest: Queue -> publication time of its oldest unclaimed batch; queues with none are left out.
    """

    messages: tuple[Message, ...]
    oldest: Mapping[str, float]


def sweep(shard: int, lane: Lane) -> StateCall[Swept]:
    """Put back what is due and what dead workers left."""
    queues = routing.LANE_QUEUES[lane]
    return StateCall(
        script="sweep",
        shard=shard,
        keys=(
            redis_keys.leased(shard, lane),
            redis_keys.due(shard, lane),
            *(redis_keys.queued(shard, queue) for queue in queues),
        ),
        args=(redis_keys.prefix(shard), SWEEP_LIMIT, *queues),
        read=lambda reply: _read_sweep(queues, reply),
    )


def unpark(shard: int, app: str, lane: Lane, *, before: float, most: int) -> StateCall[list[Message]]:
    """Put back parked batches that are to be looked at before a time: infinity for all, now for what has expired."""
    queues = routing.LANE_QUEUES[lane]
    return StateCall(
        script="unpark",
        shard=shard,
        keys=(redis_keys.parked(shard, app, lane), *(redis_keys.queued(shard, queue) for queue in queues)),
        args=(redis_keys.prefix(shard), before, most, *queues),
        read=lambda reply: [_message(text(queue), batch_id, shown) for queue, batch_id, shown in reply],
    )


def lost(shard: int, queue: str, published_before: float) -> StateCall[list[Message]]:
    """Find what was published before a marker that came out, and is still unclaimed."""
    return StateCall(
        script="lost",
        shard=shard,
        keys=(redis_keys.queued(shard, queue),),
        args=(redis_keys.prefix(shard), f"{published_before:.6f}", SWEEP_LIMIT),
        read=lambda reply: [_message(text(queue), *found) for found in reply],
    )


def send_marker(queue: str, *, patience_s: float, longest_patience_s: float) -> StateCall[str | None]:
    """Ask whether a marker may be sent; returns its time, or None while another is outstanding."""
    return StateCall(
        script="marker_send",
        shard=redis_keys.FLEET_SHARD,
        keys=(redis_keys.marker(queue),),
        args=(patience_s, longest_patience_s),
        read=lambda reply: None if reply is None else text(reply),
    )


def marker_out(queue: str, sent: str) -> StateCall[float]:
    """Note that a marker came out; returns how long it travelled, in seconds."""
    return StateCall(
        script="marker_out",
        shard=redis_keys.FLEET_SHARD,
        keys=(redis_keys.marker(queue),),
        args=(sent,),
        read=float,
    )


def marker_unsent(queue: str, sent: str) -> StateCall[int]:
    """Note that a marker was not sent after all."""
    return StateCall(
        script="marker_unsent",
        shard=redis_keys.FLEET_SHARD,
        keys=(redis_keys.marker(queue),),
        args=(sent,),
        read=int,
    )


def summary(app: str, count: int) -> str:
    """Return what Flower shows of a message's content."""
    return f"{app} {count}"


def _read_sweep(queues: Sequence[str], reply: Sequence[Any]) -> Swept:
    moved, oldest = reply
    return Swept(
        messages=tuple(_message(text(queue), batch_id, shown) for queue, batch_id, shown in moved),
        oldest={queue: float(at) for queue, at in zip(queues, oldest, strict=True) if at},
    )


def _message(queue: str, batch_id: bytes, shown: bytes) -> Message:
    wake_up = routing.parse_wake_up(text(batch_id))
    return Message(queue=queue, batch_id=text(batch_id), summary=f"{wake_up[0]} wake-up" if wake_up else text(shown))
