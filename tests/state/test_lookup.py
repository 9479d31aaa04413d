"""One notification of a batch, cancelled or asked for, wherever the batch is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dispatcher import ids, lookup, outbox, redis_keys
from dispatcher.cancellation import Cancellation
from dispatcher.claimed import ClaimState
from dispatcher.feedback import Outcome
from dispatcher.notes import Ends, Notes
from dispatcher.push_types import Lane
from dispatcher.status import State, Status

NewId = Callable[[], str]
CANCELLED = "cancelled|com.example.app|alert|the app cancelled it"


def cancel(state: Any, batch_id: str, index: int = 0) -> Cancellation:
    """Cancel a notification."""
    return Cancellation(state.run(lookup.cancel(batch_id, index)))


def status(state: Any, batch_id: str, index: int = 0) -> Status | None:
    """Ask for a notification."""
    found = state.run(lookup.status(batch_id, index))
    assert found is None or isinstance(found, Status)
    return found


def put_into(state: Any, batch_id: str, place: str, *, count: int = 1) -> None:
    """Put a batch and bring it to a place."""
    state.put(batch_id, count=count, **({"send_at": state.now() + 60} if place == "scheduled" else {}))
    if place in {"waiting", "parked"}:
        state.claim(batch_id, "one")
        waiting = [(index, 2, 60.0, "17 busy") for index in range(count)] if place == "waiting" else []
        park_until = float("inf") if place == "parked" else None
        state.settle(batch_id, "one", Notes(waiting=waiting), size=count, park_until=park_until)


PLACES = ("queued", "scheduled", "waiting", "parked")


@pytest.mark.parametrize("place", PLACES)
def test_the_last_one_takes_its_batch_along(state: Any, new_id: NewId, place: str) -> None:
    """Wherever nobody has it a notification ends at once; with the last one its batch is forgotten, places and all."""
    batch_id = new_id()
    put_into(state, batch_id, place, count=2)
    assert cancel(state, batch_id, 1) is Cancellation.CANCELLED
    assert state.where(batch_id) != set()
    assert cancel(state, batch_id, 1) is Cancellation.ENDED
    assert cancel(state, batch_id, 0) is Cancellation.CANCELLED
    assert state.keys() == set()
    assert [cancel(state, batch_id, index) for index in (0, 1)] == [Cancellation.ENDED] * 2
    assert state.claim(batch_id, "two").state is ClaimState.GONE
    assert state.sweep(3) == []
    assert state.counters()[CANCELLED] == 2


@pytest.mark.parametrize("place", PLACES)
def test_the_others_are_sent(state: Any, new_id: NewId, place: str) -> None:
    """Those of its batch that were not cancelled are claimed as if nothing had been."""
    batch_id = new_id()
    put_into(state, batch_id, place, count=3)
    cancel(state, batch_id, 1)
    assert (state.client.hget(redis_keys.claim(3, batch_id), "done"), state.where(batch_id)) == (
        b"010",
        {"due" if place in {"waiting", "scheduled"} else place},
    )


def test_the_app_is_told(state: Any, new_id: NewId) -> None:
    """A cancelled notification is reported like any other end, for exactly the device it was for."""
    batch_id = new_id()
    state.put(batch_id, count=300)
    cancel(state, batch_id, 258)
    (told,) = state.feedback()
    assert (told.outcome, told.apns_id) == (Outcome.CANCELLED, ids.apns_id_of(batch_id, 258))
    assert (told.app, told.environment, told.push_type) == ("com.example.app", "production", "alert")
    assert (told.device_token, told.status, told.reason) == (f"{258:064x}", 0, "the app cancelled it")


def test_what_is_tracked_is_kept(state: Any, new_id: NewId) -> None:
    """How a tracked one ended can be asked for, under its apns id, with the attempts it had used; for a day."""
    batch_id = new_id()
    state.put(batch_id, count=2, track=True)
    state.claim(batch_id, "one")
    state.settle(batch_id, "one", Notes(waiting=[(1, 4, 60.0, "")]), size=2)
    cancel(state, batch_id, 1)
    apns_id = ids.apns_id_of(batch_id, 1)
    ended = state.run(lookup.ended(3, apns_id))
    assert (ended.apns_id, ended.state, ended.outcome, ended.attempts) == (apns_id, State.ENDED, Outcome.CANCELLED, 4)
    assert ended.ended_at == pytest.approx(state.now(), abs=2)
    assert state.client.ttl(redis_keys.ended(3, apns_id)) == pytest.approx(24 * 3600, abs=2)
    assert state.run(lookup.ended(3, batch_id)) is None


def test_what_is_being_sent_is_marked(state: Any, new_id: NewId) -> None:
    """A worker hears with its next note what was cancelled; if it is not ended when the claim is, it ends then."""
    batch_id = new_id()
    state.put(batch_id, count=3)
    state.claim(batch_id, "one")
    assert [cancel(state, batch_id, index) for index in (1, 2, 2)] == [Cancellation.BEING_SENT] * 3
    assert state.feedback() == []
    progress = state.run(progress_call(batch_id))
    assert (progress.is_ours, progress.cancelled) == (True, {1, 2})
    ends = Ends(count={"delivered|com.example.app|alert|": 1})
    state.settle(batch_id, "one", Notes(ended=[2], waiting=[(1, 1, 60.0, "")], ends=ends), size=3)
    assert [(told.outcome, told.apns_id) for told in state.feedback()] == [
        (Outcome.CANCELLED, ids.apns_id_of(batch_id, 1))
    ]
    assert state.counters()[CANCELLED] == 1
    again = state.claim(batch_id, "two") if state.sweep(3) else None
    assert again is not None
    assert (again.done, again.cancelled) == ("011", frozenset())


def progress_call(batch_id: str) -> Any:
    """Return a call that notes nothing."""
    return outbox.progress(
        batch_id, "one", Notes(), app="com.example.app", lane=Lane.ALERT, lease_s=30, size=3, number=1
    )


def test_all_marked_ones_take_their_batch_along(state: Any, new_id: NewId) -> None:
    """A batch whose notifications were all cancelled in a worker's hands is gone when it settles."""
    batch_id = new_id()
    state.put(batch_id, count=2)
    state.claim(batch_id, "one")
    for index in range(2):
        cancel(state, batch_id, index)
    state.settle(batch_id, "one", Notes(), size=2)
    assert state.keys() == set()
    assert state.counters()[CANCELLED] == 2


