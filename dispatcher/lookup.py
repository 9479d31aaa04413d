"""Find one accepted notification, to cancel it or to tell where it is; each function says one call of one script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dispatcher import ids, redis_keys, routing
from dispatcher.cancellation import Cancellation
from dispatcher.push_types import Lane
from dispatcher.state_call import StateCall, text
from dispatcher.status import State, Status, decode_end


def cancel(batch_id: str, index: int) -> StateCall[Cancellation]:
    """Cancel a batch's n-th notification."""
    shard = ids.shard_of(batch_id)
    return StateCall(
        script="cancel",
        shard=shard,
        keys=(
            redis_keys.batch(shard, batch_id),
            redis_keys.claim(shard, batch_id),
            redis_keys.seen(shard, batch_id),
            redis_keys.counters(shard),
            redis_keys.feedback(shard),
            *(redis_keys.due(shard, lane) for lane in Lane),
            *(redis_keys.queued(shard, queue) for queue in routing.QUEUE_LANES),
        ),
        args=(batch_id, index),
        read=lambda reply: Cancellation(text(reply)),
    )


def status(batch_id: str, index: int) -> StateCall[Status | None]:
    """Tell where a batch's n-th notification is; None when the batch is gone."""
    shard = ids.shard_of(batch_id)
    return StateCall(
        script="status",
        shard=shard,
        keys=(redis_keys.batch(shard, batch_id), redis_keys.claim(shard, batch_id)),
        args=(index,),
        read=lambda reply: reply and _read_status(ids.apns_id_of(batch_id, index), reply),
    )


def ended(shard: int, apns_id: str) -> StateCall[Status | None]:
    """Tell how a tracked notification ended; None when that is not known in this shard."""
    return StateCall(
        script="ended",
        shard=shard,
        keys=(redis_keys.ended(shard, apns_id),),
        args=(),
        read=lambda reply: reply and decode_end(apns_id, text(reply)),
    )


#: What is known in one place holds, whatever is not known in others; the first holds most.
_RANK: Final = (Cancellation.CANCELLED, Cancellation.BEING_SENT, Cancellation.ENDED, Cancellation.UNKNOWN)


def most_telling(found: Sequence[Cancellation]) -> Cancellation:
    """Return what came of cancelling in several places, of which one at most held the notification."""
    return min(found, key=_RANK.index)


def _read_status(apns_id: str, reply: Sequence[Any]) -> Status:
    state, accepted_at, due, attempts = reply
    return Status(
        apns_id=apns_id,
        state=State(text(state)),
        accepted_at=float(accepted_at),
        due=float(due) if due else None,
        attempts=int(attempts),
    )
