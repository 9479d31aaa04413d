"""The scripts of the outbox, on a real server: a batch is in exactly one place, and a live claim excludes everyone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dispatcher import ids, outbox, redis_keys, sweeping
from dispatcher.claimed import ClaimState
from dispatcher.notes import Ends, Notes
from dispatcher.outbox import Acceptance
from dispatcher.push_types import Lane
from dispatcher.routing import BULK_QUEUE

NewId = Callable[[], str]
QUEUE = "apns.alert"


def delivered(*indices: int) -> Notes:
    """Return notes that say these notifications were delivered."""
    ends = Ends()
    ends.add("delivered|com.example.app|alert|", len(indices))
    return Notes(ended=list(indices), ends=ends)


def test_put_stores_and_queues(state: Any, new_id: NewId) -> None:
    """An accepted batch is stored, queued and counted in one step."""
    batch_id = new_id()
    assert state.put(batch_id, count=7) is Acceptance.ACCEPTED
    assert state.where(batch_id) == {"queued"}
    assert state.counters()["accepted|com.example.app|alert|"] == 7


def test_put_twice_is_accepted_once(state: Any, new_id: NewId) -> None:
    """The same batch put again, waiting or settled, adds nothing."""
    batch_id = new_id()
    state.put(batch_id)
    assert state.put(batch_id) is Acceptance.REPEATED
    state.claim(batch_id)
    assert state.put(batch_id) is Acceptance.REPEATED
    state.settle(batch_id, "one", delivered(0), size=1)
    assert state.put(batch_id) is Acceptance.REPEATED
    assert state.counters()["accepted|com.example.app|alert|"] == 1


def test_own_id_with_other_content_conflicts(state: Any, new_id: NewId) -> None:
    """A caller's own id is accepted once for one content, and refused for another."""
    own_id = new_id()
    assert state.put(own_id, digest="aa") is Acceptance.ACCEPTED
    assert state.put(own_id, digest="aa") is Acceptance.REPEATED
    assert state.put(own_id, digest="bb") is Acceptance.CONFLICT


def test_live_claim_excludes_everyone(state: Any, new_id: NewId) -> None:
    """While a lease runs nobody else gets the batch; the owner asking again, after a lost answer, does."""
    batch_id = new_id()
    state.put(batch_id)
    first = state.claim(batch_id, "one")
    assert first.state is ClaimState.CLAIMED
    assert state.where(batch_id) == {"leased"}
    assert state.claim(batch_id, "two").state is ClaimState.BUSY
    assert state.claim(batch_id, "one").state is ClaimState.CLAIMED


def test_expired_claim_goes_back_to_the_queue(state: Any, new_id: NewId) -> None:
    """A lease that ran out is swept back, and the late owner can write nothing any more."""
    batch_id = new_id()
    state.put(batch_id, count=2)
    state.claim(batch_id, "one", lease_s=30)
    state.advance(31)
    assert state.sweep(ids.shard_of(batch_id)) == [batch_id]
    assert state.where(batch_id) == {"queued"}
    assert state.claim(batch_id, "two").state is ClaimState.CLAIMED
    assert not state.progress(batch_id, "one", delivered(0), size=2)
    assert not state.settle(batch_id, "one", delivered(0, 1), size=2)
    assert state.counters()["delivered|com.example.app|alert|"] == 0


def test_progress_renews_the_lease(state: Any, new_id: NewId) -> None:
    """Progress, even with nothing to note, keeps the claim alive."""
    batch_id = new_id()
    state.put(batch_id, count=2)
    state.claim(batch_id, "one", lease_s=30)
    for _ in range(3):
        state.advance(20)
        assert state.progress(batch_id, "one", Notes(), size=2)
        assert state.sweep(ids.shard_of(batch_id)) == []
    assert state.where(batch_id) == {"leased"}


def test_next_owner_gets_what_is_left(state: Any, new_id: NewId) -> None:
    """What was noted as ended is not sent again by the next owner; tries and their times are handed on."""
    batch_id = new_id()
    state.put(batch_id, count=4)
    state.claim(batch_id, "one")
    state.progress(batch_id, "one", Notes(ended=[0, 2], waiting=[(3, 2, 5.0, "1 busy; 2 busy")]), size=4)
    state.advance(31)
    state.sweep(ids.shard_of(batch_id))
    again = state.claim(batch_id, "two")
    assert again.done == "1010"
    assert (again.waiting[3].attempts, again.waiting[3].history) == (2, "1 busy; 2 busy")
    assert again.waiting[3].due < again.now


def test_settled_batch_leaves_no_key(state: Any, new_id: NewId) -> None:
    """When every notification has ended, nothing of the batch remains."""
    batch_id = new_id()
    state.put(batch_id, count=3)
    state.claim(batch_id)
    state.progress(batch_id, "one", delivered(0), size=3)
    assert state.settle(batch_id, "one", delivered(1, 2), size=3)
    assert state.keys() == set()
    assert state.claim(batch_id, "two").state is ClaimState.GONE
    assert state.counters()["delivered|com.example.app|alert|"] == 3