def test_one_that_waits_in_a_claimed_batch_ends_at_once(state: Any, new_id: NewId) -> None:
    """While a worker sends others of its batch, one that waits for its next try is in nobody's hands."""
    batch_id = new_id()
    state.put(batch_id, count=2)
    state.claim(batch_id, "one")
    state.progress(batch_id, "one", Notes(waiting=[(1, 1, 60.0, "")]), size=2)
    assert cancel(state, batch_id, 1) is Cancellation.CANCELLED
    state.settle(batch_id, "one", Notes(ended=[0]), size=2)
    assert state.keys() == set()


def test_the_last_one_left_to_a_claim_is_forgotten_by_it(state: Any, new_id: NewId) -> None:
    """A batch is not taken from under its worker, even if nothing of it is left."""
    batch_id = new_id()
    state.put(batch_id, count=2)
    state.claim(batch_id, "one")
    state.progress(batch_id, "one", Notes(ended=[0], waiting=[(1, 1, 60.0, "")]), size=2)
    assert cancel(state, batch_id, 1) is Cancellation.CANCELLED
    assert state.where(batch_id) == {"leased"}
    assert state.settle(batch_id, "one", Notes(), size=2)
    assert state.keys() == set()


def test_after_a_crash_it_is_not_promised(state: Any, new_id: NewId) -> None:
    """What a dead worker had may have left: it is only promised that it is not sent again, and the next claim hears."""
    batch_id = new_id()
    state.put(batch_id, count=2)
    state.claim(batch_id, "one")
    state.advance(31)
    state.sweep(3)
    assert cancel(state, batch_id, 1) is Cancellation.BEING_SENT
    assert state.claim(batch_id, "two").cancelled == {1}


def test_nothing_is_known_of_others(state: Any, new_id: NewId) -> None:
    """What was never accepted, lies beyond its batch, was only reserved, or cannot be read, is unknown."""
    batch_id, reserved, unreadable = new_id(), new_id(), new_id()
    state.put(batch_id, count=2)
    state.run(outbox.reserve(reserved, digest="aa", window_s=60, times=outbox.Times()))
    state.client.set(redis_keys.batch(3, unreadable), b"1.0 \xff{}")
    asked = [(new_id(), 0), (batch_id, 2), (batch_id, 499), (reserved, 0), (unreadable, 0)]
    assert [cancel(state, *each) for each in asked] == [Cancellation.UNKNOWN] * 5
    assert [status(state, *each) for each in asked] == [None] * 5


@pytest.mark.parametrize("place", PLACES)
def test_status_tells_the_place(state: Any, new_id: NewId, place: str) -> None:
    """Wherever a notification is it can be asked for, tracked or not."""
    batch_id = new_id()
    put_into(state, batch_id, place, count=2)
    found = status(state, batch_id, 1)
    assert found is not None
    assert (found.apns_id, found.state) == (ids.apns_id_of(batch_id, 1), place)
    assert found.accepted_at == pytest.approx(state.now(), abs=2)
    assert found.attempts == (2 if place == "waiting" else 0)
    is_for_later = place in {"waiting", "scheduled"}
    assert found.due == (pytest.approx(state.now() + 60, abs=2) if is_for_later else None)


def test_status_in_a_workers_hands(state: Any, new_id: NewId) -> None:
    """In a claimed batch each is where it is: being sent, waiting, or ended."""
    batch_id = new_id()
    state.put(batch_id, count=3)
    state.claim(batch_id, "one")
    state.progress(batch_id, "one", Notes(ended=[0], waiting=[(1, 1, 60.0, "")]), size=3)
    found = [status(state, batch_id, index) for index in range(3)]
    assert [each and each.state for each in found] == [State.ENDED, State.WAITING, State.BEING_SENT]
    state.settle(batch_id, "one", Notes(ended=[1, 2]), size=3)
    assert status(state, batch_id, 1) is None


def test_the_ids_of_lua_are_those_of_python(state: Any, new_id: NewId) -> None:
    """Every place in a batch has the same apns id in a script as everywhere else."""
    batch_id = new_id()
    state.put(batch_id, count=500)
    for index in (0, 1, 15, 16, 255, 256, 499):
        cancel(state, batch_id, index)
    told = [each.apns_id for each in state.feedback()]
    assert told == [ids.apns_id_of(batch_id, index) for index in (0, 1, 15, 16, 255, 256, 499)]
