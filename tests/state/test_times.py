"""Times are judged by the state server's clock alone, and what is for later waits without a message."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from dispatcher import ids, outbox, redis_keys, sweeping
from dispatcher.claimed import ClaimState
from dispatcher.notes import Notes
from dispatcher.outbox import Acceptance, Times
from dispatcher.push_types import Lane
from dispatcher.routing import BULK_QUEUE

NewId = Callable[[], str]
HOST_IS_WRONG_BY_S = 7 * 24 * 3600.0
DAY_S = 24 * 3600.0


def put(state: Any, batch_id: str, times: Times, *, digest: str = "", window_s: int = 60) -> Acceptance:
    """Put a batch that cannot be read, with these times."""
    return Acceptance(
        state.run(
            outbox.put(
                batch_id,
                b"{}",
                app="com.example.app",
                lane=Lane.ALERT,
                queue="apns.alert",
                count=1,
                digest=digest,
                window_s=window_s,
                times=times,
            )
        )
    )


@pytest.mark.parametrize("clock_s", [HOST_IS_WRONG_BY_S, -HOST_IS_WRONG_BY_S, 0.0])
def test_an_expiration_is_judged_by_the_state_server(state: Any, new_id: NewId, clock_s: float) -> None:
    """Whatever a web host's clock says, what is past there is refused and leaves nothing; what is not is accepted."""
    state.advance(clock_s)
    now = int(state.now())
    assert abs(now - time.time() - clock_s) < 5
    past = new_id()
    assert put(state, past, Times(expiration=now - 1), digest="aa") is Acceptance.EXPIRED
    assert state.keys() == set()
    assert state.counters() == {}
    assert not state.client.exists(redis_keys.seen(3, past))
    assert put(state, new_id(), Times(expiration=now + 60)) is Acceptance.ACCEPTED
    assert put(state, new_id(), Times(expiration=0)) is Acceptance.ACCEPTED


def test_what_is_too_far_ahead_is_refused(state: Any, new_id: NewId) -> None:
    """A limit on the expiration counts from when it is sent; sending itself is at most 30 days ahead."""
    now = state.now()
    limited = {"max_expiration_ahead_s": 30.0}
    assert put(state, new_id(), Times(expiration=int(now) + 25, **limited)) is Acceptance.ACCEPTED
    assert put(state, new_id(), Times(expiration=int(now) + 35, **limited)) is Acceptance.TOO_FAR
    later = now + 3600
    assert put(state, new_id(), Times(send_at=later, expiration=int(later) + 25, **limited)) is Acceptance.SCHEDULED
    assert put(state, new_id(), Times(send_at=later, expiration=int(later) + 35, **limited)) is Acceptance.TOO_FAR
    assert put(state, new_id(), Times(send_at=now + 30 * DAY_S - 60)) is Acceptance.SCHEDULED
    assert put(state, new_id(), Times(send_at=now + 30 * DAY_S + 60)) is Acceptance.TOO_LATE


def test_a_repetition_is_recognised_before_it_is_judged(state: Any, new_id: NewId) -> None:
    """The same call made again after its expiration is a repetition still, since it was accepted in time."""
    batch_id, times = new_id(), Times(expiration=int(state.now()) + 30)
    put(state, batch_id, times, digest="aa", window_s=3600)
    state.advance(60)
    assert put(state, batch_id, times, digest="aa") is Acceptance.REPEATED


def test_what_is_for_later_waits(state: Any, new_id: NewId) -> None:
    """A batch for later is in no queue until it is due; then the sweep puts it into the queue it is for."""
    batch_id = new_id()
    assert state.put(batch_id, count=7, queue=BULK_QUEUE, send_at=state.now() + 3600) is Acceptance.SCHEDULED
    assert state.where(batch_id) == {"due"}
    assert state.counters()["accepted|com.example.app|alert|"] == 7
    assert state.claim(batch_id, queue=BULK_QUEUE).state is ClaimState.WAITING
    state.advance(3590)
    assert state.sweep(3) == []
    state.advance(11)
    (message,) = state.run(sweeping.sweep(3, Lane.ALERT)).messages
    assert (message.queue, message.batch_id, message.summary) == (BULK_QUEUE, batch_id, "com.example.app 7")
    assert state.claim(batch_id, queue=BULK_QUEUE).state is ClaimState.CLAIMED


def test_what_is_due_already_is_put_as_usual(state: Any, new_id: NewId) -> None:
    """A time in the past is now."""
    batch_id = new_id()
    assert state.put(batch_id, send_at=state.now() - 5) is Acceptance.ACCEPTED
    assert state.where(batch_id) == {"queued"}


def test_what_is_for_later_is_remembered_longer(state: Any, new_id: NewId) -> None:
    """The window of a repetition counts from when the notification is sent."""
    for send_at, expected_s in ((None, 60), (state.now() + 3600, 3660), (state.now() - 3600, 60)):
        batch_id = new_id()
        put(state, batch_id, Times(send_at=send_at), digest="aa", window_s=60)
        assert state.client.ttl(redis_keys.seen(3, batch_id)) == pytest.approx(expected_s, abs=2)


def test_a_parked_batch_is_nobodys(state: Any, new_id: NewId) -> None:
    """A stray message of a parked batch finds it waiting, and cannot spoil its place; unparked it goes on."""
    batch_id = new_id()
    state.put(batch_id)
    state.claim(batch_id, "one")
    assert state.settle(batch_id, "one", Notes(), size=1, park_until=float("inf"))
    assert state.where(batch_id) == {"parked"}
    assert state.claim(batch_id, "two").state is ClaimState.WAITING
    assert state.where(batch_id) == {"parked"}
    call = sweeping.unpark(ids.shard_of(batch_id), "com.example.app", Lane.ALERT, before=float("inf"), most=10)
    assert [message.batch_id for message in state.run(call)] == [batch_id]
    assert state.where(batch_id) == {"queued"}
    assert state.claim(batch_id, "two").state is ClaimState.CLAIMED


def test_a_reservation_is_of_one_content(state: Any, new_id: NewId) -> None:
    """An id is promised to one content: again the same is a repetition, anything else a conflict, here too."""
    reserved, now = new_id(), state.now()

    def reserve(digest: str, times: Times = Times()) -> Acceptance:  # noqa: B008  a value, not a place
        return Acceptance(state.run(outbox.reserve(reserved, digest=digest, window_s=60, times=times)))

    assert reserve("aa", Times(expiration=int(now) - 1)) is Acceptance.EXPIRED
    assert [reserve(digest) for digest in ("aa", "aa", "bb")] == [
        Acceptance.ACCEPTED,
        Acceptance.REPEATED,
        Acceptance.CONFLICT,
    ]
    assert put(state, reserved, Times(), digest="aa") is Acceptance.CONFLICT


def test_an_id_in_use_cannot_be_reserved(state: Any, new_id: NewId) -> None:
    """The id of a batch, waiting or settled, is promised to nobody else."""
    used = new_id()
    state.put(used)
    reserve = outbox.reserve(used, digest="aa", window_s=60, times=Times())
    assert state.run(reserve) is Acceptance.CONFLICT
    state.claim(used, "one")
    state.settle(used, "one", Notes(ended=[0]), size=1)
    assert state.run(reserve) is Acceptance.CONFLICT
