"""A call made again because its answer was lost does nothing twice: what state_call.py says of each script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dispatcher import ids, outbox, pausing, redis_keys, slots
from dispatcher.notes import Ends, Notes
from dispatcher.pausing import Scope
from dispatcher.push_types import Lane
from dispatcher.state_call import StateCall
from tests.state.conftest import APP, StateUnderTest
from tests.state.slot_words import DEVICE, LEASE_S, SHARD, Slots

NewId = Callable[[], str]


def noted(*indices: int) -> Notes:
    """Return notes of which everything that is left behind can be counted."""
    ends = Ends(feedback=[["outcome", "refused", "apns_id", str(index)] for index in indices])
    ends.dead += [["reason", "x"] for _ in indices]
    ends.add("refused|com.example.app|alert|", len(indices))
    return Notes(ended=list(indices), ends=ends)


def left_behind(state: StateUnderTest, shard: int) -> tuple[int, int, int]:
    """Return how many notifications were counted, told of, and laid among the dead letters."""
    told = state.client.xlen(redis_keys.feedback(shard))
    return state.counters()["refused|com.example.app|alert|"], told, state.client.xlen(redis_keys.dead(shard, APP))


def again(call: StateCall[Any]) -> StateCall[Any]:
    """Return a call as it is made when it may have been done."""
    return replace(call, args=call.args if call.again is None else call.again)


def test_a_bunch_of_notes_is_noted_once(state: StateUnderTest, new_id: NewId) -> None:
    """The same bunch again only renews the lease; the next one is noted."""
    batch_id = new_id()
    shard = ids.shard_of(batch_id)
    state.put(batch_id, count=3)
    state.claim(batch_id)
    assert state.progress(batch_id, "one", noted(0), size=3, number=1)
    state.advance(20)
    assert state.progress(batch_id, "one", noted(0), size=3, number=1)
    assert left_behind(state, shard) == (1, 1, 1)
    state.advance(20)
    assert state.sweep(shard) == [], "the second one renewed the lease"
    assert state.progress(batch_id, "one", noted(1), size=3, number=2)
    assert left_behind(state, shard) == (2, 2, 2)


def test_each_claim_counts_its_bunches_anew(state: StateUnderTest, new_id: NewId) -> None:
    """What the last owner noted does not hide what the next one notes."""
    batch_id = new_id()
    shard = ids.shard_of(batch_id)
    state.put(batch_id, count=3)
    state.claim(batch_id, "one")
    state.progress(batch_id, "one", noted(0), size=3, number=1)
    state.advance(31)
    state.claim(batch_id, "two")
    state.progress(batch_id, "two", noted(1), size=3, number=1)
    assert left_behind(state, shard) == (2, 2, 2)


def test_a_claim_made_again_keeps_count(state: StateUnderTest, new_id: NewId) -> None:
    """The same claim again, while it is ours, does not forget which bunches were noted."""
    batch_id = new_id()
    shard = ids.shard_of(batch_id)
    state.put(batch_id, count=3)
    state.claim(batch_id, "one")
    state.progress(batch_id, "one", noted(0), size=3, number=1)
    state.claim(batch_id, "one")
    state.progress(batch_id, "one", noted(0), size=3, number=1)
    assert left_behind(state, shard) == (1, 1, 1)


def test_settling_again_writes_nothing(state: StateUnderTest, new_id: NewId) -> None:
    """The claim ended with the first: neither a finished nor an unfinished batch is settled twice."""
    for size in (1, 2):
        batch_id = new_id()
        shard = ids.shard_of(batch_id)
        state.put(batch_id, count=size)
        state.claim(batch_id)
        assert state.settle(batch_id, "one", noted(0), size=size)
        before = left_behind(state, shard)
        assert not state.settle(batch_id, "one", noted(0), size=size)
        assert left_behind(state, shard) == before


@pytest.fixture
def claim_again(slot_words: Slots) -> Callable[[str], list[str]]:
    """Return a function that claims slots under a claim id that may have been used before."""

    def claim(claim_id: str) -> list[str]:
        call = again(slots.claim(APP, SHARD, claim_id, lease_s=LEASE_S, most=100))
        return [slot.apns_id for slot in slot_words.state.run(call).slots]

    return claim


def test_slots_claimed_again_are_the_same(slot_words: Slots, claim_again: Callable[[str], list[str]]) -> None:
    """A worker that never heard what it took gets it, and nobody is blamed for a death."""
    slot_words.put("a")
    slot_words.put("b", device="e" * 32)
    assert sorted(slot_words.claim_ids("one")) == ["a", "b"]
    assert sorted(claim_again("one")) == ["a", "b"]
    assert slot_words.give_back("a", "one") == 1
    slot_words.state.advance(LEASE_S + 1)
    (slot,) = slot_words.claim("two")
    assert (slot.apns_id, slot.crashes) == ("b", 1), "once, when its worker did give no sign any more"


def test_slots_of_others_are_left_alone(slot_words: Slots, claim_again: Callable[[str], list[str]]) -> None:
    """Claiming again takes back one's own slots only, and then whatever is due."""
    slot_words.put("a")
    slot_words.claim_ids("other")
    slot_words.put("b", device="e" * 32)
    assert claim_again("one") == ["b"]
    assert slot_words.give_back("a", "other") == 1


def test_a_newer_one_supersedes_what_nobody_heard_of(
    slot_words: Slots, claim_again: Callable[[str], list[str]]
) -> None:
    """What a lost answer named is superseded by what came meanwhile, once, and the newest is claimed."""
    slot_words.put("a")
    slot_words.claim("one")
    slot_words.put("b")
    assert claim_again("one") == ["b"]
    assert slot_words.count("superseded") == 1
    assert slot_words.give_back("b") == 1
    assert slot_words.left() == set()


def test_claiming_again_uses_no_budget(slot_words: Slots, claim_again: Callable[[str], list[str]]) -> None:
    """A device's budget is as before the first claim: what was turned away leaves room for the next."""
    slot_words.put_spaced("a")
    slot_words.deliver("a")
    sent = redis_keys.sent(SHARD, DEVICE)
    before = slot_words.state.client.get(sent)
    slot_words.put_spaced("b")
    slot_words.online()
    assert slot_words.claim_ids("one") == claim_again("one") == ["b"]
    slot_words.give_back("b", counts=False)
    assert slot_words.state.client.get(sent) == before


def test_a_host_does_not_confirm_itself_by_a_lost_answer(state: StateUnderTest) -> None:
    """The only host's report made again is the same report; its next one confirms it."""
    call = pausing.report_trouble(Scope(app=APP), "here", "BadTopic", is_certain=False, first_probe_s=2)
    assert state.run(call) is False
    assert state.run(again(call)) is False
    assert state.run(call) is True


def test_a_put_made_again_is_repeated(state: StateUnderTest, new_id: NewId) -> None:
    """A notification is accepted once, also when the first answer was lost and it has left since."""
    batch_id = new_id()
    state.put(batch_id)
    state.put(batch_id)
    state.claim(batch_id)
    state.settle(batch_id, "one", noted(0), size=1)
    assert state.put(batch_id) is outbox.Acceptance.REPEATED
    assert state.counters()[redis_keys.counter("accepted", APP, Lane.ALERT)] == 1
