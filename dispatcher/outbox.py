"""The outbox: batches accepted and not yet settled. Each function says one call of one script.

The life of a batch: put -> queued -> claimed (leased) -> settled, or due again. A batch is always in exactly one of
`queued`, `leased` and `due`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from dispatcher import ids, redis_keys, routing
from dispatcher.push_types import Lane
from dispatcher.state_call import StateCall, text

#: How long a caller's own apns id is remembered, in seconds.
SEEN_S: Final = 24 * 3600
#: Batches that one sweep of one shard moves, and one marker finds.
SWEEP_LIMIT: Final = 200


class Acceptance(StrEnum):
    """What became of a put."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    CONFLICT = "conflict"


class ClaimState(StrEnum):
    """Whether a batch can be worked on."""

    CLAIMED = "claimed"
    GONE = "gone"
    BUSY = "busy"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A notification's tries so far.

    Attributes:
        attempts: Attempts used.
        due: When it may be tried again, Unix seconds of the state server.
    """

    attempts: int = 0
    due: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The reply to a claim.

    Attributes:
        state: CLAIMED, or why not; the rest is only set when claimed.
        now: The state server's clock, Unix seconds.
        accepted_at: When the batch was accepted, Unix seconds.
        record: The stored record.
        done: One character per notification, "1" when it has ended; empty when none has.
        waiting: Notifications that were tried before, by index.
        claims: How often it was claimed since the last progress, this time included.
    """

    state: ClaimState
    now: float = 0.0
    accepted_at: float = 0.0
    record: bytes = b""
    done: str = ""
    waiting: Mapping[int, Waiting] = field(default_factory=dict)
    claims: int = 0


@dataclass(slots=True, kw_only=True)
class Ends:
    """What ended notifications leave behind, in the form the scripts read.

    Attributes:
        count: Counter field -> how many to add.
        feedback: Stream entries as flat lists of field, value, ...
        dead: The same for the dead-letter stream.
    """

    count: dict[str, int] = field(default_factory=dict)
    feedback: list[list[str | int]] = field(default_factory=list)
    dead: list[list[str | int]] = field(default_factory=list)

    def add(self, counter: str, number: int = 1) -> None:
        """Count something."""
        self.count[counter] = self.count.get(counter, 0) + number

    def as_json(self) -> dict[str, Any]:
        """Return the form the scripts decode."""
        return {"count": self.count, "feedback": self.feedback, "dead": self.dead}


@dataclass(slots=True, kw_only=True)
class Notes:
    """What happened to some notifications of a claimed batch.

    Attributes:
        ended: Indices that have ended.
        waiting: (index, attempts, delay in seconds) of those to be tried again.
        ends: What they leave behind.
    """

    ended: list[int] = field(default_factory=list)
    waiting: list[tuple[int, int, float]] = field(default_factory=list)
    ends: Ends = field(default_factory=Ends)

    def encode(self) -> str:
        """Return the form the scripts decode."""
        return json.dumps({"ended": self.ended, "waiting": self.waiting, "ends": self.ends.as_json()})


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


def put(
    batch_id: str, record: bytes, *, app: str, lane: Lane, queue: str, count: int, digest: str
) -> StateCall[Acceptance]:
    """Accept a batch; `digest` of its content is given only for a caller's own apns id."""
    shard = ids.shard_of(batch_id)
    return StateCall(
        script="put",
        shard=shard,
        keys=(
            redis_keys.batch(shard, batch_id),
            redis_keys.queued(shard, queue),
            redis_keys.counters(shard),
            redis_keys.seen(shard, batch_id),
        ),
        args=(batch_id, record, redis_keys.counter("accepted", app, lane), count, digest, SEEN_S),
        read=lambda reply: Acceptance(text(reply)),
    )


