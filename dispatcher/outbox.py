"""The outbox: batches accepted and not yet settled. Each function says one call of one script.

The life of a batch: put -> queued, or due later -> claimed (leased) -> settled, or due again, or parked while its app
is paused. A batch is always in exactly one of `queued`, `leased`, `due` and `parked`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dispatcher import ids, redis_keys
from dispatcher.claimed import Claimed, read_claim, read_indices
from dispatcher.guard import NO_GUARD, Guard
from dispatcher.notes import Notes
from dispatcher.push_types import PUSH_TYPES, Lane
from dispatcher.record import Record
from dispatcher.state_call import Argument, StateCall, text

#: How long a caller's own apns id is remembered, in seconds.
DAY_S: Final = 24 * 3600


class Acceptance(StrEnum):
    """What became of a put.

    SCHEDULED is accepted, and not to be published yet. EXPIRED, TOO_FAR: its expiration is past, or too far ahead;
    TOO_LATE: it would be sent too far ahead.
    """

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    CONFLICT = "conflict"
    SCHEDULED = "scheduled"
    EXPIRED = "expired"
    TOO_FAR = "too_far"
    TOO_LATE = "too_late"


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """What a script needs to judge when a notification may be sent.

    Attributes:
        send_at: Not before, Unix seconds; None for at once.
        expiration: Value of apns-expiration, judged if it is a time.
        max_expiration_ahead_s: Furthest expiration from when it is sent; None for no limit.
    """

    send_at: float | None = None
    expiration: int | None = None
    max_expiration_ahead_s: float | None = None

    def as_args(self) -> tuple[Argument, Argument, Argument]:
        """Return the arguments of a script: send at, expiration and limit, each empty if there is none."""
        limit = self.max_expiration_ahead_s
        return "" if self.send_at is None else self.send_at, self.expiration or "", "" if limit is None else limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The reply to progress.

    Attributes:
        is_ours: False when the claim is no longer ours and nothing was written.
        cancelled: Indices that must not be sent any more.
    """

    is_ours: bool
    cancelled: frozenset[int] = frozenset()


_AT_ONCE: Final = Times()


def times_of(batch: Record) -> Times:
    """Return the times of a record."""
    limit = PUSH_TYPES[batch.push_type].max_expiration_ahead_s
    return Times(send_at=batch.send_at, expiration=batch.expiration, max_expiration_ahead_s=limit)


def put(  # noqa: PLR0913  (by keyword, each says what it is)
    batch_id: str,
    record: bytes,
    *,
    app: str,
    lane: Lane,
    queue: str,
    count: int,
    digest: str,
    window_s: int = DAY_S,
    times: Times = _AT_ONCE,
    guard: Guard = NO_GUARD,
) -> StateCall[Acceptance]:
    """Accept a batch.

    Args:
        batch_id: Its id.
        record: Its stored form.
        app: Bundle id.
        lane: Which workers will send it.
        queue: Where to queue it, at once or when it is due.
        count: Number of its notifications.
        digest: Of its content, if the id is a caller's own or follows from a key; else empty.
        window_s: How long the digest is remembered.
        times: When it may be sent.
        guard: When it is refused, with an error reply.
    """
    shard = ids.shard_of(batch_id)
    return StateCall(
        script="put",
        shard=shard,
        keys=(
            redis_keys.batch(shard, batch_id),
            redis_keys.claim(shard, batch_id),
            redis_keys.queued(shard, queue),
            redis_keys.due(shard, lane),
            redis_keys.counters(shard),
            redis_keys.seen(shard, batch_id),
        ),
        args=(
            batch_id,
            record,
            redis_keys.counter("accepted", app, lane),
            count,
            digest,
            window_s,
            queue,
            *times.as_args(),
            *guard.server_args(),
            guard.queue_arg(),
        ),
        read=_read_acceptance,
    )


def reserve(
    batch_id: str, *, digest: str, window_s: int, times: Times, guard: Guard = NO_GUARD
) -> StateCall[Acceptance]:
    """Promise an id to one content whose notification lies in another shard than the id's own."""
    shard = ids.shard_of(batch_id)
    return StateCall(
        script="reserve",
        shard=shard,
        keys=(redis_keys.seen(shard, batch_id), redis_keys.batch(shard, batch_id)),
        args=(f"reserved {digest}", window_s, *times.as_args(), *guard.server_args()),
        read=_read_acceptance,
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
        read=read_claim,
    )


def progress(
    batch_id: str,
    claim_id: str,
    notes: Notes,
    *,
    app: str,
    lane: Lane,
    lease_s: float,
    size: int,
    number: int,
    trying: int | None = None,
) -> StateCall[Progress]:
    """Note answers and renew the lease.

    Args:
        batch_id: Of the batch.
        claim_id: Ours.
        notes: What happened to some of its notifications.
        app: Bundle id.
        lane: Its lane.
        lease_s: How long the claim is ours from now on.
        size: Number of the batch's notifications.
        number: Of this bunch of notes within the claim, growing from 1; the same bunch is noted once.
        trying: Index that is sent next, by itself.
    """
    shard = ids.shard_of(batch_id)
    return StateCall(
        script="progress",
        shard=shard,
        keys=(redis_keys.claim(shard, batch_id), redis_keys.leased(shard, lane), *_end_keys(shard, app)),
        args=(batch_id, claim_id, lease_s, size, "" if trying is None else trying, number, notes.encode()),
        read=_read_progress,
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


def _read_progress(reply: bytes | None) -> Progress:
    return Progress(is_ours=False) if reply is None else Progress(is_ours=True, cancelled=read_indices(text(reply)))


def _read_acceptance(reply: bytes) -> Acceptance:
    return Acceptance(text(reply))
