"""The scripts of the slots, on a real server: the newest wins, and is always sent last."""

from __future__ import annotations

from typing import Any

from dispatcher import outbox, sweeping
from dispatcher.outbox import Acceptance
from dispatcher.push_types import Lane
from dispatcher.slot_values import SlotPut
from tests.state.slot_words import APP, SHARD, WAKE_UP, Slots, stored_once


def test_put_into_an_empty_slot_needs_a_wake_up(slot_words: Slots) -> None:
    """The first notification makes its slot due and asks for one wake-up."""
    assert slot_words.put("a") == SlotPut(acceptance=Acceptance.ACCEPTED, replaced=False, wake_up=True)


def test_newer_replaces_waiting(slot_words: Slots) -> None:
    """A hundred updates are one push and one wake-up; the older ones are superseded and counted."""
    puts = [slot_words.put(f"{number}") for number in range(100)]
    assert [put.wake_up for put in puts] == [True] + [False] * 99
    assert [put.replaced for put in puts] == [False] + [True] * 99
    assert [slot.apns_id for slot in slot_words.claim()] == ["99"]
    assert slot_words.count("superseded") == 99


def test_superseded_is_reported_when_asked(state: Any, quiet_record: Any) -> None:
    """A superseded notification is feedback only if the app asked for everything."""
    for report, told in (("failures", 0), ("everything", 1)):
        words = Slots(state, stored_once(quiet_record(report=report)))
        words.put(f"{report}-old")
        words.put(f"{report}-new")
        superseded = [one.apns_id for one in state.feedback() if one.outcome == "superseded"]
        assert superseded == [f"{report}-old"] * told
        words.claim()
        words.give_back(f"{report}-new")


def test_one_wake_up_is_outstanding_for_all_devices(slot_words: Slots) -> None:
    """While a wake-up is queued or worked on, other devices need none; afterwards one does."""
    slot_words.put("a")
    assert not slot_words.put("b", device="e" * 32).wake_up
    assert len(slot_words.claim()) == 2
    assert not slot_words.put("c", device="f" * 32).wake_up, "the worker that drains will find it"
    assert [slot.apns_id for slot in slot_words.claim("two")] == ["c"]
    assert slot_words.claim("three") == ()
    assert slot_words.put("d", device="0" * 32).wake_up


def test_delivered_slot_leaves_no_key(slot_words: Slots) -> None:
    """A slot whose newest notification was delivered is gone."""
    slot_words.put("a")
    slot_words.claim()
    assert slot_words.give_back("a") == 1
    assert slot_words.claim() == ()
    assert slot_words.state.keys() == set()
    assert slot_words.count("delivered") == 1


def test_overwritten_while_sending_is_sent_afterwards(slot_words: Slots) -> None:
    """A newer notification that arrives during a send is due afterwards; the one in flight was not superseded."""
    slot_words.put("a")
    slot_words.claim()
    assert not slot_words.put("b").replaced
    assert slot_words.claim("two") == (), "a leased slot is nobody else's"
    slot_words.give_back("a")
    assert [slot.apns_id for slot in slot_words.claim("three")] == ["b"]
    assert (slot_words.count("delivered"), slot_words.count("superseded")) == (1, 0)


def test_retry_never_follows_a_newer_one(slot_words: Slots) -> None:
    """An older notification that should be tried again gives way to a newer one, which waits the device's time."""
    slot_words.put("a")
    slot_words.claim()
    slot_words.put("b")
    slot_words.give_back("a", delay_s=60, attempts=1)
    slot_words.put("c")
    assert slot_words.claim("two") == ()
    slot_words.state.advance(61)
    assert [slot.apns_id for slot in slot_words.claim("two")] == ["c"]
    assert (slot_words.count("retried"), slot_words.count("superseded")) == (0, 2)


def test_retry_waits_its_time(slot_words: Slots) -> None:
    """A slot to be tried again is held until then, with its attempts; the sweep wakes a worker."""
    slot_words.put("a")
    slot_words.claim()
    slot_words.give_back("a", delay_s=60, attempts=2)
    assert slot_words.claim() == ()
    assert slot_words.sweep() == []
    slot_words.state.advance(61)
    assert slot_words.sweep() == [WAKE_UP]
    assert slot_words.sweep() == [], "one is outstanding"
    assert [(slot.apns_id, slot.attempts) for slot in slot_words.claim()] == [("a", 2)]


def test_slot_of_a_dead_worker_is_taken_over(slot_words: Slots) -> None:
    """A slot whose lease ran out is due again; the late owner can write nothing any more."""
    slot_words.put("a")
    slot_words.claim()
    slot_words.state.advance(31)
    assert slot_words.sweep() == []
    swept = slot_words.state.run(sweeping.sweep(SHARD, Lane.BACKGROUND))
    assert [message.batch_id for message in swept.messages] == [WAKE_UP], "the wake-up itself was leased"
    assert [slot.apns_id for slot in slot_words.claim("two")] == ["a"]
    assert slot_words.give_back("a", "one") == 0
    assert slot_words.give_back("a", "two") == 1
    assert slot_words.count("delivered") == 1


def test_dead_worker_and_newer_notification(slot_words: Slots) -> None:
    """What a dead worker held is superseded if a newer one came meanwhile."""
    slot_words.put("a")
    slot_words.claim()
    slot_words.put("b")
    slot_words.state.advance(31)
    assert [slot.apns_id for slot in slot_words.claim("two")] == ["b"]
    assert slot_words.count("superseded") == 1


def test_lost_wake_up_is_found_by_a_marker(slot_words: Slots) -> None:
    """A wake-up that was published and never came out is published again like any batch."""
    slot_words.put("a")
    sent = float(slot_words.state.run(outbox.time())) + 10
    found = slot_words.state.run(sweeping.lost(SHARD, "apns.background", sent))
    assert [(message.batch_id, message.summary) for message in found] == [(WAKE_UP, f"{APP} wake-up")]


def test_own_id_is_accepted_once(slot_words: Slots) -> None:
    """The same apns id with the same content adds nothing, waiting or delivered; other content conflicts."""
    slot_words.put("a", digest="aa")
    assert slot_words.put("a", digest="aa").acceptance is Acceptance.REPEATED
    assert slot_words.put("a", digest="bb").acceptance is Acceptance.CONFLICT
    slot_words.claim()
    slot_words.give_back("a")
    assert slot_words.put("a", digest="aa").acceptance is Acceptance.REPEATED
    assert slot_words.count("accepted") == 1