def claim(batch_id: str, claim_id: str, *, lane: Lane, queue: str, lease_s: float) -> StateCall[Claimed]:
    """Take a batch for `lease_s` seconds; a live claim excludes everyone else."""
    shard = ids.shard_of(batch_id)
    return StateCall(
        script="claim",
        shard=shard,
        keys=(
            redis_keys.batch(shard, batch_id),
            redis_keys.claim(shard, batch_id),
            redis_keys.queued(shard, queue),
            redis_keys.leased(shard, lane),
            redis_keys.due(shard, lane),
        ),
        args=(batch_id, claim_id, lease_s, queue),
        read=_read_claim,
    )


def progress(
    batch_id: str, claim_id: str, notes: Notes, *, app: str, lane: Lane, lease_s: float, size: int
) -> StateCall[bool]:
    """Note answers and renew the lease; False when the claim is no longer ours."""
    shard = ids.shard_of(batch_id)
    return StateCall(
        script="progress",
        shard=shard,
        keys=(redis_keys.claim(shard, batch_id), redis_keys.leased(shard, lane), *_end_keys(shard, app)),
        args=(batch_id, claim_id, lease_s, size, notes.encode()),
        read=bool,
    )


def settle(batch_id: str, claim_id: str, notes: Notes, *, app: str, lane: Lane, size: int) -> StateCall[bool]:
    """Note the last answers and end the claim; what has not ended waits until it is due. False: not ours."""
    shard = ids.shard_of(batch_id)
    return StateCall(
        script="settle",
        shard=shard,
        keys=(
            redis_keys.batch(shard, batch_id),
            redis_keys.claim(shard, batch_id),
            redis_keys.leased(shard, lane),
            redis_keys.due(shard, lane),
            redis_keys.seen(shard, batch_id),
            *_end_keys(shard, app),
        ),
        args=(batch_id, claim_id, size, notes.encode()),
        read=bool,
    )


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


def time() -> StateCall[float]:
    """Ask for the state server's clock, in Unix seconds."""
    return StateCall(script="time", shard=redis_keys.FLEET_SHARD, keys=(), args=(), read=float)


def summary(app: str, count: int) -> str:
    """Return what Flower shows of a message's content."""
    return f"{app} {count}"


def _end_keys(shard: int, app: str) -> tuple[str, ...]:
    return redis_keys.feedback(shard), redis_keys.counters(shard), redis_keys.dead(shard, app)


def _read_claim(reply: Sequence[Any]) -> Claimed:
    state = ClaimState(text(reply[0]))
    if state is not ClaimState.CLAIMED:
        return Claimed(state=state)
    fields = {text(name): text(value) for name, value in zip(reply[3][::2], reply[3][1::2], strict=True)}
    accepted_at, record = _read_stored(reply[2])
    return Claimed(
        state=state,
        now=float(reply[1]),
        accepted_at=accepted_at,
        record=record,
        done=fields.get("done", ""),
        waiting={int(name): _waiting(value) for name, value in fields.items() if name.isdigit()},
        claims=int(fields["claims"]),
    )


def _read_stored(stored: bytes) -> tuple[float, bytes]:
    """Return when a batch was accepted and its record; what was not put there by us is a record nobody can read."""
    accepted_at, _, record = stored.partition(b" ")
    try:
        return float(accepted_at), record
    except ValueError:
        return 0.0, stored


def _waiting(value: str) -> Waiting:
    attempts, _, due = value.partition(" ")
    return Waiting(attempts=int(attempts), due=float(due))


def _read_sweep(queues: Sequence[str], reply: Sequence[Any]) -> Swept:
    moved, oldest = reply
    return Swept(
        messages=tuple(_message(text(queue), batch_id, shown) for queue, batch_id, shown in moved),
        oldest={queue: float(at) for queue, at in zip(queues, oldest, strict=True) if at},
    )


def _message(queue: str, batch_id: bytes, shown: bytes) -> Message:
    wake_up = routing.parse_wake_up(text(batch_id))
    return Message(queue=queue, batch_id=text(batch_id), summary=f"{wake_up[0]} wake-up" if wake_up else text(shown))