def test_unfinished_batch_waits_until_its_first_retry(state: Any, new_id: NewId) -> None:
    """A batch with retries waits for the earliest, comes back to its own queue, and keeps its id."""
    batch_id = new_id()
    state.put(batch_id, count=3, queue=BULK_QUEUE)
    state.claim(batch_id, queue=BULK_QUEUE)
    assert state.settle(batch_id, "one", Notes(ended=[0], waiting=[(1, 1, 60.0, ""), (2, 1, 20.0, "")]), size=3)
    shard = ids.shard_of(batch_id)
    assert state.where(batch_id) == {"due"}
    assert state.claim(batch_id, "two", queue=BULK_QUEUE).state is ClaimState.WAITING
    state.advance(21)
    (message,) = state.run(sweeping.sweep(shard, Lane.ALERT)).messages
    assert (message.queue, message.batch_id, message.summary) == (BULK_QUEUE, batch_id, "com.example.app 3")
    claimed = state.claim(batch_id, "two", queue=BULK_QUEUE)
    assert [index for index, waiting in claimed.waiting.items() if waiting.due <= claimed.now] == [2]


def test_released_batch_is_due_at_once(state: Any, new_id: NewId) -> None:
    """A batch given back untouched is queued again by the next sweep."""
    batch_id = new_id()
    state.put(batch_id, count=2)
    state.claim(batch_id)
    state.settle(batch_id, "one", Notes(), size=2)
    assert state.where(batch_id) == {"due"}
    assert state.sweep(ids.shard_of(batch_id)) == [batch_id]


def test_ends_are_written_with_the_step(state: Any, new_id: NewId) -> None:
    """Counters, feedback and dead letters of an ended notification are written by the script that ends it."""
    batch_id = new_id()
    state.put(batch_id)
    state.claim(batch_id)
    entry: list[str | int] = [
        "outcome", "unregistered", "apns_id", batch_id, "app", "com.example.app", "environment", "production",
        "push_type", "alert", "device_token", "ab", "status", 410, "reason", "Unregistered",
        "unregistered_at", 1_700_000_000_000,
    ]  # fmt: skip
    ends = Ends(count={"unregistered|com.example.app|alert|Unregistered": 1}, feedback=[entry], dead=[["reason", "x"]])
    state.settle(batch_id, "one", Notes(ended=[0], ends=ends), size=1)
    (told,) = state.feedback()
    assert (told.outcome, told.apns_id, told.unregistered_at) == ("unregistered", batch_id, 1_700_000_000_000)
    assert state.counters()["unregistered|com.example.app|alert|Unregistered"] == 1
    assert state.client.xlen(redis_keys.dead(3, "com.example.app")) == 1


def test_lost_message_is_found_by_a_marker(state: Any, new_id: NewId) -> None:
    """Only what was published before the marker and is still unclaimed is published again, and only once."""
    lost_id, claimed_id, late_id = new_id(), new_id(), new_id()
    state.put(lost_id)
    state.put(claimed_id)
    state.claim(claimed_id)
    state.advance(10)
    sent = state.run(sweeping.send_marker(QUEUE, patience_s=15, longest_patience_s=3600))
    state.advance(1)
    state.put(late_id)
    find = sweeping.lost(3, QUEUE, float(sent))
    assert [message.batch_id for message in state.run(find)] == [lost_id]
    assert state.run(find) == []


def test_one_marker_is_outstanding(state: Any) -> None:
    """A second marker is sent only when the first is overdue, and then with doubling patience."""

    def send() -> str | None:
        sent = state.run(sweeping.send_marker(QUEUE, patience_s=10, longest_patience_s=25))
        assert sent is None or isinstance(sent, str)
        return sent

    first = send()
    assert first is not None
    assert send() is None
    state.advance(11)
    assert send() is not None
    state.advance(11)
    assert send() is None
    state.advance(10)
    assert send() is not None
    state.advance(24)
    assert send() is None
    state.advance(2)
    last = send()
    assert last is not None
    assert state.run(sweeping.marker_out(QUEUE, first)) == pytest.approx(58, abs=1)
    assert send() is None, "an old marker that comes out does not end the wait for the newest"
    state.run(sweeping.marker_out(QUEUE, last))
    assert send() is not None


def test_sweep_tells_the_oldest_publication(state: Any, new_id: NewId) -> None:
    """The sweep tells per queue since when the oldest unclaimed batch has been waiting."""
    assert state.run(sweeping.sweep(3, Lane.ALERT)).oldest == {}
    before = state.run(outbox.time())
    state.put(new_id())
    state.advance(5)
    state.put(new_id())
    oldest = state.run(sweeping.sweep(3, Lane.ALERT)).oldest
    assert oldest == {QUEUE: pytest.approx(before, abs=1)}
