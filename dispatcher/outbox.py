"""The outbox: batches accepted and not yet settled. Each function says one call of one script.

The life of a batch: put -> queued -> claimed (leased) -> settled, or due again. A batch is always in exactly one of
`queued`, `leased` and `due`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from dispatcher import ids, redis_keys
from dispatcher.notes import Notes
from dispatcher.push_types import Lane
from dispatcher.state_call import StateCall, text

#: How long a caller's own apns id is remembered, in seconds.
SEEN_S: Final = 24 * 3600


class Acceptance(StrEnum):
    """What became of a put."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    CONFLICT = "conflict"
    EXPIRED = "expired"


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


def settle(
    batch_id: str, claim_id: str, notes: Notes, *, app: str, lane: Lane, size: int, park_until: float | None = None
) -> StateCall[bool]:
    """Note the last answers and end the claim; what has not ended waits until it is due. False: not ours.

    With `park_until`, Unix seconds or infinity, it is parked instead: until the pause ends, but no longer than that.
    """
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
            redis_keys.parked(shard, app, lane),
        ),
        args=(batch_id, claim_id, size, "" if park_until is None else park_until, notes.encode()),
        read=bool,
    )


def time() -> StateCall[float]:
    """Ask for the state server's clock, in Unix seconds."""
    return StateCall(script="time", shard=redis_keys.FLEET_SHARD, keys=(), args=(), read=float)


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
